"""Uniformly random policy actions of any kind of action space.

Shapes: B trials, n action width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from envs.spaces import ActionKind, ActionSpec


def random_actions(action: ActionSpec, num_trials: int, generator: torch.Generator) -> Tensor:
    """Draw uniformly random policy actions.

    Returns:
        [B] int64 (discrete), [B, n] int64 (multi-discrete) or [B, n] float32 in [-1, 1] (continuous).
    """
    match action.kind:
        case ActionKind.DISCRETE:
            return torch.randint(action.choices[0], (num_trials,), generator=generator)
        case ActionKind.MULTI_DISCRETE:
            columns = [torch.randint(choices, (num_trials,), generator=generator) for choices in action.choices]
            return torch.stack(columns, dim=1)
        case ActionKind.CONTINUOUS:
            return torch.rand(num_trials, action.width, generator=generator) * 2.0 - 1.0
