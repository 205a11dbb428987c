"""Tests of the benchmark of public environments: its catalogue, its family files and its page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.config.settings import Settings
from agent.family_files import declaration_in
from benchmarks.public_environments.catalogue import CLASSIC, Package, PublicEnvironment, catalogue
from benchmarks.public_environments.page import BEGINS, ENDS, Row, Verdict, table, write_page
from benchmarks.public_environments.rows import family_file, row_of
from benchmarks.public_environments.service import Practised

PRACTISED = Practised(state="active", reason="", strikes=0, updates_before=2, updates_after=5, is_intact=True)


def test_there_are_at_least_sixty_environments_and_each_has_a_name_of_its_own() -> None:
    names = [environment.name for environment in catalogue()]
    assert len(names) >= 60
    assert len(set(names)) == len(names)


def test_each_environment_has_a_valid_family_file(tmp_path: Path) -> None:
    for environment in catalogue():
        spec = declaration_in(family_file(environment, tmp_path), Settings()).spec
        assert (spec.name, spec.entry) == (environment.name, environment.entry)


def test_a_package_is_installed_if_its_module_can_be_found() -> None:
    assert CLASSIC.is_installed
    assert not Package(title="", module="no_such_package", install="").is_installed


@pytest.mark.parametrize(
    ("outcome", "verdict", "is_resumed"),
    [
        (PRACTISED, Verdict.ADMITTED, True),
        (replace(PRACTISED, updates_after=2), Verdict.ADMITTED, False),
        (replace(PRACTISED, is_intact=False), Verdict.ADMITTED, False),
        (replace(PRACTISED, state="refused", reason="no", updates_before=0, updates_after=0), Verdict.REFUSED, False),
        (replace(PRACTISED, state="pending", updates_before=0, updates_after=0), Verdict.UNFINISHED, False),
        (None, Verdict.UNFINISHED, False),
    ],
)
def test_a_family_is_resumed_if_it_went_on_after_the_kill_and_lost_nothing(
    outcome: Practised | None, verdict: Verdict, is_resumed: bool
) -> None:
    row = row_of(outcome)
    assert (row.verdict, row.is_resumed) == (verdict, is_resumed)


def test_the_table_has_the_reason_of_a_refusal_and_what_to_install() -> None:
    one = PublicEnvironment(entry="One-v0", package=CLASSIC)
    other = PublicEnvironment(entry="other:Other-v0", package=CLASSIC, options={"max_steps": 50})
    rows = {
        "one-v0": Row(verdict=Verdict.REFUSED, reason="a | b"),
        "other-v0": Row(verdict=Verdict.NOT_INSTALLED, reason="pip install other"),
    }
    text = table([one, other], rows)
    assert r"| `One-v0` |  | refused: a \| b |" in text
    assert "| `other:Other-v0` | `max_steps = 50` | not installed: pip install other |" in text
    assert "1 refused, 1 not installed" in text


def test_ratios_are_summed_up_by_the_speed_of_the_plain_loop() -> None:
    rates = {"copies": 32, "worker": 1.0, "ratio": 1.0}
    rows = {
        "one-v0": Row(verdict=Verdict.ADMITTED, rates={**rates, "raw": 900.0, "cpu_ratio": 0.9}),
        "two-v0": Row(verdict=Verdict.ADMITTED, rates={**rates, "raw": 999.0, "cpu_ratio": 0.7}),
        "three-v0": Row(verdict=Verdict.ADMITTED, rates={**rates, "raw": 20_000.0, "cpu_ratio": 0.2}),
    }
    text = table([], rows)
    assert "| from 0 to 1,000 | 2 | 1.00 | 0.80 | 1 |" in text
    assert "| from 15,000 | 1 | 1.00 | 0.20 | 0 |" in text


def test_writing_the_page_keeps_what_is_around_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGINS}\nold\n{ENDS}\nafter\n")
    write_page(page, "new")
    assert page.read_text() == f"before\n{BEGINS}\n\nnew\n{ENDS}\nafter\n"


def test_a_page_without_markers_is_not_overwritten(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n")
    with pytest.raises(ValueError, match="does not have the lines"):
        write_page(page, "new")
    assert page.read_text() == "text\n"
