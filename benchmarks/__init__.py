"""Benchmarks. Each prints a table, and ``--json FILE`` writes it. ``README.md`` lists the measurements."""
