"""Lessons: past trials of one space pair, with the inputs that the policy gets at their steps now.

Shapes: T steps, B trials, R trials of a minibatch, N steps of its stretches, F parameters of an action distribution, G
families.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int64
from optree.dataclasses import register_node
from torch import Tensor
from torch.nn import functional

from agent.learners.distributions import ActionDistribution
from agent.learners.rl2.packing import Stretches, lay_out, stretches_of
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.policy_state import PolicyInput
from agent.learners.rl2.rehearsal.past_trials import PastTrials
from agent.learners.rl2.rehearsal.replay import replayed_inputs
from agent.learners.rl2.trees import STATIC, join_tensors, map_tensors
from envs.spaces import SpacePair


@register_node(namespace="")
@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Past trials of one space pair, [T, B], or their steps in stretches, [N].

    Attributes:
        spaces: the space pair.
        inputs: the policy's inputs with its present scales.
        decisions: [*N, F] parameters of the action distributions with which the trials were played.
        is_valid: whether a step was taken.
        family: int64, index of the trial's family; the policy never gets it.
    """

    spaces: SpacePair = field(metadata=STATIC)
    inputs: PolicyInput
    decisions: Tensor
    is_valid: Tensor
    family: Tensor

    @property
    def family_of_trial(self) -> Int64[Tensor, " B"]:
        """The family's index of each trial."""
        return self.family[0]


def lesson_of(policy: RL2Policy, trials: PastTrials, *, family: int) -> Lesson:
    """Return past trials of one family as a lesson."""
    return Lesson(
        spaces=trials.spaces,
        inputs=replayed_inputs(policy, trials),
        decisions=trials.decisions,
        is_valid=trials.is_valid,
        family=torch.full_like(trials.is_valid, family, dtype=torch.int64),
    )


def join_lessons(first: Lesson, second: Lesson) -> Lesson:
    """Return the trials of two lessons of the same space pair side by side."""
    num_steps = max(len(first.is_valid), len(second.is_valid))
    lessons = (first, second)
    if any(lesson.inputs.allowed is not None for lesson in lessons):
        lessons = (_with_masks(first), _with_masks(second))
    padded = [_padded(lesson, num_steps) for lesson in lessons]
    return join_tensors(lambda parts: torch.cat(parts, dim=1), padded)


def _with_masks(lesson: Lesson) -> Lesson:
    """Return the lesson with a mask of actions, which allows everything if it had none."""
    if lesson.inputs.allowed is not None:
        return lesson
    shape = (*lesson.is_valid.shape, lesson.spaces.action.num_choices)
    everything = torch.ones(shape, dtype=torch.bool, device=lesson.is_valid.device)
    return replace(lesson, inputs=replace(lesson.inputs, allowed=everything))


def _padded(lesson: Lesson, num_steps: int) -> Lesson:
    missing = num_steps - len(lesson.is_valid)

    def pad(values: Tensor) -> Tensor:
        return functional.pad(values, (0, 0) * (values.ndim - 1) + (0, missing))

    padded = map_tensors(pad, lesson)
    padded.family[:] = lesson.family[0]
    return padded


def longest_first(lesson: Lesson, trials: Int64[Tensor, " R"]) -> tuple[Int64[Tensor, " R"], Stretches]:
    """Return some trials of a lesson [T, B] in the order in which they are laid out, and their stretches."""
    lengths = lesson.is_valid.sum(0)[trials]
    order = lengths.argsort(descending=True, stable=True)
    return trials[order], stretches_of(lengths[order].tolist())


def divergences(
    policy: RL2Policy, lesson: Lesson, trials: Int64[Tensor, " R"], *, num_families: int
) -> tuple[Float[Tensor, " G"], Float[Tensor, " G"]]:
    """Return Σ KL(π_then ‖ π) over the steps of some trials, and the number of these steps, both by family.

    Args:
        policy: the present policy.
        lesson: the lesson, [T, B].
        trials: indices of the trials.
        num_families: G.
    """
    trials, stretches = longest_first(lesson, trials)
    steps = lay_out(lesson, trials, stretches)
    now = policy.unroll_stretches(lesson.spaces, steps.inputs, stretches).distribution
    then = ActionDistribution.of_parameters(lesson.spaces.action, steps.decisions)
    divergence = then.divergence_to(now) * steps.is_valid
    none = divergence.new_zeros(num_families)
    return (
        none.index_add(0, steps.family, divergence),
        none.index_add(0, steps.family, steps.is_valid.to(divergence.dtype)),
    )
