"""Tests of the store: real SQLite, real processes, real kills."""
