from __future__ import annotations

import torch
from torch.nn import functional

from agent.rl2.scorer import embed_reads, score_slots


def draw(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)


def test_gradients_of_the_embedded_reads_are_those_of_autograd_in_float64() -> None:
    reads, weight, bias = draw(7, 4, 3, seed=1).detach(), draw(5, 3, seed=2), draw(5, seed=3)
    embedded, pooled = embed_reads(reads, weight, bias)
    plain = functional.relu(reads @ weight.t() + bias)
    plain_pooled = torch.cat([plain.mean(1), plain.amax(1)], dim=-1)
    torch.testing.assert_close(embedded, plain)
    torch.testing.assert_close(pooled, plain_pooled)
    a, b = draw(7, 4, 5, seed=4).detach(), draw(7, 10, seed=5).detach()
    for fused, expected in zip(
        torch.autograd.grad((embedded * a).sum() + (pooled * b).sum(), [weight, bias]),
        torch.autograd.grad((plain * a).sum() + (plain_pooled * b).sum(), [weight, bias]),
        strict=True,
    ):
        torch.testing.assert_close(fused, expected, rtol=1e-10, atol=1e-12)


def test_gradients_of_the_slots_scores_are_those_of_autograd_in_float64() -> None:
    inputs = [draw(7, 4, 5, seed=1), draw(7, 5, seed=2), draw(5, 5, seed=3), draw(5, seed=4)]
    embedded, context, weight, direction = inputs
    fused = score_slots(embedded, context, weight, direction)
    plain = functional.relu(embedded @ weight.t() + context.unsqueeze(1)) @ direction
    torch.testing.assert_close(fused, plain)
    a = draw(7, 4, seed=5).detach()
    for found, expected in zip(
        torch.autograd.grad((fused * a).sum(), inputs), torch.autograd.grad((plain * a).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_equal_slots_are_scored_equally_and_permuting_them_permutes_the_scores() -> None:
    embedded, context, weight, direction = (
        draw(2, 4, 5, seed=1),
        draw(2, 5, seed=2),
        draw(5, 5, seed=3),
        draw(5, seed=4),
    )
    scores = score_slots(embedded, context, weight, direction)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(score_slots(embedded[:, order], context, weight, direction), scores[:, order])
