"""A policy that acts in a trial, step by step, so that somebody can watch how it adapts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from agent.policies.acting import ActingPolicy
from envs.family import Split
from envs.task_batch import TaskBatch


@dataclass(frozen=True, kw_only=True)
class WatchedEpisode:
    """An episode that has ended.

    Attributes:
        total: its return.
        steps: its number of steps.
        is_terminated: whether it ended in a terminal state; otherwise it was truncated.
    """

    total: float
    steps: int
    is_terminated: bool


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The state of a trial after a reset or a step.

    Attributes:
        episode: number of the episode, from 0.
        step: number of steps of the episode so far; 0 after a reset.
        total: return of the episode so far.
        ended: the episode, if this was its last step; None otherwise.
        earlier: the earlier episodes of the trial.
    """

    episode: int
    step: int
    total: float
    ended: WatchedEpisode | None = None
    earlier: tuple[WatchedEpisode, ...] = field(default=())


def watch_trial(
    policy: ActingPolicy, tasks: TaskBatch, *, task: int, num_episodes: int, seed: int = 0, is_greedy: bool = False
) -> Iterator[Moment]:
    """Play one trial in a held-out task, and yield the moment after each reset and each step.

    Args:
        policy: the policy.
        tasks: a batch of one row.
        task: number of the held-out task.
        num_episodes: episodes of the trial.
        seed: seed of the actions drawn.
        is_greedy: always take the most likely action.

    Raises:
        WorkerFaultError: the family's worker failed.
    """
    observation = tasks.begin(task, split=Split.HELD_OUT)
    actor = policy.begin(tasks.spaces, episodes_per_trial=num_episodes, seed=seed, is_greedy=is_greedy)
    active = torch.ones(1, dtype=torch.bool)
    earlier: tuple[WatchedEpisode, ...] = ()
    yield Moment(episode=0, step=0, total=0.0)
    total, step = 0.0, 0
    while True:
        transition = tasks.step(actor.act(observation), active)
        actor.observe(
            reward=transition.reward,
            final_observation=transition.final_observation,
            terminated=transition.terminated,
            truncated=transition.truncated,
        )
        observation = transition.observation
        total, step = total + float(transition.reward), step + 1
        is_terminated = bool(transition.terminated)
        if not (is_terminated or bool(transition.truncated)):
            yield Moment(episode=len(earlier), step=step, total=total, earlier=earlier)
            continue
        ended = WatchedEpisode(total=total, steps=step, is_terminated=is_terminated)
        yield Moment(episode=len(earlier), step=step, total=total, ended=ended, earlier=earlier)
        earlier = (*earlier, ended)
        if len(earlier) == num_episodes:
            return
        total, step = 0.0, 0
        yield Moment(episode=len(earlier), step=0, total=0.0, earlier=earlier)
