"""The control process: supervises the learner, schedules jobs, serves metrics and health; never trains."""
