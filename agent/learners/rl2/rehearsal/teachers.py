"""Teachers: the policies to which rehearsal holds the present one, each for one family.

A family's teacher is the policy after its last practice, or the published version after a repair.

The trials of a reservoir were played while the family was being learned, so the distributions that their actions were
drawn from differ from one trial to the next, and are worse than the last ones. The teacher decides anew at all of their
steps. Therefore older trials are worth rehearsing too: they reach states that a good policy avoids.

Shapes: T steps, B trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.parameters import covers, in_present_form, is_added_parameter, policy_from_initialization
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.rehearsal.past_trials import PastTrials
from agent.learners.rl2.rehearsal.replay import replayed_inputs
from envs.spaces import SpacePair

PAIRS, IMAGES = "pairs.", "images."


def teacher_of(policy: RL2Policy, spaces: SpacePair) -> dict[str, Tensor]:
    """Return copies of a policy's parameters and scales, without those of other space pairs."""
    return {name: tensor.detach().clone() for name, tensor in for_spaces(policy.state_dict(), spaces).items()}


def for_spaces(tensors: Mapping[str, Tensor], spaces: SpacePair) -> dict[str, Tensor]:
    """Return a policy's parameters and scales without those of other space pairs."""
    own = f"{PAIRS}{spaces.key}."
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(PAIRS) or name.startswith(own)}


def fits(teacher: Mapping[str, Tensor], policy: RL2Policy, spaces: SpacePair) -> bool:
    """Return whether a teacher has all parameters of a space pair, in the shapes of a policy."""
    own, teacher = policy.state_dict(), in_present_form(policy, teacher)
    shapes = {name: tensor.shape for name, tensor in own.items()}
    if not covers(teacher, spaces) or any(shapes.get(name) != tensor.shape for name, tensor in teacher.items()):
        return False
    return all(name in teacher or _may_be_missing(name, spaces) for name in for_spaces(own, spaces))


def _may_be_missing(name: str, spaces: SpacePair) -> bool:
    """Return whether a policy can act in a space pair without a parameter."""
    return is_added_parameter(name) or (name.startswith(IMAGES) and not spaces.observation.images)


@torch.no_grad()
def taught(trials: PastTrials, teacher: Mapping[str, Tensor], config: RL2Config) -> PastTrials:
    """Return past trials [T, B] with the action distributions that a teacher has at their steps.

    Raises:
        IncompatibleParametersError: the teacher was made with other settings.
    """
    policy = policy_from_initialization(config, teacher, [trials.spaces], device=trials.reward.device)
    return decided_by(policy, trials)


@torch.no_grad()
def decided_by(policy: RL2Policy, trials: PastTrials) -> PastTrials:
    """Return past trials [T, B] with the action distributions that a policy has at their steps."""
    output = policy.unroll(trials.spaces, replayed_inputs(policy, trials))
    return replace(trials, decisions=output.distribution.parameters())
