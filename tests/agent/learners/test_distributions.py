from __future__ import annotations

import torch
from torch import distributions

from agent.learners.distributions import ActionDistribution, slots_of
from tests.agent.learners.rl2.scripted_tasks import CONTINUOUS, DISCRETE, WIDE


def test_discrete_numbers_are_torchs() -> None:
    scores, action = torch.randn(7, 5, 3), torch.randint(3, (7, 5))
    ours = ActionDistribution(action=DISCRETE.action, scores=scores)
    reference = distributions.Categorical(logits=scores)
    log_prob, entropy = ours.log_prob_and_entropy(action)
    torch.testing.assert_close(log_prob, reference.log_prob(action))
    torch.testing.assert_close(entropy, reference.entropy())


def test_multi_discrete_numbers_are_sums_over_dimensions() -> None:
    scores = torch.randn(7, 5)
    action = torch.stack([torch.randint(2, (7,)), torch.randint(3, (7,))], dim=-1)
    parts = [distributions.Categorical(logits=scores[:, :2]), distributions.Categorical(logits=scores[:, 2:])]
    log_prob, entropy = ActionDistribution(action=WIDE.action, scores=scores).log_prob_and_entropy(action)
    torch.testing.assert_close(log_prob, parts[0].log_prob(action[:, 0]) + parts[1].log_prob(action[:, 1]))
    torch.testing.assert_close(entropy, parts[0].entropy() + parts[1].entropy())


def test_continuous_numbers_are_torchs() -> None:
    scores, log_std, action = torch.randn(7, 2), torch.randn(2), torch.randn(7, 2)
    ours = ActionDistribution(action=CONTINUOUS.action, scores=scores, log_std=log_std)
    reference = distributions.Independent(distributions.Normal(scores, log_std.exp().expand_as(scores)), 1)
    log_prob, entropy = ours.log_prob_and_entropy(action)
    torch.testing.assert_close(log_prob, reference.log_prob(action))
    torch.testing.assert_close(entropy, reference.entropy())


def test_actions_are_drawn_as_often_as_they_are_likely_and_never_where_they_cannot_be() -> None:
    scores = torch.tensor([0.0, 2.0, float("-inf")]).expand(20_000, 3)
    drawn = ActionDistribution(action=DISCRETE.action, scores=scores).sample(torch.Generator().manual_seed(0))
    shares = drawn.bincount(minlength=3) / len(drawn)
    torch.testing.assert_close(shares, scores[0].softmax(-1), rtol=0, atol=0.01)
    assert shares[2] == 0.0


def test_slots_of_later_dimensions_come_after_those_of_earlier_ones() -> None:
    assert slots_of(WIDE.action, torch.tensor([[1, 2], [0, 0]])).tolist() == [[1, 4], [0, 2]]
