"""The measurement of a reference return: train a PPO agent on a family's training tasks, score it on held-out tasks.

Shapes: B environments, N held-out tasks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecNormalize

from agent.learners.evaluation.trials import EVALUATION_TASKS
from agent.reference.checkpoint import CheckpointFile
from agent.reference.training import NUM_ENVIRONMENTS, Training
from agent.reference.vec_env import actions_of, observations_of
from envs.errors import FamilySpecError
from envs.family import FamilySpec, Split
from envs.gymnasium.batch import WorkerTaskBatch
from envs.limits import WorkerLimits
from envs.reference import MeasuredReference
from envs.spaces import SpacePair

MAX_TRIAL_STEPS = 200_000
"""Steps after which a held-out trial counts as one that never ends, as that of an agent that never falls may be."""

TRAINING, EVALUATION = "training", "evaluating"

Report = Callable[[str, int], None]
"""Takes the phase, and the number of environment steps of training so far."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A measurement to be made.

    Attributes:
        spec: the family.
        spaces: the spaces with which it was admitted.
        num_steps: environment steps of training; rounded up to whole updates.
        num_held_out: N, the held-out tasks that an evaluation plays.
        seed: seed of the agent.
        limits: limits of the worker.
    """

    spec: FamilySpec
    spaces: SpacePair
    num_steps: int
    num_held_out: int
    seed: int
    limits: WorkerLimits


def measure(
    measurement: Measurement,
    *,
    report: Report,
    checkpoint: CheckpointFile | None = None,
    clock: Callable[[], float] = time.time,
) -> MeasuredReference:
    """Train the agent and return its mean return on the held-out tasks, with the provenance.

    Args:
        measurement: what to measure.
        report: called regularly; it may raise to end the measurement.
        checkpoint: keeps the state of training; training goes on from the state that it holds.
        clock: wall clock, for the time of the measurement.

    Raises:
        FamilySpecError: the environment does not fit its description any more.
        WorkerFaultError: the worker failed.
    """
    training = Training(
        num_steps=measurement.num_steps,
        seed=measurement.seed,
        report=lambda num_steps: report(TRAINING, num_steps),
        checkpoint=checkpoint,
    )
    tasks = _open(measurement, on_wait=lambda: report(TRAINING, training.steps_done))
    try:
        agent, normaliser = training.run(tasks)
        returns = held_out_returns(
            agent,
            normaliser,
            tasks,
            num_tasks=measurement.num_held_out,
            progress=lambda: report(EVALUATION, training.steps_done),
        )
    finally:
        tasks.close()
    mean, error = mean_and_error(returns)
    return MeasuredReference(
        mean_return=mean,
        standard_error=error,
        agent="PPO",
        library=library(),
        steps=training.steps_done,
        seed=measurement.seed,
        first_task=EVALUATION_TASKS,
        num_tasks=len(returns),
        duration_s=round(training.duration_s, 3),
        measured_at=clock(),
        num_resumed=training.num_resumed,
    )


def library() -> str:
    """Return the name and the version of the library that trains the agent."""
    return f"stable-baselines3 {version('stable-baselines3')}"


def _open(measurement: Measurement, *, on_wait: Callable[[], None]) -> WorkerTaskBatch:
    """Open the tasks of the family in a worker, and check that they have the spaces of admission."""
    from envs.registry import open_tasks

    tasks = open_tasks(
        measurement.spec,
        measurement.spaces,
        num_trials=NUM_ENVIRONMENTS,
        device="cpu",
        limits=measurement.limits,
        on_wait=on_wait,
    )
    if not isinstance(tasks, WorkerTaskBatch):
        raise TypeError(f"{measurement.spec.name} is not stepped by a worker")
    return tasks


def held_out_returns(
    agent: Any,
    normaliser: VecNormalize,
    tasks: WorkerTaskBatch,
    *,
    num_tasks: int,
    progress: Callable[[], None] = lambda: None,
) -> list[float]:
    """Return the return of one trial in each of the N held-out tasks of evaluations.

    The agent takes its most probable action, as ``evaluate_policy`` of stable-baselines3 does.

    Args:
        agent: has ``predict(observations, deterministic=True)``.
        normaliser: normalises observations as in training.
        tasks: the family's tasks.
        num_tasks: N.
        progress: called at each step.
    """
    returns: list[float] = []
    while len(returns) < num_tasks:
        first = tasks.begin(EVALUATION_TASKS + len(returns), split=Split.HELD_OUT)
        returns += _play_trials(agent, normaliser, tasks, first, progress).tolist()
    return returns[:num_tasks]


def _play_trials(
    agent: Any,
    normaliser: VecNormalize,
    tasks: WorkerTaskBatch,
    observation: torch.Tensor,
    progress: Callable[[], None],
) -> torch.Tensor:
    """Play one trial in each row; return the [B] sums of rewards over all its episodes.

    Raises:
        FamilySpecError: a trial does not end.
    """
    trial_return = torch.zeros(tasks.num_trials, dtype=torch.float64)
    episodes = torch.zeros(tasks.num_trials, dtype=torch.int64)
    active = torch.ones(tasks.num_trials, dtype=torch.bool)
    num_steps = 0
    while active.any():
        num_steps += 1
        if num_steps > MAX_TRIAL_STEPS:
            raise FamilySpecError(
                operation="measuring the reference of family",
                subject=tasks.spec.name,
                found=f"a held-out trial of the agent did not end within {MAX_TRIAL_STEPS} steps.",
                hint="Add the family with --max-steps, so that its episodes end.",
            )
        seen = normaliser.normalize_obs(observations_of(observation, tasks.spaces.observation))
        action, _ = agent.predict(seen, deterministic=True)
        transition = tasks.step(actions_of(action, tasks.spaces.action), active)
        trial_return += transition.reward
        episodes += transition.terminated | transition.truncated
        active = episodes < tasks.spec.episodes_per_trial
        observation = transition.observation
        progress()
    return trial_return


def mean_and_error(returns: list[float]) -> tuple[float, float]:
    """Return the mean of N returns and its standard error; the error is 0 for a single value."""
    values = np.asarray(returns, np.float64)
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(values.mean()), error
