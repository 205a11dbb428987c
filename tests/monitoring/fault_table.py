"""The table of faults seen from outside in docs/operating.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.repository import ROOT

HEADING = "### Seen from outside"
CODE = re.compile(r"`([^`]*)`")
SERIES = re.compile(r"(\w+)(?:\{(.*)\})?")


@dataclass(frozen=True, kw_only=True)
class FaultRow:
    """A row of the table.

    Attributes:
        fault: what is wrong.
        metric: name of the metric that shows it.
        labels: the labels of its sample.
        alerts: names of the alerts.
        health: the lines of /healthz, in which "…" stands for any text; "ok" if health is good.
        colour: the colour on the page.
    """

    fault: str
    metric: str
    labels: dict[str, str]
    alerts: frozenset[str]
    health: tuple[str, ...]
    colour: str

    def has_health(self, lines: Sequence[str]) -> bool:
        """Return whether the lines of /healthz are those of the row, in any order."""
        patterns = [".*".join(map(re.escape, line.split("…"))) for line in self.health]
        return len(lines) == len(patterns) and all(any(re.fullmatch(p, line) for line in lines) for p in patterns)


def _row(line: str) -> FaultRow:
    fault, metric, alerts, health, colour, _ = (cell.strip() for cell in line.strip().strip("|").split(" | "))
    (series,) = CODE.findall(metric)
    found = SERIES.fullmatch(series)
    assert found is not None, series
    return FaultRow(
        fault=fault,
        metric=found[1],
        labels=dict(re.findall(r'(\w+)="([^"]*)"', found[2] or "")),
        alerts=frozenset(CODE.findall(alerts)),
        health=tuple(CODE.findall(health)),
        colour=colour,
    )


def fault_rows() -> list[FaultRow]:
    """Return the rows of the table."""
    section = (ROOT / "docs" / "operating.md").read_text().partition(HEADING)[2].partition("\n###")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [_row(line) for line in lines[1:]]  # the first is the heading
