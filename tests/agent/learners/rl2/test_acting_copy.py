"""A copy of a policy acts as the policy did, whatever the policy learns meanwhile."""

from __future__ import annotations

import torch

from agent.learners.rl2.acting_copy import acting_copy
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.trials import TrialBatch
from envs.family import FamilySource, FamilySpec, Split
from envs.registry import open_tasks
from envs.tensor.bandits import bandit_spaces
from tests.agent.learners.rl2.playing import learner_for

SPACES = bandit_spaces(3)
SPEC = FamilySpec(
    name="bandits",
    source=FamilySource.TENSOR,
    entry="bernoulli_bandits",
    kwargs={"num_arms": 3},
    episodes_per_trial=5,
)


def play(policy: object) -> TrialBatch:
    tasks = open_tasks(SPEC, None, num_trials=16, device="cpu")
    generator = torch.Generator().manual_seed(3)
    return collect_trials(policy, tasks, first_task=0, split=Split.TRAINING, generator=generator)  # type: ignore[arg-type]


def test_a_copy_acts_as_the_policy_did_when_it_was_copied() -> None:
    learner = learner_for(SPACES)
    copied, expected = acting_copy(learner.policy, SPACES), play(learner.policy)
    learner.update(learner.families[0], expected)
    found, learned = play(copied), play(learner.policy)
    assert torch.equal(found.log_prob, expected.log_prob)
    assert not torch.equal(found.log_prob, learned.log_prob)


def test_a_copy_knows_only_its_spaces_and_leaves_the_policy_as_it_is() -> None:
    learner = learner_for(SPACES)
    others = bandit_spaces(4)
    learner.add_family("others", others)
    copied = acting_copy(learner.policy, SPACES)
    assert copied.knows(SPACES)
    assert not copied.knows(others)
    assert learner.policy.knows(others)
    assert {id(p) for p in copied.parameters()}.isdisjoint(id(p) for p in learner.policy.parameters())
