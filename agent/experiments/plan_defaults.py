"""Defaults of a run that the command line shows too. Importing them does not load torch."""

FINAL_TASKS = 1000
"""Held-out tasks of the score at the end of a run."""
TASKS_ALONG = 200
"""Most held-out tasks of each score during a run."""
