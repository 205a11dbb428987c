"""Scores on held-out tasks: the same tasks each time, so that two policies are compared task by task.

Shapes: N trials, E episodes of a trial.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.scored_trials import score_trials
from envs.family import Split
from envs.task_batch import TaskBatch
from memory.records import CurveMetric, CurvePoint

EVALUATION_TASKS = 0
"""First held-out task of evaluations, whose curves people watch."""

GATE_TASKS = 1_000_000
"""First held-out task of consolidation's gate: what decides on publishing is not what is plotted."""

SCORING_SEED = 20_161_109


@dataclass(frozen=True, kw_only=True)
class HeldOutReturns:
    """Returns of a policy on N held-out tasks, one trial each.

    Attributes:
        trials: [N] return of each trial.
        episodes: [E, N] return of each episode of each trial; of few-shot tasks, after so many shots each.
        labels: what each of the E is called: an episode's index, or a number of shots; empty counts from 0.
        uncertainty: [U, N] of few-shot tasks, how far the solutions held possible differ after each number of shots;
            U is 0 for learners without a posterior, else E - 1, because nothing is predicted before the first shot.
    """

    trials: Float[Tensor, " N"]
    episodes: Float[Tensor, "E N"]
    labels: tuple[int, ...] = ()
    uncertainty: Float[Tensor, "U N"] = field(default_factory=lambda: torch.zeros(0, 0))

    @property
    def labelled_episodes(self) -> tuple[tuple[int, Float[Tensor, " N"]], ...]:
        """Each row of ``episodes`` with what it is called."""
        return tuple(zip(self.labels or range(len(self.episodes)), self.episodes, strict=True))

    @property
    def mean(self) -> float:
        """Mean trial return."""
        return float(self.trials.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean trial return."""
        return standard_error(self.trials)


def standard_error(values: Tensor) -> float:
    """Return the standard error of the mean of [N] values; 0 for a single value."""
    num_values = values.shape[-1]
    return float(values.std(dim=-1)) / math.sqrt(num_values) if num_values > 1 else 0.0


def held_out_returns(
    policy: RL2Policy,
    tasks: TaskBatch,
    *,
    first_task: int,
    num_trials: int,
    progress: Callable[[int], None] | None = None,
    trials_progress: Callable[[int], None] | None = None,
) -> HeldOutReturns:
    """Play one trial in each of at least ``num_trials`` held-out tasks.

    The number is rounded up to whole batches of ``tasks``, unless it is less than one batch. Actions are sampled from a
    generator of fixed seed, so that the same policy gets the same returns. Every scorer calls this once for all trials:
    a call per batch would give each batch the same action noise.

    Args:
        policy: the policy.
        tasks: held-out tasks, played in batches.
        first_task: index of the first task.
        num_trials: N, before rounding.
        progress: called with the number of environment steps of the current batch so far.
        trials_progress: called after each batch with the number of finished trials.
    """
    generator = torch.Generator(device=tasks.device).manual_seed(SCORING_SEED)
    trials, episodes = [], []
    for offset in range(0, num_trials, tasks.num_trials):
        num_played = min(num_trials, tasks.num_trials)
        scored = score_trials(
            policy,
            tasks,
            first_task=first_task + offset,
            split=Split.HELD_OUT,
            generator=generator,
            num_played=num_played if num_played < tasks.num_trials else None,
            progress=progress,
        )
        trials.append(scored.trials[:num_played])
        episodes.append(scored.episodes[:, :num_played])
        if trials_progress is not None:
            trials_progress(offset + tasks.num_trials)
    return HeldOutReturns(trials=torch.cat(trials).cpu(), episodes=torch.cat(episodes, dim=1).cpu())


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The two trial returns between which a family's scores are placed: random actions score 0, the reference 1."""

    random_return: float
    reference_return: float

    def __post_init__(self) -> None:
        if self.reference_return <= self.random_return:
            raise ValueError(f"the reference, {self.reference_return:g}, is not above random, {self.random_return:g}")

    @property
    def span(self) -> float:
        """The return of score 1 minus the return of score 0; positive."""
        return self.reference_return - self.random_return

    def score(self, trial_return: float) -> float:
        """Return the score of a trial return."""
        return self.error(trial_return - self.random_return)

    def error(self, return_error: float) -> float:
        """Return what a difference of trial returns, such as a standard error, makes in the score."""
        return return_error / self.span


def evaluation_points(returns: HeldOutReturns, scale: Scale | None) -> tuple[CurvePoint, ...]:
    """Return the curve points of one evaluation.

    These are the trial return, the score where there is a scale, the return of each episode of the trial, uncertainty.
    """
    return (
        *(() if scale is None else (_score_point(returns, scale),)),
        CurvePoint(metric=CurveMetric.EVAL_RETURN, value=returns.mean, standard_error=returns.standard_error),
        *(
            CurvePoint(
                metric=CurveMetric.EPISODE_RETURN,
                label=str(label),
                value=float(values.mean()),
                standard_error=standard_error(values),
            )
            for index, (label, values) in enumerate(returns.labelled_episodes)
            if is_charted(index, num_episodes=len(returns.episodes))
        ),
        *(
            CurvePoint(
                metric=CurveMetric.UNCERTAINTY,
                label=str(label),
                value=float(values.mean()),
                standard_error=standard_error(values),
            )
            for label, values in zip(returns.labels[1:], returns.uncertainty, strict=False)
        ),
    )


def _score_point(returns: HeldOutReturns, scale: Scale) -> CurvePoint:
    return CurvePoint(
        metric=CurveMetric.EVAL_SCORE,
        value=scale.score(returns.mean),
        standard_error=scale.error(returns.standard_error),
    )


def is_charted(index: int, *, num_episodes: int) -> bool:
    """Return whether an episode of the trial has a separate curve: the first ten and the last, to bound the labels."""
    return index < 10 or index == num_episodes - 1
