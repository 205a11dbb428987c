from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import distributions

from agent.learners.distributions import (
    ActionDistribution,
    allowed_in,
    as_previous,
    num_slots,
    slots_of,
    taken_slots,
    with_forbidden,
)
from envs.spaces import SpacePair
from tests.agent.learners.rl2.scripted_tasks import CONTINUOUS, DISCRETE, MIXED, WIDE


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


def mixed(scores: torch.Tensor, log_std: torch.Tensor) -> ActionDistribution:
    return ActionDistribution(action=MIXED.action, scores=scores, log_std=log_std)


def test_mixed_numbers_are_those_of_the_choices_and_of_the_numbers() -> None:
    scores, log_std = torch.randn(7, 4, 7), torch.randn(2)
    action = torch.cat([torch.randint(3, (7, 4, 1)), torch.randint(2, (7, 4, 1)), torch.randn(7, 4, 2)], dim=-1)
    parts = (
        (distributions.Categorical(logits=scores[..., :3]), action[..., 0]),
        (distributions.Categorical(logits=scores[..., 3:5]), action[..., 1]),
        (
            distributions.Independent(distributions.Normal(scores[..., 5:], log_std.exp().expand(7, 4, 2)), 1),
            action[..., 2:],
        ),
    )
    log_prob, entropy = mixed(scores, log_std).log_prob_and_entropy(action)
    torch.testing.assert_close(log_prob, sum(part.log_prob(values) for part, values in parts))
    torch.testing.assert_close(mixed(scores, log_std).log_prob(action), log_prob)
    torch.testing.assert_close(entropy, sum(part.entropy() for part, _ in parts))


def test_a_mixed_divergence_is_the_sum_of_those_of_its_parts() -> None:
    one, other = (mixed(torch.randn(5, 7), torch.randn(2)) for _ in range(2))
    expected = sum(
        distributions.kl_divergence(
            distributions.Categorical(logits=one.scores[:, part]),
            distributions.Categorical(logits=other.scores[:, part]),
        )
        for part in (slice(3), slice(3, 5))
    )
    normals = (
        distributions.Independent(distributions.Normal(of.scores[:, 5:], of.log_std.exp().expand(5, 2)), 1)
        for of in (one, other)
    )
    torch.testing.assert_close(one.divergence_to(other), expected + distributions.kl_divergence(*normals))


def test_a_mixed_distribution_is_restored_from_its_parameters() -> None:
    ours = mixed(torch.randn(5, 7), torch.randn(2))
    restored = ActionDistribution.of_parameters(MIXED.action, ours.parameters())
    assert torch.equal(restored.scores, ours.scores)
    torch.testing.assert_close(ours.divergence_to(restored), torch.zeros(5))


def test_mixed_actions_have_indices_first_and_are_drawn_as_often_as_they_are_likely() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0, 0.0, -1.0, 0.5, -3.0]).expand(20_000, 7)
    drawn = mixed(scores, torch.tensor([-1.0, 0.0])).sample(torch.Generator().manual_seed(0))
    shares = drawn[:, 0].long().bincount(minlength=3) / len(drawn)
    torch.testing.assert_close(shares, scores[0, :3].softmax(-1), rtol=0, atol=0.015)
    torch.testing.assert_close(drawn[:, 2:].mean(0), torch.tensor([0.5, -3.0]), rtol=0, atol=0.03)
    torch.testing.assert_close(drawn[:, 2:].std(0), torch.tensor([-1.0, 0.0]).exp(), rtol=0.03, atol=0)
    assert mixed(scores, torch.zeros(2)).mode()[0].tolist() == [2.0, 0.0, 0.5, -3.0]


def test_what_a_mixed_action_filled_is_one_slot_per_choice_and_its_numbers() -> None:
    action = torch.tensor([[2.0, 1.0, 0.25, -3.0]])
    previous = as_previous(MIXED.action, action)
    assert previous.tolist() == [[2.0, 4.0, 0.25, -3.0]]
    assert taken_slots(MIXED.action, previous).tolist() == [[0.0, 0.0, 1.0, 0.0, 1.0, 0.25, -1.0]]


@pytest.mark.parametrize("spaces", [DISCRETE, WIDE, MIXED], ids=["discrete", "multi_discrete", "mixed"])
def test_a_masked_distribution_is_that_of_the_allowed_choices(spaces: SpacePair) -> None:
    action = spaces.action
    scores = torch.randn(6, num_slots(action))
    log_std = torch.randn(2) if action.has_numbers else None
    allowed = torch.ones(6, action.num_choices, dtype=torch.bool)
    allowed[:, 0] = False
    ours = ActionDistribution(action=action, scores=with_forbidden(action, scores, allowed), log_std=log_std)
    sizes = (action.choices[0] - 1, *action.choices[1:])
    kept = replace(action, choices=sizes)
    reference = ActionDistribution(action=kept, scores=scores[:, 1:], log_std=log_std)
    chosen = reference.sample(torch.Generator().manual_seed(1))
    shifted = chosen + 1 if chosen.ndim == 1 else chosen + torch.tensor([1, *[0] * (action.width - 1)])
    for expected, found in zip(
        reference.log_prob_and_entropy(chosen), ours.log_prob_and_entropy(shifted.to(chosen.dtype)), strict=True
    ):
        torch.testing.assert_close(found, expected)
    stored = ActionDistribution.of_parameters(action, ours.parameters().to(torch.float16).float())
    assert torch.equal(allowed_in(action, stored.parameters()), allowed)
    assert ours.divergence_to(stored).isfinite().all()


def test_nothing_is_forbidden_where_no_choice_is_allowed() -> None:
    scores = with_forbidden(DISCRETE.action, torch.randn(1, 3), torch.zeros(1, 3, dtype=torch.bool))
    log_prob, entropy = ActionDistribution(action=DISCRETE.action, scores=scores).log_prob_and_entropy(
        torch.tensor([1])
    )
    torch.testing.assert_close(torch.cat([-log_prob, entropy]), torch.full((2,), math.log(3)))
