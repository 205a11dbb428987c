"""Retrieval: context keys of stored trials, and the search of the trials that share a task or resemble one."""
