"""Specialists learn a family apart until its return stops rising, and survive a restart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.specialist import (
    BLOCK_UPDATES,
    ENOUGH,
    FALLING_LESSONS,
    MOST_LESSONS,
    MOST_UPDATES,
    PATIENCE_BLOCKS,
    Phase,
    Specialist,
    Specialists,
)
from tests.agent.learners.rl2.playing import learner_for, play
from tests.agent.learners.rl2.scripted_tasks import VECTOR

NAME = "new@2"
NOISE = torch.tensor([-0.1, 0.1] * 8)
"""Differences from the mean return of an update's trials; their standard error in a block is .011."""


def begun() -> tuple[Specialists, Specialist]:
    shared = learner_for(VECTOR)
    shared.add_family(NAME, VECTOR)
    specialists = Specialists(shared)
    specialists.begin(NAME, VECTOR)
    found = specialists.get(NAME)
    assert found is not None
    return specialists, found


def note_blocks(specialist: Specialist, *means: float) -> None:
    for mean in means:
        for _ in range(BLOCK_UPDATES):
            specialist.note_returns(mean + NOISE)


def test_a_specialist_learns_while_its_return_rises() -> None:
    _, specialist = begun()
    note_blocks(specialist, *(0.1 * block for block in range(20)))
    assert specialist.is_learning


def test_it_has_learned_when_its_return_stops_rising() -> None:
    _, specialist = begun()
    note_blocks(specialist, 0.0, 0.5, 1.0, *([1.0] * (PATIENCE_BLOCKS - 1)))
    assert specialist.is_learning
    note_blocks(specialist, 1.0)
    assert not specialist.is_learning


def test_it_has_learned_when_it_reaches_the_reference() -> None:
    for reference, is_learning in ((1.0, False), (1.1, True), (None, True)):
        _, specialist = begun()
        specialist.reference_return = reference
        note_blocks(specialist, 0.0, 0.5, 0.99)
        assert specialist.is_learning is is_learning


def test_a_rise_that_adds_little_does_not_count() -> None:
    """Without noise, every rise would be more than noise explains."""
    _, specialist = begun()
    for mean in (0.0, 1.0, *(1.0 + 0.001 * block for block in range(PATIENCE_BLOCKS))):
        for _ in range(BLOCK_UPDATES):
            specialist.note_returns(torch.full((8,), mean))
    assert not specialist.is_learning


def test_a_slow_rise_counts_once_noise_does_not_explain_it() -> None:
    """Each block is better by less than the noise explains, two of them are not."""
    _, specialist = begun()
    note_blocks(specialist, 0.0, *(0.5 + 0.025 * block for block in range(20)))
    assert specialist.is_learning


def test_it_goes_on_while_it_has_found_nothing() -> None:
    _, specialist = begun()
    note_blocks(specialist, *([0.0] * (3 * PATIENCE_BLOCKS)))
    assert specialist.is_learning


def test_it_ends_after_the_most_updates_whatever_it_has_found() -> None:
    _, specialist = begun()
    specialist.learner._families[NAME].num_updates = MOST_UPDATES
    assert not specialist.is_learning


def test_trials_without_an_end_are_no_block() -> None:
    _, specialist = begun()
    for _ in range(BLOCK_UPDATES):
        specialist.note_returns(torch.empty(0))
    assert specialist.first is None


def test_phases_follow_one_another() -> None:
    specialists, specialist = begun()
    shared = specialists.player("scripted")
    assert specialists.phase(NAME) is Phase.APART
    assert specialists.player(NAME) is specialist.learner is not shared
    note_blocks(specialist, 0.0, 1.0, *([1.0] * PATIENCE_BLOCKS))
    assert specialists.phase(NAME) is Phase.TAKING_OVER
    assert specialists.player(NAME) is shared
    specialist.distance = ENOUGH
    assert specialists.phase(NAME) is Phase.SHARED
    specialists.end(NAME)
    assert specialists.get(NAME) is None
    assert specialists.phase(NAME) is Phase.SHARED


def test_taking_over_goes_on_at_a_low_rate_and_ends_after_the_most_steps() -> None:
    _, specialist = begun()
    note_blocks(specialist, 0.0, 1.0, *([1.0] * PATIENCE_BLOCKS))
    first = specialist.lesson_rate
    specialist.num_lessons, specialist.distance = FALLING_LESSONS, 1.0
    assert specialist.lesson_rate == pytest.approx(first / 10)
    specialist.num_lessons = MOST_LESSONS - 1
    assert specialist.lesson_rate == pytest.approx(first / 10)
    assert not specialist.is_taken_over
    specialist.num_lessons = MOST_LESSONS
    assert specialist.is_taken_over


def test_a_specialist_begins_with_other_parameters_than_the_shared_policy() -> None:
    specialists, specialist = begun()
    shared = specialists.player("scripted").policy
    assert not torch.equal(shared.core.weight_hidden, specialist.learner.policy.core.weight_hidden)


def test_restored_specialists_continue_as_if_they_had_not_been_interrupted() -> None:
    specialists, specialist = begun()
    specialist.learner.update(NAME, play(specialist.learner, VECTOR))
    note_blocks(specialist, 0.0, 1.0)
    specialist.note_returns(torch.ones(3))
    shared = specialists.player("scripted")
    restored = Specialists.restored(shared, specialists.to_tensors(), specialists.to_meta())
    again = restored.get(NAME)
    assert again is not None
    assert replace(again, learner=specialist.learner) == specialist
    assert restored.to_meta() == specialists.to_meta()
    for one in (again.learner, specialist.learner):
        one.update(NAME, play(one, VECTOR, first_task=7))
    expected, found = specialist.learner.to_tensors(), again.learner.to_tensors()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_older_checkpoints_have_no_specialists() -> None:
    shared = learner_for(VECTOR)
    assert isinstance(shared, RL2Learner)
    assert Specialists.restored(shared, shared.to_tensors(), {}).to_meta() == {}


def test_specialists_of_removed_families_are_dropped() -> None:
    specialists, _ = begun()
    specialists.keep_only(["scripted"])
    assert specialists.get(NAME) is None
