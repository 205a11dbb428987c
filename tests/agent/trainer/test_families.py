"""Values that follow from a family's row: the number of held-out trials that it can afford."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.config.settings import EvaluationSettings
from agent.trainer.families import FEWEST_TRIALS, affordable_trials, held_out_trials
from envs.family import FamilySource
from envs.pace import Pace
from memory.records import Family, FamilyTotals
from memory.store import Store
from tests.agent.trainer.conftest import feed_bandits

TWO_HUNDRED_STEPS = FamilyTotals(env_steps=20_000, episodes=300, trials=100, meta_updates=3)


def family(store: Store, *, steps_per_s: float | None, totals: FamilyTotals = TWO_HUNDRED_STEPS) -> Family:
    """Return a family whose trials have 200 steps."""
    return replace(feed_bandits(store), totals=totals, pace=Pace(steps_per_s=steps_per_s))


@pytest.mark.parametrize(("steps_per_s", "num_trials"), [(10_000.0, 32), (640.0, 32), (200.0, 10), (60.0, 4), (0.5, 4)])
def test_a_slow_family_is_scored_on_as_many_trials_as_its_time_allows(
    store: Store, steps_per_s: float, num_trials: int
) -> None:
    assert affordable_trials(family(store, steps_per_s=steps_per_s), most=32, within_s=10.0) == num_trials


def test_a_family_whose_speed_or_trials_are_unknown_is_scored_on_all(store: Store) -> None:
    known = family(store, steps_per_s=1.0)
    for unknown in (
        replace(known, pace=None),
        replace(known, pace=Pace()),
        replace(known, totals=FamilyTotals()),
    ):
        assert affordable_trials(unknown, most=32, within_s=10.0) == 32


def test_a_slow_family_that_was_never_practised_is_scored_on_few_trials_too(store: Store) -> None:
    pace = Pace(steps_per_s=60.0, trial_steps=200.0)
    new = replace(family(store, steps_per_s=None), totals=FamilyTotals(), pace=pace)
    assert affordable_trials(new, most=32, within_s=30.0) == 9


def test_fewer_trials_than_the_fewest_may_be_asked_for(store: Store) -> None:
    assert affordable_trials(family(store, steps_per_s=1.0), most=2, within_s=10.0) == 2 < FEWEST_TRIALS


def test_only_families_that_a_worker_steps_are_scored_on_fewer(store: Store) -> None:
    section, slow = EvaluationSettings(), family(store, steps_per_s=1.0)
    assert held_out_trials(slow, section) == section.trials_tensor
    stepped = replace(slow, spec=replace(slow.require_spec(), source=FamilySource.GYMNASIUM))
    assert held_out_trials(stepped, section) == FEWEST_TRIALS
