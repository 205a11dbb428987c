"""The table of public environments, as Markdown between two markers of a page."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from benchmarks.public_environments.catalogue import PublicEnvironment

BEGINS, ENDS = "<!-- table begins -->", "<!-- table ends -->"
HEAD = (
    "| environment | options | admitted | updates before kill −9 → after | raw steps/s | worker steps/s | ratio |"
    " per CPU-second |\n|---|---|---|---|---|---|---|---|"
)
MOST_REASON = 520
TARGET = 0.85
SPEEDS = (0, 1_000, 5_000, 15_000)


class Verdict(StrEnum):
    """What became of an environment."""

    ADMITTED = "admitted"
    REFUSED = "refused"
    UNFINISHED = "unfinished"
    NOT_INSTALLED = "not installed"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of one environment. All fields are JSON values.

    Attributes:
        verdict: a value of ``Verdict``.
        reason: why it is not admitted, or what else the service says.
        updates_before: updates before the trainer was killed.
        updates_after: updates at the end.
        is_resumed: whether it was practised again after the kill, and no total went backwards.
        rates: the fields of ``public_rates.Compared``; None if there are none.
        note: why there are no rates.
    """

    verdict: str
    reason: str = ""
    updates_before: int = 0
    updates_after: int = 0
    is_resumed: bool = False
    rates: Mapping[str, Any] | None = None
    note: str = ""


def table(environments: Sequence[PublicEnvironment], rows: Mapping[str, Row]) -> str:
    """Return the Markdown table of the environments that have a row, by package."""
    lines = [summary(rows.values()), "", *_by_speed(rows.values()), ""]
    titles = list(dict.fromkeys(environment.package.title for environment in environments))
    for title in titles:
        members = [e for e in environments if e.package.title == title and e.name in rows]
        if members:
            lines += [f"**{title}**", "", HEAD, *(_line(e, rows[e.name]) for e in members), ""]
    return "\n".join(lines).rstrip() + "\n"


def summary(rows: Iterable[Row]) -> str:
    """Return the counts in one sentence."""
    rows = list(rows)
    counts = Counter(row.verdict for row in rows)
    practised = sum(row.updates_before > 0 for row in rows)
    resumed = sum(row.is_resumed for row in rows)
    verdicts = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict])
    practice = f"{practised} were practised, and {resumed} of them went on after the kill."
    return f"{len(rows)} environments: {verdicts}. {practice}"


def _by_speed(rows: Iterable[Row]) -> list[str]:
    """Return a table of the median ratios by the steps per second of the plain loop."""
    rates = [row.rates for row in rows if row.rates is not None]
    lines = [
        f"| raw steps/s | environments | median ratio | median per CPU-second | at least {TARGET} per CPU-second |",
        "|---|---|---|---|---|",
    ]
    for least, most in zip(SPEEDS, (*SPEEDS[1:], math.inf), strict=True):
        members = [r for r in rates if least <= r["raw"] < most]
        if members:
            medians = [statistics.median(r[name] for r in members) for name in ("ratio", "cpu_ratio")]
            count = sum(r["cpu_ratio"] >= TARGET for r in members)
            speed = f"from {least:,}" + (f" to {most:,}" if most < math.inf else "")
            lines.append(f"| {speed} | {len(members)} | {medians[0]:.2f} | {medians[1]:.2f} | {count} |")
    return lines


def _line(environment: PublicEnvironment, row: Row) -> str:
    options = ", ".join(_option(key, value) for key, value in environment.options.items())
    verdict = "yes" if row.verdict == Verdict.ADMITTED and not row.reason else row.verdict
    reason = f"{verdict}: {_cell(row.reason)}" if row.reason else verdict
    updates = f"{row.updates_before} → {row.updates_after}" if row.verdict == Verdict.ADMITTED else ""
    cells = [f"`{environment.entry}`", options, reason, updates, *_rates(row)]
    return "| " + " | ".join(cells) + " |"


def _rates(row: Row) -> list[str]:
    if row.rates is None:
        return [_cell(row.note), "", "", ""]
    raw, worker = (f"{row.rates[name]:,.0f}" for name in ("raw", "worker"))
    copies = "" if row.rates["copies"] == 32 else f" ({row.rates['copies']} copies)"
    return [raw + copies, worker, f"{row.rates['ratio']:.2f}", f"{row.rates['cpu_ratio']:.2f}"]


def _option(key: str, value: Any) -> str:
    text = value[0].rpartition(":")[2] if isinstance(value, list) else str(value)
    return f"`{key} = {text}`"


def _cell(text: str) -> str:
    shown = " ".join(text.split()).replace("|", "\\|").replace("<", "\\<")
    return shown if len(shown) <= MOST_REASON else shown[:MOST_REASON].rsplit(" ", 1)[0] + " …"


def write_page(page: Path, text: str) -> None:
    """Replace what is between the markers of a page.

    Raises:
        ValueError: the page does not have both markers.
    """
    content = page.read_text(encoding="utf-8")
    before, begins, rest = content.partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not begins or not ends:
        raise ValueError(f"{page} does not have the lines {BEGINS} and {ENDS}")
    page.write_text(f"{before}{begins}\n\n{text}\n{ends}{after}", encoding="utf-8")
