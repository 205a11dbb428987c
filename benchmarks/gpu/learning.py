"""Recorded training with the shipped settings, from scratch to a policy that is played on held-out tasks."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.training import RecordedTraining
from agent.learners.rl2.trials import trial_returns
from benchmarks.gpu.training import FAMILY, tensor_family
from envs.default_families import BERNOULLI_BANDITS
from envs.family import Split
from envs.registry import open_tasks


@dataclass(frozen=True, kw_only=True)
class Learned:
    """The result of training with the shipped settings.

    Attributes:
        updates: number of updates.
        wall_s: total wall time, including recording.
        trial_return: mean over the held-out tasks.
        standard_error: standard error of ``trial_return``.
        tasks: number of held-out tasks.
    """

    updates: int
    wall_s: float
    trial_return: float
    standard_error: float
    tasks: int


def learned(*, device: torch.device, updates: int, tasks: int) -> Learned:
    """Train 10-armed bandits of 100 pulls from scratch, recorded, and play the policy on held-out ones."""
    spec = tensor_family(BERNOULLI_BANDITS, 100, kwargs={"num_arms": 10})
    learner = RL2Learner(RL2Config(anneal_updates=updates), device=device, seed=0)
    opened = open_tasks(spec, None, num_trials=learner.config.num_trials_tensor, device=device)
    learner.add_family(FAMILY, opened.spaces)
    training = RecordedTraining(learner, FAMILY, opened)
    began = time.perf_counter()
    for update in range(updates):
        training.learn(training.play(update * opened.num_trials))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    wall_s = time.perf_counter() - began
    held_out = open_tasks(spec, None, num_trials=tasks, device=device)
    played = collect_trials(learner.policy, held_out, first_task=0, split=Split.HELD_OUT, generator=learner.generator)
    returns = trial_returns(played)
    return Learned(
        updates=updates,
        wall_s=wall_s,
        trial_return=float(returns.mean()),
        standard_error=float(returns.std()) / tasks**0.5,
        tasks=tasks,
    )
