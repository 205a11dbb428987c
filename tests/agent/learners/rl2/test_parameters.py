"""Checkpoints, versions and teachers that an earlier learnd wrote open, and act and continue as they did.

In learnd 0.1.0 all space pairs shared one core, and memories did not plan over known ways.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.pair import CORE
from agent.learners.rl2.parameters import policy_from_initialization
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


NUM_DISCOUNTS = len(CONFIG.look_ahead_discounts)
KNOWN_WAYS = [3 + NUM_DISCOUNTS, 4 + 2 * NUM_DISCOUNTS]
"""Places of the advantage and the value of the plan over known ways in a read."""


def without_known_ways(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors without the weights of the plan over known ways, and their moments."""
    start = f"pairs.{DISCRETE.key}.embed_read.weight"
    kept = [index for index in range(5 + 2 * NUM_DISCOUNTS) if index not in KNOWN_WAYS]
    return {name: tensor[:, kept] if start in name and tensor.ndim else tensor for name, tensor in tensors.items()}


def learner_without_known_ways() -> RL2Learner:
    """Return a learner that practised, but whose plan over known ways has no weight and no moments."""
    learner = RL2Learner(CONFIG, device="cpu", seed=3)
    learner.add_family("indices", DISCRETE)
    learner.update("indices", play(learner, DISCRETE))
    weight = learner.policy.pair(DISCRETE).embed_read.weight
    for tensor in (weight.data, *learner._optimizer.moments(weight).values()):
        if tensor.ndim:
            tensor[:, KNOWN_WAYS] = 0.0
    return learner


def test_a_checkpoint_without_known_ways_continues_as_one_whose_weights_of_them_are_0() -> None:
    learner = learner_without_known_ways()
    before = without_known_ways(learner.to_tensors())
    name = f"pairs.{DISCRETE.key}.embed_read.weight"
    assert before[f"policy/{name}"].shape == (CONFIG.scorer_size, 9)
    assert before[f"optimizer/policy.{name}/exp_avg"].shape == (CONFIG.scorer_size, 9)
    restored = RL2Learner.from_tensors(CONFIG, before, learner.to_meta(), device="cpu")
    for one in (learner, restored):
        one.update("indices", play(one, DISCRETE))
    expected, found = learner.to_tensors(), restored.to_tensors()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert bool(restored.policy.pair(DISCRETE).embed_read.weight[:, KNOWN_WAYS].any())  # they are learned from now on


def test_published_parameters_and_teachers_without_known_ways_are_taken() -> None:
    learner = learner_without_known_ways()
    published = without_known_ways(learner.initialization())
    policy = policy_from_initialization(CONFIG, published, [DISCRETE])
    taker = RL2Learner(CONFIG, device="cpu", seed=9)
    taker.add_family("indices", DISCRETE)
    taker.load_initialization(published)
    for tensors in (policy.state_dict(), taker.initialization()):
        assert all(torch.equal(tensors[name], tensor) for name, tensor in learner.initialization().items())
    assert fits(without_known_ways(teacher_of(learner.policy, DISCRETE)), learner.policy, DISCRETE)
