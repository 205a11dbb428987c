"""Tests of reading budgets."""

from __future__ import annotations

import pytest

from agent.experiments.budget import Budget, BudgetError, parse_budget
from agent.output.typed_json import dataclass_from_json, dataclass_to_json


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("60s", Budget(cpu_s=60.0)),
        ("1h30m", Budget(cpu_s=5400.0)),
        ("500u", Budget(updates=500)),
        (" 1_000 u ", Budget(updates=1000)),
    ],
)
def test_a_budget_is_time_or_updates(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget
    assert dataclass_from_json(Budget, dataclass_to_json(budget)) == budget
    assert parse_budget(str(budget)) == budget


@pytest.mark.parametrize("text", ["60", "1e3", "", "u", "0u", "0s", "-5s", "5.5u", "soon", "10 years"])
def test_what_is_neither_is_refused_with_how_to_write_it(text: str) -> None:
    with pytest.raises(BudgetError, match="60s"):
        parse_budget(text)


def test_seconds_become_updates_by_what_one_takes() -> None:
    assert Budget(cpu_s=10.0).planned_updates(0.25) == 40
    assert Budget(cpu_s=0.1).planned_updates(5.0) == 1
    assert Budget(updates=7).planned_updates(0.25) == 7


def test_the_share_spent_is_that_of_what_the_budget_limits() -> None:
    in_time, in_updates = Budget(cpu_s=10.0), Budget(updates=100)
    assert in_time.fraction_spent(cpu_s=5.0, updates=80, planned_updates=100) == 0.5
    assert in_time.fraction_spent(cpu_s=12.0, updates=80, planned_updates=100) == 1.0
    assert in_updates.fraction_spent(cpu_s=5.0, updates=80, planned_updates=100) == 0.8
