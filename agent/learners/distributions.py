"""Action distributions over slots. A slot is one choice of one discrete dimension, or one continuous dimension.

An action is a sequence of choices, then numbers (:class:`envs.spaces.ActionSpec`). Its slots are in the same order: the
choices of all dimensions, then one slot per number. The parts of an action are independent of each other given the
scores, so the distribution of a mixed action is the product of those of its choices and its numbers.

Shapes: ``*N`` any leading dimensions, K slots, C slots of choices, M numbers, W action width (the number of
dimensions).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from envs.spaces import ActionKind, ActionSpec

NOISE_STEPS = 16
"""Number of steps for which a rollout draws action noise at once."""

MIN_LOG_STD, MAX_LOG_STD = -4.0, 1.0

FORBIDDEN_SCORE = -10_000.0
"""The score of a choice that an action mask forbids: its probability is 0 exactly, and float16 can hold the score."""


def num_slots(action: ActionSpec) -> int:
    """Return K: the number of choices summed over discrete dimensions, plus the number of continuous dimensions."""
    return action.num_choices + action.num_numbers


def slots_of(action: ActionSpec, chosen: Shaped[Tensor, "..."]) -> Shaped[Tensor, "... W"]:
    """Return the slots that a discrete or multi-discrete action fills, one slot per dimension."""
    if action.kind is ActionKind.DISCRETE:
        return chosen.unsqueeze(-1)
    offsets = [sum(action.choices[:dimension]) for dimension in range(action.width)]
    # Offsets are added one by one: a tensor of offsets would be copied to the device at every step.
    parts = zip(chosen.unbind(-1), offsets, strict=True)
    return torch.stack([dimension + offset for dimension, offset in parts], dim=-1)


def action_noise(
    action: ActionSpec, shape: torch.Size, *, generator: torch.Generator, device: torch.device
) -> Float[Tensor, "*N W"]:
    """Draw the random numbers that select actions, one number per action dimension.

    The numbers do not depend on the policy: uniform in [0, 1) for choices, standard normal for continuous dimensions.

    Args:
        action: the action space.
        shape: N, the leading dimensions.
        generator: the source of random numbers; it lives on ``device``.
        device: the device of the result.
    """
    if action.kind is ActionKind.MIXED:
        parts = (action.choices_part, action.numbers_part)
        return torch.cat([action_noise(part, shape, generator=generator, device=device) for part in parts], dim=-1)
    draw = torch.randn if action.kind is ActionKind.CONTINUOUS else torch.rand
    return draw(*shape, action.width, generator=generator, device=device)


def noise_of_steps(
    action: ActionSpec, num_steps: int, *, num_rows: int, generator: torch.Generator, device: torch.device
) -> list[Tensor]:
    """Draw the noise of the next steps at once, [B, W] each; the last one is that of the first step, to be popped.

    Args:
        action: the action space.
        num_steps: number of steps, usually ``NOISE_STEPS``.
        num_rows: B.
        generator: the source of random numbers; it lives on ``device``.
        device: the device of the result.
    """
    noise = action_noise(action, torch.Size((num_steps, num_rows)), generator=generator, device=device)
    return list(noise.unbind()[::-1])


def as_previous(action: ActionSpec, chosen: Shaped[Tensor, "..."]) -> Shaped[Tensor, "... W"]:
    """Return an action as the policy takes it at the next step: the slots of the choices, then the numbers."""
    if action.kind is ActionKind.CONTINUOUS:
        return chosen
    if action.kind is ActionKind.MIXED:
        chosen, numbers = split_action(action, chosen)
        return torch.cat([slots_of(action.choices_part, chosen).to(numbers.dtype), numbers], dim=-1)
    return slots_of(action, chosen)


def taken_slots(action: ActionSpec, previous: Shaped[Tensor, "... W"]) -> Float[Tensor, "... K"]:
    """Return what each slot was given: 0 or 1 for a choice, a value in [-1, 1] for a number.

    Args:
        action: the action space.
        previous: the result of :func:`as_previous`.
    """
    if action.kind is ActionKind.CONTINUOUS:
        return previous.clamp(-1.0, 1.0)
    slots, numbers = (previous, None) if not action.has_numbers else split_action(action, previous)
    taken = torch.zeros(*slots.shape[:-1], action.num_choices, device=slots.device).scatter_(-1, slots, 1.0)
    return taken if numbers is None else torch.cat([taken, numbers.clamp(-1.0, 1.0)], dim=-1)


def split_action(
    action: ActionSpec, values: Float[Tensor, "... W"]
) -> tuple[Int64[Tensor, "... c"], Float[Tensor, "... M"]]:
    """Return the choices (or slots) and the numbers of a mixed action."""
    chosen, numbers = torch.split(values, [len(action.choices), action.num_numbers], dim=-1)
    return chosen.to(torch.int64), numbers


def with_forbidden(
    action: ActionSpec, scores: Float[Tensor, "*N K"], allowed: Bool[Tensor, "*N C"]
) -> Float[Tensor, "*N K"]:
    """Return scores with ``FORBIDDEN_SCORE`` for the choices that are not allowed.

    If no choice of a dimension is allowed, its choices are equally likely.
    """
    if not action.has_numbers:
        return scores.masked_fill(~allowed, FORBIDDEN_SCORE)
    of_choices, of_numbers = torch.split(scores, [action.num_choices, action.num_numbers], dim=-1)
    return torch.cat([of_choices.masked_fill(~allowed, FORBIDDEN_SCORE), of_numbers], dim=-1)


def allowed_in(action: ActionSpec, parameters: Float[Tensor, "*N F"]) -> Bool[Tensor, "*N C"] | None:
    """Return which choices were allowed, from :meth:`ActionDistribution.parameters`; None if all were."""
    allowed = parameters[..., : action.num_choices] > 0.5 * FORBIDDEN_SCORE
    return None if bool(allowed.all()) else allowed


@dataclass(frozen=True, kw_only=True)
class ActionDistribution:
    """A distribution π(a | ·) over the actions of one policy step, or of many steps.

    Attributes:
        action: the action space.
        scores: [*N, K] logits of the choices, then means of the continuous dimensions.
        log_std: [M], or [*N, M] if it differs by row: log standard deviation of the continuous dimensions; None for
            actions without any.
    """

    action: ActionSpec
    scores: Tensor
    log_std: Tensor | None = None

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw an action: [*N] if discrete, else [*N, W]."""
        shape = self.scores.shape[:-1]
        return self.drawn_by(action_noise(self.action, shape, generator=generator, device=self.scores.device))

    def drawn_by(self, noise: Float[Tensor, "*N W"]) -> Tensor:
        """Return the action that the output of :func:`action_noise` selects: [*N] if discrete, else [*N, W]."""
        if self.action.kind is ActionKind.MIXED:
            of_choices, of_numbers = torch.split(noise, [len(self.action.choices), self.action.num_numbers], dim=-1)
            choices, numbers = self._parts
            return _joined(choices.drawn_by(of_choices), numbers.drawn_by(of_numbers))
        if self.log_std is not None:
            return self.scores + noise * self.log_std.exp()
        drawn = [_draw(*pair) for pair in zip(self._choices_first(), noise.unbind(-1), strict=True)]
        return drawn[0] if self.action.kind is ActionKind.DISCRETE else torch.stack(drawn, dim=-1)

    def mode(self) -> Tensor:
        """Return the most likely action."""
        if self.action.kind is ActionKind.MIXED:
            choices, numbers = self._parts
            return _joined(choices.mode(), numbers.mode())
        if self.log_std is not None:
            return self.scores
        best = [scores.argmax(0) for scores in self._choices_first()]
        return best[0] if self.action.kind is ActionKind.DISCRETE else torch.stack(best, dim=-1)

    def log_prob(self, chosen: Shaped[Tensor, "..."]) -> Float[Tensor, "*N"]:
        """Return log π(a | ·), summed over dimensions."""
        if self.action.kind is ActionKind.MIXED:
            (choices, numbers), (of_choices, of_numbers) = self._parts, split_action(self.action, chosen)
            return choices.log_prob(of_choices) + numbers.log_prob(of_numbers)
        if self.log_std is not None:
            deviation = (chosen - self.scores) * (-self.log_std).exp()
            return -0.5 * (deviation * deviation + math.log(2 * math.pi)).sum(-1) - self.log_std.sum(-1)
        chosen_by_dimension = [chosen] if self.action.kind is ActionKind.DISCRETE else list(chosen.unbind(-1))
        parts = [
            scores.log_softmax(0).gather(0, index.unsqueeze(0)).squeeze(0)
            for scores, index in zip(self._choices_first(), chosen_by_dimension, strict=True)
        ]
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]

    def log_prob_and_entropy(self, chosen: Shaped[Tensor, "..."]) -> tuple[Float[Tensor, "*N"], Float[Tensor, "*N"]]:
        """Return log π(a | ·) and the entropy H(π), each summed over dimensions."""
        if self.action.kind is ActionKind.MIXED:
            (choices, numbers), (of_choices, of_numbers) = self._parts, split_action(self.action, chosen)
            first, second = choices.log_prob_and_entropy(of_choices), numbers.log_prob_and_entropy(of_numbers)
            return first[0] + second[0], first[1] + second[1]
        if self.log_std is not None:
            entropy = (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)
            return self.log_prob(chosen), entropy.expand(self.scores.shape[:-1])
        chosen_by_dimension = [chosen] if self.action.kind is ActionKind.DISCRETE else list(chosen.unbind(-1))
        log_prob: Tensor | float = 0.0
        entropy_sum: Tensor | float = 0.0
        for scores, index in zip(self._choices_first(), chosen_by_dimension, strict=True):
            log_probs = scores.log_softmax(0)
            log_prob = log_prob + log_probs.gather(0, index.unsqueeze(0)).squeeze(0)
            entropy_sum = entropy_sum - (log_probs.exp() * log_probs).sum(0)
        return torch.as_tensor(log_prob), torch.as_tensor(entropy_sum)

    def parameters(self) -> Float[Tensor, "*N F"]:
        """Return the parameters as one tensor: the scores, followed by the log standard deviations if there are any."""
        if self.log_std is None:
            return self.scores
        log_std = self.log_std.expand(*self.scores.shape[:-1], self.action.num_numbers)
        return torch.cat([self.scores, log_std], dim=-1)

    @classmethod
    def of_parameters(cls, action: ActionSpec, parameters: Float[Tensor, "*N F"]) -> ActionDistribution:
        """Return the distribution of the tensor that :meth:`parameters` returned."""
        if not action.has_numbers:
            return cls(action=action, scores=parameters)
        scores, log_std = torch.split(parameters, [num_slots(action), action.num_numbers], dim=-1)
        return cls(action=action, scores=scores, log_std=log_std)

    def divergence_to(self, other: ActionDistribution) -> Float[Tensor, "*N"]:
        """Return KL(self ‖ other), summed over dimensions."""
        if self.action.kind is ActionKind.MIXED:
            (choices, numbers), (other_choices, other_numbers) = self._parts, other._parts
            return choices.divergence_to(other_choices) + numbers.divergence_to(other_numbers)
        if self.log_std is not None and other.log_std is not None:
            distance = (self.scores - other.scores) * (-other.log_std).exp()
            ratio = self.log_std - other.log_std
            return (0.5 * (distance.square() + (2.0 * ratio).exp() - 1.0) - ratio).sum(-1)
        total: Tensor | float = 0.0
        for own, others in zip(self._choices_first(), other._choices_first(), strict=True):
            own_log, other_log = own.log_softmax(0), others.log_softmax(0)
            total = total + (own_log.exp() * (own_log - other_log)).sum(0)
        return torch.as_tensor(total)

    @property
    def _parts(self) -> tuple[ActionDistribution, ActionDistribution]:
        """The distributions of the choices and of the numbers of a mixed action."""
        action = self.action
        of_choices, means = torch.split(self.scores, [action.num_choices, action.num_numbers], dim=-1)
        return (
            ActionDistribution(action=action.choices_part, scores=of_choices),
            ActionDistribution(action=action.numbers_part, scores=means, log_std=self.log_std),
        )

    def _choices_first(self) -> list[Float[Tensor, "K *N"]]:
        """Return the scores of each dimension, choices first, so that operations over choices vectorise over rows."""
        scores = self.scores.movedim(-1, 0).contiguous()
        if self.action.kind is ActionKind.DISCRETE:
            return [scores]
        return list(torch.split(scores, list(self.action.choices)))


def _joined(choices: Int64[Tensor, "*N c"], numbers: Float[Tensor, "*N M"]) -> Float[Tensor, "*N W"]:
    """Return a mixed action; the inverse of :func:`split_action`."""
    return torch.cat([choices.to(numbers.dtype), numbers], dim=-1)


def _draw(scores: Float[Tensor, "K *N"], chance: Float[Tensor, "*N"]) -> Int64[Tensor, "*N"]:
    """Draw one choice per row by inverting the cumulative distribution."""
    cumulative = scores.softmax(0).cumsum_(0)
    # Scaling by the last sum keeps rounding errors from selecting an index past the end.
    return (cumulative[:-1] <= chance * cumulative[-1]).sum(0)
