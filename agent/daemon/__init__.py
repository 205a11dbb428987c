"""The daemon process, which schedules, supervises and reports. It never trains and never loads torch."""
