"""Hostile environments: each file has a class ``Hostile`` and is imported by a worker only."""
