"""Runs of adapting policies: courses, contestants, training, and returns in held-out tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agent.learners.config_json import config_to_json
from agent.learners.factory import build_policy_learner, restore_policy_learner
from agent.learners.policy_gradient.adaptation import RoundConfig
from agent.learners.policy_gradient.episodes import Play
from agent.learners.policy_gradient.loops import adapt_to
from agent.learners.policy_gradient.maml import MAMLPolicyConfig
from agent.learners.policy_gradient.meta_sgd import MetaSGDPolicyConfig
from agent.learners.policy_gradient.policy import AdaptedPolicies
from agent.learners.policy_gradient.protocol import PolicyLearner
from agent.learners.policy_gradient.reptile import ReptilePolicyConfig
from benchmarks.kept_runs import kept_or_measured
from envs.declaration import family_from_declaration
from envs.default_families import NAVIGATION, VARIED_CARTPOLE
from envs.family import Split
from envs.random_actions import random_actions
from envs.registry import open_tasks
from envs.task_batch import TaskBatch
from envs.tensor.navigation import MAX_VELOCITY

NUM_STEPS = 3
HELD_OUT_TASKS = 100
HELD_OUT_EPISODES = 20
TUNING_TASKS = 40
TUNING_FIRST_TASK = 1_000_000
"""Far beyond the indices of the training tasks."""
RATES = (0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True, kw_only=True)
class Course:
    """A family with the settings of its training.

    Attributes:
        family: a tensor-native family.
        limit: steps after which an episode is truncated.
        tasks_per_update: M.
        num_episodes: E, episodes of a task in a round.
        updates: outer steps of a learner that plays 4 rounds per update; learners with fewer rounds take proportionally
            more.
    """

    family: str
    limit: int
    tasks_per_update: int
    num_episodes: int
    updates: int

    @property
    def round(self) -> RoundConfig:
        """The settings of a round."""
        return RoundConfig(num_episodes=self.num_episodes)

    def tasks(self, num_tasks: int, num_episodes: int) -> TaskBatch:
        """Open M tasks with all their episodes in parallel."""
        spec = family_from_declaration(self.family, max_episode_steps=self.limit)
        rows = num_tasks * num_episodes
        return open_tasks(spec, None, num_trials=rows, device="cpu", rows_per_task=num_episodes)


COURSES = {
    NAVIGATION: Course(family=NAVIGATION, limit=100, tasks_per_update=10, num_episodes=20, updates=24),
    VARIED_CARTPOLE: Course(family=VARIED_CARTPOLE, limit=200, tasks_per_update=10, num_episodes=10, updates=12),
}


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A learner with its settings in this benchmark.

    Attributes:
        learner: its name in the registry.
        config: a function from the settings of a round and the planned number of updates to its settings.
        rounds_per_update: rounds of episodes per update; 0 is not trained at all.
        is_tuned: whether the rate of its steps in held-out tasks is the best of ``RATES``.
    """

    learner: str
    config: Callable[[RoundConfig, int], Any]
    rounds_per_update: int
    is_tuned: bool = False

    def updates(self, course: Course, planned: int | None) -> int:
        """Return the number of outer steps with which every contestant plays equally many episodes."""
        return (planned or course.updates) * 4 // self.rounds_per_update if self.rounds_per_update else 0


CONTESTANTS = {
    "maml": Contestant(
        learner="maml-policy",
        config=lambda played, updates: MAMLPolicyConfig(num_inner_steps=3, round=played, decay_updates=updates),
        rounds_per_update=4,
    ),
    "meta-sgd": Contestant(
        learner="meta-sgd-policy",
        config=lambda played, updates: MetaSGDPolicyConfig(num_inner_steps=3, round=played, decay_updates=updates),
        rounds_per_update=4,
    ),
    "reptile": Contestant(
        learner="reptile-policy",
        config=lambda played, updates: ReptilePolicyConfig(num_inner_steps=3, round=played, decay_updates=updates),
        rounds_per_update=3,
    ),
    "joint": Contestant(
        learner="maml-policy",
        config=lambda played, updates: MAMLPolicyConfig(
            num_inner_steps=0, outer_lr=2e-3, round=played, decay_updates=updates
        ),
        rounds_per_update=1,
        is_tuned=True,
    ),
    "scratch": Contestant(
        learner="maml-policy",
        config=lambda played, _: MAMLPolicyConfig(num_inner_steps=0, round=played),
        rounds_per_update=0,
        is_tuned=True,
    ),
    "fomaml": Contestant(
        learner="maml-policy",
        config=lambda played, updates: MAMLPolicyConfig(
            num_inner_steps=3, is_first_order=True, round=played, decay_updates=updates
        ),
        rounds_per_update=4,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """The results of one contestant on one course with one seed.

    Attributes:
        family: the course's family.
        contestant: its name.
        seed: seed of θ, of the actions, and of the choice of training tasks.
        updates: outer steps taken.
        returns: return of a held-out episode, before adaptation and after each step.
        rate: α if it was tuned; None if it is the learner's own.
        train_cpu_s: CPU-seconds of training.
    """

    family: str
    contestant: str
    seed: int
    updates: int
    returns: list[float]
    rate: float | None
    train_cpu_s: float


def train(
    contestant: Contestant, course: Course, *, updates: int, seed: int, label: str
) -> tuple[PolicyLearner, float]:
    """Train a learner and print its progress."""
    tasks = course.tasks(course.tasks_per_update, course.num_episodes)
    config, started = contestant.config(course.round, updates), time.process_time()
    learner = build_policy_learner(
        contestant.learner, tasks.spaces, config, generator=torch.Generator().manual_seed(seed)
    )
    for step in range(updates):
        first_task = (seed * updates + step) * course.tasks_per_update
        metrics = learner.update(tasks, first_task=first_task)
        if (step + 1) % max(1, updates // 5) == 0:
            shown = ", ".join(f"{name} {value:.1f}" for name, value in metrics.items() if "return" in name)
            print(f"  {label} {step + 1}/{updates}: {shown}, {time.process_time() - started:.0f} CPU-s", flush=True)
    return learner, time.process_time() - started


def adaptation_returns(
    learner: PolicyLearner, tasks: TaskBatch, *, split: Split, first_task: int, num_episodes: int
) -> list[float]:
    """Return the mean return of an episode before adaptation and after each of ``NUM_STEPS`` steps."""
    play = Play(tasks, first_task=first_task, split=split, num_episodes=num_episodes)
    generator, policies, returns = torch.Generator().manual_seed(0), AdaptedPolicies.unadapted(learner.policy), []
    for step in range(NUM_STEPS + 1):
        episodes = play.round(policies.policy, policies.parameters, generator=generator)
        returns.append(episodes.mean_return.mean().item())
        if step < NUM_STEPS:
            policies = adapt_to(learner, episodes, policies)
    return returns


def with_rate(learner: PolicyLearner, rate: float) -> PolicyLearner:
    """Return a learner with the same parameters that adapts at another rate."""
    meta = learner.to_meta()
    return restore_policy_learner(learner.initialization(), {**meta, "config": {**meta["config"], "inner_lr": rate}})


def tuned(learner: PolicyLearner, course: Course) -> tuple[PolicyLearner, float]:
    """Return the learner with the rate that gives the largest return after the last step, in unseen training tasks."""
    tasks = course.tasks(TUNING_TASKS, course.num_episodes)
    earned = {
        rate: adaptation_returns(
            with_rate(learner, rate),
            tasks,
            split=Split.TRAINING,
            first_task=TUNING_FIRST_TASK,
            num_episodes=course.num_episodes,
        )[-1]
        for rate in RATES
    }
    best = max(earned, key=lambda rate: earned[rate])
    return with_rate(learner, best), best


def measure(name: str, course: Course, *, planned_updates: int | None, seed: int) -> Run:
    """Train one contestant with one seed and play it in held-out tasks."""
    contestant = CONTESTANTS[name]
    updates = contestant.updates(course, planned_updates)
    label = f"{course.family} {name} seed {seed}"
    learner, train_cpu_s = train(contestant, course, updates=updates, seed=seed, label=label)
    rate = None
    if contestant.is_tuned:
        learner, rate = tuned(learner, course)
    returns = adaptation_returns(
        learner,
        course.tasks(HELD_OUT_TASKS, HELD_OUT_EPISODES),
        split=Split.HELD_OUT,
        first_task=0,
        num_episodes=HELD_OUT_EPISODES,
    )
    print(f"  {label}: {', '.join(f'{r:.2f}' for r in returns)}", flush=True)
    return Run(
        family=course.family,
        contestant=name,
        seed=seed,
        updates=updates,
        returns=returns,
        rate=rate,
        train_cpu_s=train_cpu_s,
    )


def finished_run(name: str, course: Course, *, planned_updates: int | None, seed: int, folder: Path | None) -> Run:
    """Return a run that an earlier call finished, or measure and store a new one."""
    updates = CONTESTANTS[name].updates(course, planned_updates)
    path = folder / f"{course.family}-{name}-{updates}-{seed}.json" if folder else None
    config = config_to_json(CONTESTANTS[name].config(course.round, updates))
    return kept_or_measured(
        path,
        Run,
        lambda: measure(name, course, planned_updates=planned_updates, seed=seed),
        settings={"config": config, "course": asdict(course)},
    )


def mean_episode_return(tasks: TaskBatch, choose: Callable[[Tensor], Tensor]) -> float:
    """Return the mean return of the first episode of every row, in held-out tasks."""
    observation = tasks.begin(0, split=Split.HELD_OUT)
    active = torch.ones(tasks.num_trials, dtype=torch.bool)
    total = torch.zeros(tasks.num_trials)
    while active.any():
        transition = tasks.step(choose(observation), active)
        total += transition.reward
        active = active & ~(transition.terminated | transition.truncated)
        observation = transition.observation
    return total.mean().item()


def references(course: Course) -> dict[str, float]:
    """Return the returns of random actions and of a policy that knows the task."""
    tasks, generator = course.tasks(HELD_OUT_TASKS, HELD_OUT_EPISODES), torch.Generator().manual_seed(0)
    random = mean_episode_return(tasks, lambda _: random_actions(tasks.spaces.action, tasks.num_trials, generator))
    if course.family != NAVIGATION:
        return {"random": random, "known": float(course.limit)}
    return {
        "random": random,
        "known": mean_episode_return(tasks, lambda position: (tasks.task_parameters() - position) / MAX_VELOCITY),
    }
