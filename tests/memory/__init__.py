"""Tests of the store with real SQLite, real processes and real kills."""
