"""Defaults of the training of a few-shot policy that the command line shows too. Importing them does not load torch."""

MEMBERS = 1
"""Networks whose answers are averaged."""
PROCESSES = 2
"""Processes that train a network together."""
MINUTES = 25.0
"""Wall time that the updates may take."""
