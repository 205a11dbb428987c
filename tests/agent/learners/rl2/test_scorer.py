from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from agent.learners.rl2 import scorer
from agent.learners.rl2.scorer import pool_reads, score_slots


def draw(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)


@pytest.fixture(params=[1, 3, 100], ids=lambda rows: f"blocks_of_{rows}", autouse=True)
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of so many decisions of 4 slots and a width of 5."""
    monkeypatch.setattr(scorer, "BLOCK_NUMBERS", request.param * 4 * 5)


def embedded(reads: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return functional.relu(reads @ weight.t() + bias)


def test_gradients_of_the_pooled_reads_are_those_of_autograd_in_float64() -> None:
    reads, weight, bias = draw(7, 4, 3, seed=1), draw(5, 3, seed=2), draw(5, seed=3)
    pooled = pool_reads(reads, weight, bias)
    plain = embedded(reads, weight, bias)
    plain_pooled = torch.cat([plain.mean(1), plain.amax(1)], dim=-1)
    torch.testing.assert_close(pooled, plain_pooled)
    a = draw(7, 10, seed=5).detach()
    for fused, expected in zip(
        torch.autograd.grad((pooled * a).sum(), [reads, weight, bias]),
        torch.autograd.grad((plain_pooled * a).sum(), [reads, weight, bias]),
        strict=True,
    ):
        torch.testing.assert_close(fused, expected, rtol=1e-10, atol=1e-12)


def test_slots_that_tie_for_the_maximum_share_its_gradient() -> None:
    reads = draw(7, 1, 3, seed=1).detach().expand(7, 4, 3).clone()
    weight, bias, a = draw(5, 3, seed=2), draw(5, seed=3), draw(7, 10, seed=5).detach()
    one, four = (
        torch.autograd.grad((pool_reads(met, weight, bias) * a).sum(), [weight, bias]) for met in (reads[:, :1], reads)
    )
    for alone, tied in zip(one, four, strict=True):
        torch.testing.assert_close(tied, alone, rtol=1e-10, atol=1e-12)


def test_gradients_of_the_slots_scores_are_those_of_autograd_in_float64() -> None:
    weights = [draw(5, 3, seed=3), draw(5, seed=4), draw(5, 5, seed=5), draw(5, seed=6)]
    inputs = [draw(7, 4, 3, seed=1), draw(7, 5, seed=2), *weights]
    reads, context, weight, bias, shared_weight, direction = inputs
    fused = score_slots(*inputs)
    shared = functional.relu(embedded(reads, weight, bias) @ shared_weight.t() + context.unsqueeze(1))
    plain = shared @ direction
    torch.testing.assert_close(fused, plain)
    a = draw(7, 4, seed=7).detach()
    for found, expected in zip(
        torch.autograd.grad((fused * a).sum(), inputs), torch.autograd.grad((plain * a).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_permuting_the_slots_permutes_their_scores() -> None:
    reads, *weights = draw(2, 4, 3, seed=1), draw(2, 5, seed=2), draw(5, 3, seed=3), draw(5, seed=4)
    weights += [draw(5, 5, seed=5), draw(5, seed=6)]
    order = torch.tensor([2, 0, 3, 1])
    scores = score_slots(reads, *weights)
    torch.testing.assert_close(score_slots(reads[:, order], *weights), scores[:, order])
