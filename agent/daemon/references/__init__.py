"""Measured references: the lane in which families are measured, the process and its files."""
