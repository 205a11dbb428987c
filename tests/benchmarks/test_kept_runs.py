"""Runs that benchmarks keep: taken again with the settings they were measured with, and with no others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.kept_runs import kept_or_measured


@dataclass
class Measured:
    values: list[float]


def test_a_kept_run_is_taken_again_and_not_repeated(tmp_path: Path) -> None:
    path, measured = tmp_path / "runs" / "one.json", []

    def measure() -> Measured:
        measured.append(1)
        return Measured(values=[1.5, 2.0])

    for _ in range(2):
        assert kept_or_measured(path, Measured, measure, settings={"rate": (1, 2)}) == Measured(values=[1.5, 2.0])
    assert len(measured) == 1


def test_a_run_kept_with_other_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    kept_or_measured(path, Measured, lambda: Measured(values=[1.0]), settings={"rate": 1})
    with pytest.raises(SystemExit, match="other settings"):
        kept_or_measured(path, Measured, lambda: Measured(values=[2.0]), settings={"rate": 2})
    assert kept_or_measured(path, Measured, lambda: Measured(values=[3.0]), settings={"rate": 1}).values == [1.0]


def test_a_run_kept_before_settings_were_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text('{"values": [1.0]}')
    with pytest.raises(SystemExit, match="other settings"):
        kept_or_measured(path, Measured, lambda: Measured(values=[2.0]), settings={})
