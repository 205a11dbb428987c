"""Taking over: the shared policy learns a family from its specialist, while it is held to what other families know.

L = (KL(π_specialist ‖ π) on the shared policy's own trials + Σ_g KL(π_g ‖ π) on stored trials) / (1 + G)

The sum is over G families that are rehearsed at once; one drawn group of their stored trials stands for all of them.
The family's critic learns beside it and leaves the policy alone.

The shared policy plays the trials, and the specialist only says what it would do there (Ross et al. 2011,
arXiv:1011.0686). Trials of the specialist do not reach the states of a policy that confuses two families: four
gridworlds that were taken over one after another scored .93 of 1 with trials of the shared policy, and .48 with those
of the specialists.

Shapes: T steps, B trials, R trials of an optimiser step.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from agent.learners.distributions import ActionDistribution
from agent.learners.rl2.learner import VALUE_COEFFICIENT, RL2Learner
from agent.learners.rl2.minibatch import Targets
from agent.learners.rl2.normalisation import PopArtCritic
from agent.learners.rl2.packing import lay_out
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.rehearsal.lessons import Lesson, lesson_of, longest_first
from agent.learners.rl2.rehearsal.past_trials import of_batch
from agent.learners.rl2.rehearsal.rehearsal_slice import RehearsalSlice
from agent.learners.rl2.rehearsal.teachers import decided_by
from agent.learners.rl2.specialist import Specialist
from agent.learners.rl2.targets import update_targets
from agent.learners.rl2.trials import TrialBatch

TRIALS_PER_STEP = 8
"""New trials of an optimiser step."""


def take_over(
    learner: RL2Learner, specialist: Specialist, trials: TrialBatch, rehearsed: RehearsalSlice
) -> dict[str, float]:
    """Let the shared policy learn from a specialist what it would have done in trials that the shared policy played.

    Args:
        learner: the shared policy's learner.
        specialist: the family's specialist, which has learned it.
        trials: training trials of the family, played whole by the shared policy.
        rehearsed: the rehearsal of the families that share the spaces.

    Returns:
        what :func:`learn_from` returns.
    """
    metrics = learn_from(
        specialist.learner.policy, learner, specialist.name, trials, rehearsed, rate=specialist.lesson_rate
    )
    specialist.num_lessons += num_steps_of(trials)
    specialist.distance = metrics["takeover_kl"]
    return metrics


def num_steps_of(trials: TrialBatch) -> int:
    """Return the number of optimiser steps of :func:`learn_from`."""
    return max(1, trials.num_trials // TRIALS_PER_STEP)


def learn_from(
    teacher: RL2Policy,
    learner: RL2Learner,
    name: str,
    trials: TrialBatch,
    rehearsed: RehearsalSlice,
    *,
    rate: float,
) -> dict[str, float]:
    """Let a learner's policy learn from a teacher what it would have done in trials that the policy played.

    Args:
        teacher: a policy that knows the spaces.
        learner: the learner of the policy.
        name: the family.
        trials: its training trials, played whole from empty starts.
        rehearsed: the rehearsal of other families in the same steps.
        rate: the learning rate.

    Returns:
        takeover_kl (the mean over the trials, each before it was learned from), value and gradient_norm.
    """
    lessons = _Lessons.of(teacher, learner, name, trials, rehearsed)
    order = torch.randperm(trials.num_trials, generator=learner.generator, device=learner.device)
    chunks = order.tensor_split(num_steps_of(trials))
    learner.set_learning_rate(rate)
    sums = torch.zeros(3, device=learner.device)
    for rows in chunks:
        sums += lessons.step(rows)
    learner.follow_inputs(trials)
    divergence, value, gradient_norm = (sums / len(chunks)).tolist()
    return {"takeover_kl": divergence, "value": value, "gradient_norm": gradient_norm}


@dataclass(frozen=True, kw_only=True)
class _Lessons:
    """The optimiser steps on one batch of trials.

    Attributes:
        learner: the shared policy's learner.
        critic: the family's critic in it.
        lesson: [T, B] the trials with the teacher's decisions.
        targets: [T, B] the critic's targets.
        rehearsed: the rehearsal of other families.
    """

    learner: RL2Learner
    critic: PopArtCritic
    lesson: Lesson
    targets: Targets
    rehearsed: RehearsalSlice

    @classmethod
    def of(
        cls, teacher: RL2Policy, learner: RL2Learner, name: str, trials: TrialBatch, rehearsed: RehearsalSlice
    ) -> _Lessons:
        """Return the steps on a batch that the learner's policy has just played."""
        critic = cast("PopArtCritic", learner.critics[name])
        targets, _ = update_targets(critic, trials, learner.config)
        past = decided_by(teacher, of_batch(trials))
        lesson = lesson_of(learner.policy, past, family=0)
        return cls(learner=learner, critic=critic, lesson=lesson, targets=targets, rehearsed=rehearsed)

    def step(self, rows: Int64[Tensor, " R"]) -> Float[Tensor, "3"]:
        """Take one optimiser step and return the mean KL, the value loss and the norm of the gradient."""
        rows, stretches = longest_first(self.lesson, rows)
        steps, wanted = lay_out(self.lesson, rows, stretches), lay_out(self.targets, rows, stretches)
        output = self.learner.policy.unroll_stretches(self.lesson.spaces, steps.inputs, stretches)
        share = steps.is_valid / steps.is_valid.sum()
        then = ActionDistribution.of_parameters(self.lesson.spaces.action, steps.decisions)
        divergence = (then.divergence_to(output.distribution) * share).sum()
        error = self.critic(output.features.detach()) - wanted.normalised_return
        value_loss = 0.5 * (error * error * share).sum()
        loss = self._with_others(divergence) + VALUE_COEFFICIENT * value_loss
        gradient_norm = self.learner.descend(loss)
        return torch.stack([divergence.detach(), value_loss.detach(), gradient_norm.detach()])

    def _with_others(self, divergence: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Return the mean of the KL on the new family and on those that are rehearsed, each family counted once."""
        began = time.monotonic()
        others, num_others = self.rehearsed.drawn_divergence(), self.rehearsed.num_families
        self.rehearsed.spent_s += time.monotonic() - began
        return divergence if others is None else (divergence + num_others * others) / (1 + num_others)
