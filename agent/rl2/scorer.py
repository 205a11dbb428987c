"""The scorer that all slots share, with its passes over [N, K, P] tensors counted by hand.

e_k = relu(V m_k + b),   p = [mean_k e_k, max_k e_k],   score_k = w · relu(U e_k + c)

with m_k a slot's read, p what is pooled for the core, and c the context that comes back from it. Autograd makes about
twice the passes over memory that these gradients need, and this is where most of an update's time goes when there are
many slots.

Shapes: N decisions, K slots, F features of a read, P scorer width.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


class _EmbedReads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, reads: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        num, num_slots, num_features = reads.shape
        embedded = torch.addmm(bias, reads.reshape(-1, num_features), weight.t()).relu_().view(num, num_slots, -1)
        largest, place = embedded.max(1)
        pooled = torch.cat([embedded.mean(1), largest], dim=-1)
        ctx.save_for_backward(reads, embedded, place)
        return embedded, pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, Tensor, Tensor]:
        reads, embedded, place = ctx.saved_tensors
        grad_embedded, grad_pooled = grad_outputs
        num_slots, size = embedded.shape[1:]
        grad = torch.add(grad_embedded, grad_pooled[:, :size].unsqueeze(1), alpha=1.0 / num_slots)
        grad.scatter_add_(1, place.unsqueeze(1), grad_pooled[:, size:].unsqueeze(1))
        flat = grad.mul_(embedded > 0).view(-1, size)
        return None, flat.t() @ reads.reshape(-1, reads.shape[-1]), flat.sum(0)


class _ScoreSlots(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embedded: Tensor, context: Tensor, weight: Tensor, direction: Tensor) -> Tensor:
        num, num_slots, size = embedded.shape
        shared = torch.mm(embedded.reshape(-1, size), weight.t()).view(num, num_slots, -1)
        shared.add_(context.unsqueeze(1)).relu_()
        ctx.save_for_backward(embedded, shared, weight, direction)
        return torch.mv(shared.view(-1, shared.shape[-1]), direction).view(num, num_slots)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        embedded, shared, weight, direction = ctx.saved_tensors
        grad_scores = grad_outputs[0].reshape(-1)
        flat_shared, flat_embedded = shared.view(-1, shared.shape[-1]), embedded.reshape(-1, embedded.shape[-1])
        grad_direction = torch.mv(flat_shared.t(), grad_scores)
        grad = torch.outer(grad_scores, direction).mul_(flat_shared > 0)
        grad_embedded = torch.mm(grad, weight).view(embedded.shape)
        return grad_embedded, grad.view(shared.shape).sum(1), torch.mm(grad.t(), flat_embedded), grad_direction


def embed_reads(
    reads: Float[Tensor, "N K F"], weight: Float[Tensor, "P F"], bias: Float[Tensor, " P"]
) -> tuple[Float[Tensor, "N K P"], Float[Tensor, "N P2"]]:
    """Embed every slot's read, and pool over slots. Reads are inputs: no gradient goes back to them.

    Args:
        reads: m.
        weight: V.
        bias: b.

    Returns:
        e, and p (P2 = 2P).
    """
    embedded, pooled = _EmbedReads.apply(reads, weight, bias)  # type: ignore[no-untyped-call]
    return embedded, pooled


def score_slots(
    embedded: Float[Tensor, "N K P"],
    context: Float[Tensor, "N P"],
    weight: Float[Tensor, "P P"],
    direction: Float[Tensor, " P"],
) -> Float[Tensor, "N K"]:
    """Score every slot in the same way.

    Args:
        embedded: e.
        context: c.
        weight: U.
        direction: w.
    """
    scores: Tensor = _ScoreSlots.apply(embedded, context, weight, direction)  # type: ignore[no-untyped-call]
    return scores
