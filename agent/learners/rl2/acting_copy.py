"""A copy of a policy that acts in one space pair while the original is trained."""

from __future__ import annotations

from copy import deepcopy

import torch

from agent.learners.rl2.policy import RL2Policy
from envs.spaces import SpacePair


@torch.no_grad()
def acting_copy(policy: RL2Policy, spaces: SpacePair) -> RL2Policy:
    """Return a copy of a policy that knows only these spaces; it acts in them exactly as the policy does.

    Args:
        policy: the policy.
        spaces: a space pair that it knows.
    """
    without_others = torch.nn.ModuleDict({spaces.key: deepcopy(policy.pair(spaces))})
    return deepcopy(policy, {id(policy.pairs): without_others})
