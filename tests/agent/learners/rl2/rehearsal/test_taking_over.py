"""The shared policy takes a family over from its specialist, and keeps what it knew of others."""

from __future__ import annotations

import torch

from agent.learners.rl2.learner import SETTLED_UPDATES, RL2Learner
from agent.learners.rl2.rehearsal.past_trials import of_batch, past_trials
from agent.learners.rl2.rehearsal.rehearsal import Rehearsal
from agent.learners.rl2.rehearsal.taking_over import take_over
from agent.learners.rl2.specialist import Specialist, Specialists
from agent.learners.rl2.trials import to_records
from tests.agent.learners.rl2.playing import PACKED_LENGTHS, learner_for, play
from tests.agent.learners.rl2.rehearsal.test_rehearsal import remember
from tests.agent.learners.rl2.scripted_tasks import CONTINUOUS, DISCRETE, MIXED, VECTOR

NAME = "new@2"


def sure_specialist(learner: RL2Learner) -> Specialist:
    """Return a specialist that always takes the first action."""
    learner.add_family(NAME, VECTOR)
    learner._families["scripted"].num_updates = SETTLED_UPDATES
    specialists = Specialists(learner)
    specialists.watch(NAME, VECTOR, random_return=0.0, reference_return=None)
    specialists.begin(NAME)
    specialist = specialists.get(NAME)
    assert specialist is not None
    with torch.no_grad():
        specialist.learner.policy.pair(VECTOR).get_parameter("head.bias")[0] += 3.0
    return specialist


def taken_over(learner: RL2Learner, rehearsal: Rehearsal, *, rounds: int, is_rehearsed: bool = True) -> list[float]:
    specialist, distances = sure_specialist(learner), []
    for number in range(rounds):
        rehearsed = rehearsal.begin_taking_over(NAME) if is_rehearsed else rehearsal.nothing()
        trials = play(learner, VECTOR, PACKED_LENGTHS, first_task=number)
        distances.append(take_over(learner, specialist, trials, rehearsed)["takeover_kl"])
        rehearsal.end(rehearsed)
    assert specialist.distance == distances[-1]
    assert specialist.num_lessons == rounds * (len(PACKED_LENGTHS) // 8)
    return distances


def test_the_shared_policy_comes_to_decide_as_the_specialist() -> None:
    learner = learner_for(VECTOR)
    distances = taken_over(learner, Rehearsal(learner), rounds=12)
    assert distances[0] > 0.3
    assert distances[-1] < distances[0] / 10


def test_other_families_of_the_spaces_are_held_to_their_teachers_meanwhile() -> None:
    """The families look alike: the policy ends between two teachers, without rehearsal at the new one."""
    lost = {}
    for is_rehearsed in (True, False):
        learner = learner_for(VECTOR)
        rehearsal = Rehearsal(learner)
        remember(rehearsal, learner, "scripted", VECTOR)
        taken_over(learner, rehearsal, rounds=12, is_rehearsed=is_rehearsed)
        lost[is_rehearsed] = rehearsal.measure("scripted")
    assert lost[True] < 0.6 * lost[False]


def test_families_of_the_spaces_are_rehearsed_before_anything_is_lost() -> None:
    learner = learner_for(VECTOR)
    learner.add_family("other", CONTINUOUS)
    rehearsal = Rehearsal(learner)
    remember(rehearsal, learner, "scripted", VECTOR)
    remember(rehearsal, learner, "other", CONTINUOUS)
    learner.add_family(NAME, VECTOR)
    assert rehearsal.begin(NAME).num_families == 0
    assert list(rehearsal.begin_taking_over(NAME).losses) == ["scripted"]


def test_the_critic_learns_meanwhile() -> None:
    learner = learner_for(VECTOR)
    specialist, rehearsal = sure_specialist(learner), Rehearsal(learner)
    values = []
    for number in range(12):
        trials = play(learner, VECTOR, PACKED_LENGTHS, first_task=number)
        values.append(take_over(learner, specialist, trials, rehearsal.nothing())["value"])
    assert sum(values[-3:]) < sum(values[:3])


def test_the_trials_of_a_batch_are_those_that_its_records_give() -> None:
    for spaces in (VECTOR, DISCRETE, MIXED):
        learner = learner_for(spaces)
        batch = play(learner, spaces)
        rows = list(range(batch.num_trials))
        records = to_records(batch, rows=rows, tasks=[{}] * len(rows), decisions=batch.decisions)
        expected, found = past_trials(records, spaces, device=learner.device), of_batch(batch)
        valid = expected.is_valid
        assert torch.equal(found.is_valid, valid)
        assert found.episodes_per_trial == expected.episodes_per_trial
        for part in ("observation", "action", "reward", "terminated", "truncated", "next_observation"):
            assert torch.equal(getattr(found, part)[valid], getattr(expected, part)[valid]), (spaces, part)
