"""Metrics: their declarations, values and text, and the use of resources that they show."""
