"""When a job is due, and which job and which family come next."""
