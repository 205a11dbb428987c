"""Checkpoints, versions and teachers of learnd 0.1.0, in which all space pairs shared one core, open."""

from __future__ import annotations

import torch
from torch import Tensor

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.pair import CORE
from agent.learners.rl2.policy import policy_from_initialization
from agent.learners.rl2.rehearsal.teachers import fits, teacher_of
from tests.agent.learners.rl2.playing import play
from tests.agent.learners.rl2.scripted_tasks import DISCRETE, VECTOR

PAIRS = {"vectors": VECTOR, "indices": DISCRETE}
CONFIG = RL2Config(hidden_size=16, input_size=12)


def learner_of_one_core() -> RL2Learner:
    """Return a learner whose pairs have equal cores and moments of the optimiser, after an update of one pair."""
    learner = RL2Learner(CONFIG, device="cpu", seed=3)
    for name, spaces in PAIRS.items():
        learner.add_family(name, spaces)
    learner.update("vectors", play(learner, VECTOR))
    other = learner.policy.pair(DISCRETE)
    for name, parameter in learner.policy.pair(VECTOR).named_parameters():
        if name.partition(".")[0] in CORE:
            other.get_parameter(name).data.copy_(parameter.data)
            moments = learner._optimizer.moments(parameter)
            learner._optimizer.set_moments(
                other.get_parameter(name), {part: value.clone() for part, value in moments.items()}
            )
    return learner


def as_written_before(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with the names of a shared core instead of those of the cores of the pairs."""
    written: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for key in (spaces.key for spaces in PAIRS.values()):
            start, pair, rest = name.partition(f"pairs.{key}.")
            if pair and rest.partition(".")[0] in CORE:
                written[start + rest] = tensor
                break
        else:
            written[name] = tensor
    return written


def test_a_checkpoint_of_one_core_continues_as_one_of_a_core_in_each_pair() -> None:
    learner = learner_of_one_core()
    before = as_written_before(learner.to_tensors())
    assert "policy/core.weight_hidden" in before
    assert not any(name.endswith("core.weight_hidden") for name in before if "pairs." in name)
    restored = RL2Learner.from_tensors(CONFIG, before, learner.to_meta(), device="cpu")
    for one in (learner, restored):
        for name, spaces in PAIRS.items():
            one.update(name, play(one, spaces))
    expected, found = learner.to_tensors(), restored.to_tensors()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_published_parameters_of_one_core_act_and_are_loaded() -> None:
    learner = learner_of_one_core()
    published = as_written_before(learner.initialization())
    policy = policy_from_initialization(CONFIG, published, list(PAIRS.values()))
    taker = RL2Learner(CONFIG, device="cpu", seed=9)
    for name, spaces in PAIRS.items():
        taker.add_family(name, spaces)
    taker.load_initialization(published)
    for tensors in (policy.state_dict(), taker.initialization()):
        assert all(torch.equal(tensors[name], tensor) for name, tensor in learner.initialization().items())


def test_a_teacher_of_one_core_fits() -> None:
    learner = learner_of_one_core()
    teacher = as_written_before(teacher_of(learner.policy, VECTOR))
    assert "core.weight_hidden" in teacher
    assert fits(teacher, learner.policy, VECTOR)
    assert not fits(teacher, learner.policy, DISCRETE)
