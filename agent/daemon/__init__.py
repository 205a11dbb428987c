"""The daemon: schedules, supervises and reports. It never trains and never loads torch."""
