from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.pair import SIZE_FREE
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.trials import TrialBatch
from agent.learners.rl2.warm_start import WarmStart
from envs.family import Split
from envs.spaces import SpacePair
from envs.tensor.bandits import bandit_spaces
from tests.agent.learners.rl2.playing import LENGTHS
from tests.agent.learners.rl2.scripted_tasks import CONTINUOUS, DISCRETE, VECTOR, ScriptedTasks

SMALL = RL2Config(hidden_size=16, input_size=12, scorer_size=8, minibatch_steps=10, min_minibatch_trials=1)

WIDER = replace(CONTINUOUS, action=replace(CONTINUOUS.action, high=tuple(9.0 for _ in CONTINUOUS.action.high)))
"""The same sizes as ``CONTINUOUS``, with other bounds of actions."""

NEW_PARTS = (WarmStart.FRESH, WarmStart.COPIED, WarmStart.NEAREST)
"""The starts in spaces that the policy does not know."""

LONGER = replace(VECTOR, observation=replace(VECTOR.observation, size=9))


def bandits(num_arms: int) -> SpacePair:
    return bandit_spaces(num_arms)


def played(learner: RL2Learner, spaces: SpacePair) -> TrialBatch:
    return collect_trials(
        learner.policy, ScriptedTasks(spaces, LENGTHS), first_task=0, split=Split.TRAINING, generator=learner.generator
    )


def learner_after(*practised: SpacePair) -> RL2Learner:
    learner = RL2Learner(SMALL, device="cpu", seed=5)
    for number, spaces in enumerate(practised):
        learner.add_family(f"family@{number}", spaces)
        learner.update(f"family@{number}", played(learner, spaces))
    return learner


def test_there_is_nothing_to_copy_before_any_practice() -> None:
    learner = RL2Learner(SMALL, device="cpu", seed=5)
    learner.add_family("first@1", CONTINUOUS)
    assert learner.possible_starts(WIDER) == (WarmStart.FRESH,)


def test_there_is_nothing_to_choose_in_spaces_that_the_policy_knows() -> None:
    assert learner_after(VECTOR).possible_starts(VECTOR) == (WarmStart.SHARED,)


def test_a_shared_start_changes_nothing_of_the_policy() -> None:
    learner = learner_after(CONTINUOUS)
    before = {name: tensor.clone() for name, tensor in learner.policy.state_dict().items()}
    learner.add_family("again@9", CONTINUOUS, start=WarmStart.SHARED)
    found = learner.policy.state_dict()
    assert before.keys() == found.keys()
    assert all(torch.equal(before[name], found[name]) for name in before)


def test_a_shared_start_is_refused_in_spaces_that_the_policy_does_not_know() -> None:
    with pytest.raises(ValueError, match="no family of equal spaces"):
        learner_after(CONTINUOUS).add_family("wider@9", WIDER, start=WarmStart.SHARED)


@pytest.mark.parametrize("start", [WarmStart.SHARED, WarmStart.FRESH])
def test_a_restored_learner_has_the_start_of_a_family_whose_spaces_were_known(start: WarmStart) -> None:
    """Earlier releases saved ``fresh`` for such families."""
    learner = learner_after(CONTINUOUS)
    learner.add_family("again@9", CONTINUOUS, start=start)
    tensors = learner.to_tensors()
    restored = RL2Learner.from_tensors(SMALL, tensors, learner.to_meta(), device="cpu")
    assert restored.start_of("again@9") is start
    found = restored.to_tensors()
    assert tensors.keys() == found.keys()
    assert all(torch.equal(tensors[name], found[name]) for name in tensors)


@pytest.mark.parametrize(
    ("practised", "new", "starts"),
    [
        (VECTOR, DISCRETE, (WarmStart.FRESH,)),
        (VECTOR, CONTINUOUS, (WarmStart.FRESH,)),
        (VECTOR, LONGER, (WarmStart.FRESH, WarmStart.COPIED)),
        (CONTINUOUS, WIDER, NEW_PARTS),
    ],
)
def test_parts_are_copied_between_reads_of_one_meaning_and_whole_pairs_between_equal_sizes(
    practised: SpacePair, new: SpacePair, starts: tuple[WarmStart, ...]
) -> None:
    assert learner_after(practised).possible_starts(new) == starts


def test_a_copy_has_the_parts_that_depend_on_no_size_and_zeros_where_it_can_act_alone() -> None:
    learner, other = learner_after(bandits(3)), bandits(7)
    pair = learner.policy_with(other, WarmStart.COPIED).pair(other)
    donor = learner.policy.pair(bandits(3))
    for name, parameter in pair.named_parameters():
        is_free = name.partition(".")[0] in SIZE_FREE
        expected = donor.get_parameter(name) if is_free else torch.zeros_like(parameter)
        assert torch.equal(parameter, expected), name


def test_the_most_practised_spaces_are_copied() -> None:
    learner = learner_after(bandits(3), bandits(4))
    learner.update("family@1", played(learner, bandits(4)))
    copied = learner.policy_with(bandits(6), WarmStart.COPIED).pair(bandits(6))
    assert torch.equal(copied.embed_read.weight, learner.policy.pair(bandits(4)).embed_read.weight)


def test_a_nearest_start_acts_as_the_family_of_equal_sizes_does() -> None:
    learner = learner_after(CONTINUOUS)
    policy = learner.policy_with(WIDER, WarmStart.NEAREST)
    expected, found = policy.pair(CONTINUOUS).state_dict(), policy.pair(WIDER).state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_what_is_copied_is_not_shared() -> None:
    learner = learner_after(bandits(3))
    learner.add_family("other@9", bandits(5), start=WarmStart.COPIED)
    before = learner.policy.pair(bandits(5)).embed_read.weight.clone()
    learner.update("family@0", played(learner, bandits(3)))
    assert torch.equal(learner.policy.pair(bandits(5)).embed_read.weight, before)


@pytest.mark.parametrize("start", NEW_PARTS)
def test_a_family_begins_as_its_test_did(start: WarmStart) -> None:
    learner = learner_after(CONTINUOUS)
    tested = learner.policy_with(WIDER, start)
    learner.add_family("wider@9", WIDER, start=start)
    expected, found = tested.state_dict(), learner.policy.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert learner.start_of("wider@9") is start


@pytest.mark.parametrize("start", NEW_PARTS)
def test_a_restored_learner_has_the_start_and_the_parts(start: WarmStart) -> None:
    learner = learner_after(CONTINUOUS)
    learner.add_family("wider@9", WIDER, start=start)
    tensors = learner.to_tensors()
    restored = RL2Learner.from_tensors(SMALL, tensors, learner.to_meta(), device="cpu")
    assert restored.start_of("wider@9") is start
    found = restored.to_tensors()
    assert tensors.keys() == found.keys()
    assert all(torch.equal(tensors[name], found[name]) for name in tensors)


def test_testing_a_start_changes_nothing_of_the_learner() -> None:
    learner = learner_after(VECTOR)
    before = learner.to_tensors()
    learner.policy_with(LONGER, WarmStart.COPIED)
    after = learner.to_tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
