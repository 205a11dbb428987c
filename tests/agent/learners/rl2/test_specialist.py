"""Specialists learn a family apart until its return stops rising, and survive a restart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agent.learners.rl2.first_practice import ATTEMPT_UPDATES, BLOCK_UPDATES
from agent.learners.rl2.learner import SETTLED_UPDATES, RL2Learner
from agent.learners.rl2.specialist import (
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


def watched(*, reference: float | None = None, num_updates: int = SETTLED_UPDATES) -> Specialists:
    """Return specialists that watch a new family, in spaces that another one was practised in for so many updates."""
    shared = learner_for(VECTOR)
    shared._families["scripted"].num_updates = num_updates
    shared.add_family(NAME, VECTOR)
    specialists = Specialists(shared)
    specialists.watch(NAME, VECTOR, random_return=1.0, reference_return=reference)
    return specialists


def failures(specialists: Specialists, *means: float) -> list[bool]:
    """Note returns, a quarter of an attempt for each mean; return whether the attempt failed, for each update."""
    return [specialists.note_returns(NAME, mean + NOISE) for mean in means for _ in range(ATTEMPT_UPDATES // 4)]


def begun() -> tuple[Specialists, Specialist]:
    specialists = watched()
    specialists.begin(NAME)
    found = specialists.get(NAME)
    assert found is not None
    return specialists, found


def note_blocks(specialist: Specialist, *means: float) -> None:
    for mean in means:
        for _ in range(BLOCK_UPDATES):
            specialist.note_returns(mean + NOISE)


@pytest.mark.parametrize(
    ("reference", "means", "has_failed"),
    [
        (10.0, (1.0, 1.0, 1.0, 1.02), True),  # below a third of the way from 1 to 10, and a rise that noise explains
        (10.0, (1.0, 1.0, 1.0, 1.05), False),  # it rises
        (10.0, (5.0, 5.0, 5.0, 5.0), False),  # it does not rise, and is played well enough
        (None, (1.0, 1.0, 1.0, 1.0), True),  # as random actions
        (None, (0.5, 0.5, 0.5, 0.9), False),
        (None, (2.0, 2.0, 2.0, 2.0), False),
    ],
)
def test_a_first_practice_fails_if_the_return_is_still_low(
    reference: float | None, means: tuple[float, ...], has_failed: bool
) -> None:
    specialists = watched(reference=reference)
    found = failures(specialists, *means)
    assert len(found) == ATTEMPT_UPDATES
    assert found[:-1] == [False] * (ATTEMPT_UPDATES - 1)
    assert found[-1] is has_failed


def test_a_first_practice_that_succeeded_is_not_judged_again() -> None:
    specialists = watched(reference=10.0)
    assert not any(failures(specialists, 9.0, 9.0, 9.0, 9.0, *([1.0] * 8)))


def test_a_low_return_that_rises_is_judged_again() -> None:
    specialists = watched(reference=10.0)
    assert not any(failures(specialists, 1.0, 1.2, 1.4, 1.6))
    assert failures(specialists, 1.6, 1.6, 1.6, 1.6)[-1]


def test_a_family_that_cannot_be_learned_apart_goes_on_in_the_shared_policy() -> None:
    specialists = watched(reference=10.0)
    assert failures(specialists, 1.0, 1.0, 1.0, 1.0)[-1]
    specialists.go_on(NAME)
    assert not any(failures(specialists, 1.0, 1.0, 1.0, 1.0))
    assert specialists.phase(NAME) is Phase.SHARED


def test_nothing_is_watched_where_the_policy_still_explores() -> None:
    specialists = watched(reference=10.0, num_updates=SETTLED_UPDATES - 1)
    assert not any(failures(specialists, 1.0, 1.0, 1.0, 1.0))


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
    shared, own = (learner.policy.pair(VECTOR) for learner in (specialists.shared, specialist.learner))
    assert not torch.equal(shared.core.weight_hidden, own.core.weight_hidden)


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


def test_a_restored_first_practice_is_judged_as_if_it_had_not_been_interrupted() -> None:
    specialists = watched(reference=10.0)
    failures(specialists, 1.0, 2.0)
    specialists.note_returns(NAME, torch.ones(3))
    restored = Specialists.restored(specialists.shared, {}, specialists.to_meta())
    assert restored.to_meta() == specialists.to_meta()
    results = [
        [one.note_returns(NAME, torch.ones(3)) for _ in range(ATTEMPT_UPDATES // 2 - 1)]
        for one in (specialists, restored)
    ]
    assert results[0] == results[1]
    assert results[0][-1]


def test_older_checkpoints_have_no_specialists() -> None:
    shared = learner_for(VECTOR)
    assert isinstance(shared, RL2Learner)
    assert Specialists.restored(shared, shared.to_tensors(), {}).to_meta() == Specialists(shared).to_meta()


def test_specialists_of_removed_families_are_dropped() -> None:
    specialists, _ = begun()
    specialists.keep_only(["scripted"])
    assert specialists.get(NAME) is None
