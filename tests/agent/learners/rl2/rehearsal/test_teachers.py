"""Rehearsal holds the policy to the decisions of each family's teacher."""

from __future__ import annotations

import torch

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rehearsal.past_trials import past_trials
from agent.learners.rl2.rehearsal.rehearsal import Rehearsal
from agent.learners.rl2.rehearsal.rehearsal_slice import TOLERANCE
from agent.learners.rl2.rehearsal.teachers import fits, taught, teacher_of
from tests.agent.learners.rl2.playing import learner_for, play
from tests.agent.learners.rl2.rehearsal.test_rehearsal import lose, remember
from tests.agent.learners.rl2.scripted_tasks import DISCRETE, VECTOR


def test_old_trials_count_with_the_decisions_of_the_policy_after_the_last_practice() -> None:
    learner = learner_for(VECTOR)
    rehearsal = Rehearsal(learner)
    remember(rehearsal, learner, "scripted", VECTOR)
    lose(learner, VECTOR)  # the policy learns something else of the same family
    assert rehearsal.measure("scripted") > TOLERANCE
    remember(rehearsal, learner, "scripted", VECTOR, times=1)
    assert rehearsal.measure("scripted") < 1e-6


def test_a_reservoir_without_a_teacher_counts_with_its_own_decisions() -> None:
    learner = learner_for(VECTOR)
    rehearsal = Rehearsal(learner)
    remember(rehearsal, learner, "scripted", VECTOR)
    rehearsal.reservoir("scripted").teach(None)
    assert rehearsal.measure("scripted") < TOLERANCE
    lose(learner, VECTOR)
    assert rehearsal.measure("scripted") > TOLERANCE


def test_a_teacher_decides_as_the_policy_did_when_it_played() -> None:
    learner = learner_for(VECTOR)
    rehearsal = Rehearsal(learner)
    remember(rehearsal, learner, "scripted", VECTOR)
    reservoir = rehearsal.reservoir("scripted")
    past = past_trials(reservoir.usable(held_back=False), VECTOR, device=learner.device)
    assert reservoir.teacher is not None
    again = taught(past, reservoir.teacher, learner.config)
    valid = past.is_valid
    assert torch.allclose(again.decisions[valid], past.decisions[valid], atol=5e-3)  # stored as float16


def test_a_teacher_has_the_parameters_of_its_space_pair_alone() -> None:
    learner: RL2Learner = learner_for(VECTOR)
    learner.add_family("indexed", DISCRETE)
    teacher = teacher_of(learner.policy, VECTOR)
    assert fits(teacher, learner.policy, VECTOR)
    assert not fits(teacher, learner.policy, DISCRETE)
    assert not any(DISCRETE.key in name for name in teacher)
    play(learner, VECTOR)


def test_a_teacher_of_other_settings_does_not_fit() -> None:
    learner = learner_for(VECTOR)
    teacher = teacher_of(learner.policy, VECTOR)
    name = next(name for name, tensor in teacher.items() if tensor.ndim == 2)
    assert not fits({**teacher, name: teacher[name][:1]}, learner.policy, VECTOR)


def test_a_teacher_that_lacks_a_parameter_does_not_fit() -> None:
    learner = learner_for(VECTOR)
    teacher = teacher_of(learner.policy, VECTOR)
    del teacher[f"pairs.{VECTOR.key}.core.weight_hidden"]
    assert not fits(teacher, learner.policy, VECTOR)
