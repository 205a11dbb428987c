"""The rows of public environments: their measurement, and the file that keeps them."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.public_environments.catalogue import PublicEnvironment
from benchmarks.public_environments.page import Row, Verdict
from benchmarks.public_environments.rates import compared
from benchmarks.public_environments.service import Practised, practised


class Rows:
    """The rows of all environments, in a file.

    Args:
        path: the JSON file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        known = json.loads(path.read_text()) if path.exists() else {}
        self.by_name = {name: Row(**row) for name, row in known.items()}

    def put(self, name: str, row: Row) -> None:
        """Store a row."""
        self.by_name[name] = row
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".tmp")
        unfinished.write_text(json.dumps({name: asdict(row) for name, row in self.by_name.items()}, indent=1) + "\n")
        unfinished.replace(self._path)


def measure(environments: Sequence[PublicEnvironment], rows: Rows, arguments: argparse.Namespace) -> None:
    """Measure what is missing of the rows of these environments."""
    for environment in environments:
        if not environment.package.is_installed:
            reason = f"pip install {environment.package.install}"
            rows.put(environment.name, Row(verdict=Verdict.NOT_INSTALLED, reason=reason))
    open_ones = [e for e in environments if e.package.is_installed and _is_open(rows.by_name.get(e.name), arguments)]
    for first in range(0, len(open_ones), arguments.group):
        group = open_ones[first : first + arguments.group]
        _practise(group, rows, limit_s=arguments.limit_s * len(group))
    for environment in environments:
        row = rows.by_name.get(environment.name)
        if row is not None and row.verdict == Verdict.ADMITTED and row.rates is None and not row.note:
            rows.put(environment.name, _with_rates(environment, row, arguments))
            _tell(environment.name, rows.by_name[environment.name])


def _is_open(row: Row | None, arguments: argparse.Namespace) -> bool:
    if arguments.again or row is None or row.verdict in {Verdict.NOT_INSTALLED, Verdict.UNFINISHED}:
        return True
    return row.verdict == Verdict.ADMITTED and not row.is_resumed


def _practise(group: Sequence[PublicEnvironment], rows: Rows, *, limit_s: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = {environment.name: family_file(environment, Path(folder)) for environment in group}
        outcomes = practised(files, Path(folder), limit_s=limit_s)
    for name in files:
        rows.put(name, row_of(outcomes.get(name)))
        _tell(name, rows.by_name[name])


def family_file(environment: PublicEnvironment, folder: Path) -> Path:
    """Write the family file of an environment into a folder, and return its path."""
    keys = {"entry": environment.entry, "name": environment.name, **environment.options}
    file = folder / f"{environment.name}.toml"
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()))
    return file


def row_of(outcome: Practised | None) -> Row:
    """Return the row of an environment by what became of its family; None if the service never listed it."""
    if outcome is None:
        return Row(verdict=Verdict.UNFINISHED, reason="the service did not take its family file")
    if outcome.state in {"refused", "pending"}:
        verdict = Verdict.REFUSED if outcome.state == "refused" else Verdict.UNFINISHED
        return Row(verdict=verdict, reason=outcome.reason or "not admitted within the limit of time")
    return Row(
        verdict=Verdict.ADMITTED,
        reason=outcome.reason if outcome.state != "active" else "",
        updates_before=outcome.updates_before,
        updates_after=outcome.updates_after,
        is_resumed=outcome.is_intact and 0 < outcome.updates_before < outcome.updates_after,
    )


def _with_rates(environment: PublicEnvironment, row: Row, arguments: argparse.Namespace) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        file = family_file(environment, Path(folder))
        rates = compared(file, seconds=arguments.seconds, limit_s=arguments.limit_s)
    return replace(row, note=rates) if isinstance(rates, str) else replace(row, rates=asdict(rates))


def _tell(name: str, row: Row) -> None:
    print(f"{name:32} {row}", file=sys.stderr, flush=True)
