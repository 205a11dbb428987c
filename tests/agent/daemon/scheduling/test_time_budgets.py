"""Tests of budgets: a kind of job that has had its share of the trainer's time waits."""

from __future__ import annotations

import pytest

from agent.config.settings import Settings
from agent.config.time_shares import NEW_FAMILIES_SHARE, time_shares
from agent.daemon.scheduling.time_budgets import TimeBudgets
from memory.records import JobKind

DUE = [JobKind.CONSOLIDATE, JobKind.EVALUATE, JobKind.CHECKPOINT]


def test_a_job_waits_until_the_others_have_had_their_share() -> None:
    budgets = TimeBudgets({JobKind.EVALUATE: 0.2})
    budgets.note(JobKind.EVALUATE, 12.0, now=100.0)
    assert budgets.within(DUE, now=147.9) == [JobKind.CONSOLIDATE, JobKind.CHECKPOINT]
    assert budgets.within(DUE, now=148.0) == DUE


def test_kinds_without_a_budget_do_not_wait() -> None:
    budgets = TimeBudgets({JobKind.EVALUATE: 0.2})
    budgets.note(JobKind.CHECKPOINT, 1e6, now=0.0)
    assert budgets.within(DUE, now=0.0) == DUE


def test_a_kind_that_may_run_ahead_waits_when_it_has_taken_more_than_its_share_for_longer() -> None:
    budgets, kinds = TimeBudgets({JobKind.ADMIT: 0.5}, ahead_s={JobKind.ADMIT: 30.0}), [JobKind.ADMIT]
    for now in (10.0, 20.0, 30.0):
        assert budgets.within(kinds, now=now - 10.0) == kinds
        budgets.note(JobKind.ADMIT, 10.0, now=now)
    assert budgets.within(kinds, now=30.0) == kinds, "30 s ahead"
    budgets.note(JobKind.ADMIT, 5.0, now=35.0)
    assert budgets.within(kinds, now=35.0 + 4.0) == []
    assert budgets.within(kinds, now=35.0 + 5.0) == kinds


def test_the_whole_time_is_no_bound() -> None:
    budgets = TimeBudgets({JobKind.EVALUATE: 1.0})
    budgets.note(JobKind.EVALUATE, 1e6, now=0.0)
    assert budgets.within(DUE, now=0.0) == DUE


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_job_that_is_always_due_takes_its_share(share: float) -> None:
    budgets, now, taken_s = TimeBudgets({JobKind.EVALUATE: share}), 0.0, 0.0
    while now < 10_000.0:
        if budgets.within([JobKind.EVALUATE], now=now):
            now, taken_s = now + 7.0, taken_s + 7.0
            budgets.note(JobKind.EVALUATE, 7.0, now=now)
        else:
            now += 1.0
    assert taken_s / now == pytest.approx(share, abs=0.02)


def test_the_shares_are_those_of_the_settings() -> None:
    settings = Settings(evaluation={"share": 0.05}, consolidation={"share": 0.3})
    shares = {JobKind.ADMIT: NEW_FAMILIES_SHARE, JobKind.EVALUATE: 0.05, JobKind.CONSOLIDATE: 0.3}
    assert time_shares(settings) == shares
