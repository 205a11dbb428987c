"""A reservoir keeps trials of all ages in a bounded number of slots."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from agent.learners.rl2.rehearsal.reservoir import Reservoir, is_held_back
from agent.learners.rl2.rehearsal.retention import BATCH_TRIALS, Retention
from agent.learners.rl2.trials import to_records
from memory.records import NUM_SLOTS, TrialRecord
from tests.agent.learners.rl2.playing import learner_for, play
from tests.agent.learners.rl2.scripted_tasks import VECTOR

NUM_BATCHES = NUM_SLOTS // BATCH_TRIALS


def a_trial(*, episodes: int = 1) -> TrialRecord:
    trials = play(learner_for(VECTOR), VECTOR, num_episodes=episodes)
    return to_records(trials, rows=[0], tasks=[{}], decisions=trials.decisions)[0]


def filled(num_trials: int, *, at_once: int, record: TrialRecord) -> Reservoir:
    """Return a reservoir after so many trials, whose tasks are their numbers."""
    reservoir = Reservoir(spaces=VECTOR)
    for first in range(0, num_trials, at_once):
        numbers = range(first, min(first + at_once, num_trials))
        slots = reservoir.next_slots(len(numbers))
        reservoir.add(
            replace(record, task={"number": n}, rehearsal_slot=slot) for n, slot in zip(numbers, slots, strict=True)
        )
    return reservoir


def numbers(reservoir: Reservoir) -> list[int]:
    return [trial.task["number"] for trial in reservoir.trials.values()]


@pytest.mark.parametrize("num_trials", [1, 3, NUM_SLOTS])
def test_nothing_is_replaced_while_there_are_free_slots(num_trials: int) -> None:
    assert numbers(filled(num_trials, at_once=3, record=a_trial())) == list(range(num_trials))


@pytest.mark.parametrize("at_once", [1, 3, BATCH_TRIALS, 20])
def test_the_ages_of_batches_grow_by_a_bounded_factor_back_to_the_first(at_once: int) -> None:
    num_batches = 1000
    reservoir = filled(num_batches * BATCH_TRIALS, at_once=at_once, record=a_trial())
    batches = sorted({number // BATCH_TRIALS for number in numbers(reservoir)})
    ages = [num_batches - batch for batch in reversed(batches)]
    assert len(batches) == NUM_BATCHES
    assert (ages[0], ages[-1]) == (1, num_batches)
    even = num_batches ** (1 / (NUM_BATCHES - 1))
    assert all(older / younger < 2.5 * even for younger, older in pairwise(ages))


@pytest.mark.parametrize("at_once", [BATCH_TRIALS, NUM_SLOTS])
def test_the_trials_are_in_the_order_of_their_ages(at_once: int) -> None:
    found = numbers(filled(500, at_once=at_once, record=a_trial()))
    assert found == sorted(found)


def test_trials_of_all_ages_are_held_back() -> None:
    reservoir = filled(1000, at_once=BATCH_TRIALS, record=a_trial())
    held_back = [trial.task["number"] // BATCH_TRIALS for slot, trial in reservoir.trials.items() if is_held_back(slot)]
    assert set(held_back) == {number // BATCH_TRIALS for number in numbers(reservoir)}


def test_short_trials_of_a_growing_curriculum_are_replaced_first() -> None:
    short, long = a_trial(episodes=1), a_trial(episodes=2)
    reservoir = filled(NUM_SLOTS, at_once=BATCH_TRIALS, record=short)
    for _ in range(NUM_BATCHES):
        slots = reservoir.next_slots(BATCH_TRIALS)
        reservoir.add(replace(long, rehearsal_slot=slot) for slot in slots)
    assert {len(trial.episodes) for trial in reservoir.trials.values()} == {2}


def test_a_retention_comes_back_from_its_json() -> None:
    retention = filled(100, at_once=3, record=a_trial()).retention
    assert Retention.of_json(retention.to_json(), NUM_SLOTS) == retention


def test_a_reservoir_of_an_earlier_release_goes_on_with_its_oldest_batches() -> None:
    record = a_trial()
    reservoir = Reservoir(spaces=VECTOR)
    newest_first = 24  # a ring whose next slot is this one
    order = [(newest_first + index) % NUM_SLOTS for index in range(NUM_SLOTS)]
    reservoir.put_all({slot: replace(record, task={"number": number}) for number, slot in enumerate(order)})
    slots = reservoir.next_slots(BATCH_TRIALS)
    reservoir.add(replace(record, task={"number": NUM_SLOTS}, rehearsal_slot=slot) for slot in slots)
    found = numbers(reservoir)
    assert found.count(NUM_SLOTS) == BATCH_TRIALS
    assert {0, NUM_SLOTS - 1} <= set(found)
