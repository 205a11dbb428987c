"""The table of metrics in docs/operating.md, which is made from the declarations."""

from __future__ import annotations

from agent.daemon.metrics.declarations import table_lines

BEGIN = "<!-- The table is made by `make monitoring` from agent/daemon/metrics/declarations.py. -->"
END = "<!-- The end of the table of metrics. -->"


def with_table(manual: str) -> str:
    """Return the manual with the present table between its two marks.

    Raises:
        ValueError: the manual lacks a mark.
    """
    before, begin, rest = manual.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the manual lacks the mark {BEGIN!r} or {END!r}")
    return f"{before}{BEGIN}\n\n{chr(10).join(table_lines())}\n\n{END}{after}"
