"""Measurements: each prints a table, and ``--json FILE`` writes it; what was measured where is in ``README.md``."""
