"""Gymnasium environments, stepped in worker processes."""
