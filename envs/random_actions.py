"""Uniformly random policy actions of any kind of action space, and action masks of policy actions.

Shapes: B trials, n action width, C choices, summed over the dimensions of choices.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from envs.spaces import ActionKind, ActionSpec


def random_actions(
    action: ActionSpec, num_trials: int, generator: torch.Generator, *, allowed: Bool[Tensor, "B C"] | None = None
) -> Tensor:
    """Draw uniformly random policy actions.

    Args:
        action: the action space.
        num_trials: B.
        generator: the source of random numbers.
        allowed: the choices to draw from; None for all. A dimension without any draws from all of its choices.

    Returns:
        [B] int64 (discrete), [B, n] int64 (multi-discrete) or [B, n] float32, indices and numbers in [-1, 1].
    """
    masks = [None] * len(action.choices) if allowed is None else torch.split(allowed, list(action.choices), dim=1)
    columns = [
        _random_choices(choices, num_trials, generator, mask)
        for choices, mask in zip(action.choices, masks, strict=True)
    ]
    if action.kind is ActionKind.DISCRETE:
        return columns[0]
    if not action.has_numbers:
        return torch.stack(columns, dim=1)
    numbers = torch.rand(num_trials, action.num_numbers, generator=generator) * 2.0 - 1.0
    return torch.cat([*(column.to(numbers.dtype).unsqueeze(1) for column in columns), numbers], dim=1)


def _random_choices(choices: int, num_trials: int, generator: torch.Generator, allowed: Tensor | None) -> Tensor:
    if allowed is None:
        return torch.randint(choices, (num_trials,), generator=generator)
    weights = (allowed | ~allowed.any(1, keepdim=True)).to(torch.float32)
    return torch.multinomial(weights, 1, generator=generator).squeeze(1)


def nearest_allowed(
    action: ActionSpec, chosen: Shaped[Tensor, "B ..."], allowed: Bool[Tensor, "B C"]
) -> Shaped[Tensor, "B ..."]:
    """Return actions in which each choice that is not allowed is replaced by the next allowed one of its dimension.

    The choice after the last one is the first one. A dimension without an allowed choice keeps its choice.
    """
    columns = chosen.view(len(chosen), -1)
    slots = columns[:, : len(action.choices)].long()
    if len(action.choices) > 1:
        slots = slots + torch.tensor([0, *action.choices[:-1]]).cumsum(0)
    if allowed.gather(1, slots).all():
        return chosen
    columns = columns.clone()
    for dimension, mask in enumerate(torch.split(allowed, list(action.choices), dim=1)):
        column = columns[:, dimension].long()
        order = (torch.arange(mask.shape[1]) - column.unsqueeze(1)) % mask.shape[1]
        distance = torch.where(mask, order, mask.shape[1]).min(1).values
        columns[:, dimension] = ((column + distance) % mask.shape[1]).to(columns.dtype)
    return columns.view(chosen.shape)
