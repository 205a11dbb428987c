"""Scores on held-out tasks."""
