"""Prioritised level replay (Jiang et al. 2021, arXiv:2010.03934) against new tasks only, at equal environment steps.

Run: ``python -m benchmarks.level_replay --seeds 0 1 2``. An interrupted run continues with the missing runs.

Some rows of every training batch replay earlier tasks instead of new ones. A task's score is the positive value loss of
its trial, the mean over steps of max(A_t, 0) with A_t the generalised advantage under the critic before the update.
Tasks are drawn by (section 3 of the paper)

P = (1 - ρ) P_score + ρ P_stale,    P_score ∝ (1/rank)^(1/β),    P_stale ∝ number of batches since the task was played

Departure: tasks are unlimited, so the buffer has a capacity, and a new task replaces the one with the smallest score.

Shapes: B trials.
"""

from __future__ import annotations

import argparse
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agent.learners.evaluation.trials import EVALUATION_TASKS, held_out_returns
from agent.learners.rl2.advantages import trial_advantages
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.normalisation import PopArtCritic
from agent.learners.rl2.training import EagerTraining
from agent.learners.rl2.trials import TrialBatch, critic_inputs, num_env_steps
from benchmarks.kept_runs import kept_or_measured
from envs.default_families import default_stream
from envs.family import FamilySource, FamilySpec, Split
from envs.gymnasium.batch import WorkerTaskBatch
from envs.gymnasium.task_drawing import draw_tasks, task_label
from envs.limits import WorkerLimits

CAPACITY = 512
TEMPERATURE = 0.3
"""β of the rank prioritisation."""
STALENESS = 0.3
"""ρ, the weight of staleness."""
MINIMUM_TASKS = 128
"""Tasks in the buffer before any is replayed."""
SEED_TASKS = 10_000_000
"""Distance between the first training tasks of two seeds."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A family and the size of its runs.

    Attributes:
        spec: the family.
        env_steps: environment steps of a run.
        anneal_updates: updates over which rates fall.
        num_tasks: held-out tasks of a score.
    """

    spec: FamilySpec
    env_steps: int
    anneal_updates: int
    num_tasks: int = 512


def door_key(**kwargs: Any) -> Any:
    """Return MiniGrid's 5 × 5 room with a door and a key, without the text of the mission."""
    return _minigrid("MiniGrid-DoorKey-5x5-v0", **kwargs)


def _minigrid(name: str, **kwargs: Any) -> Any:
    import gymnasium
    from minigrid.wrappers import ImgObsWrapper

    return ImgObsWrapper(gymnasium.make(name, **kwargs))  # type: ignore[no-untyped-call]


def settings() -> dict[str, Setting]:
    """Return the measured families by name."""
    [frozenlake] = [spec for spec in default_stream() if spec.name == "frozenlake"]
    folder = str(Path(__file__).resolve().parents[1])

    def minigrid(name: str, entry: str, max_steps: int) -> FamilySpec:
        return FamilySpec(
            name=name, source=FamilySource.GYMNASIUM, entry=f"benchmarks.level_replay:{entry}", episodes_per_trial=2,
            max_episode_steps=max_steps, import_paths=(folder,),
        )  # fmt: skip

    return {
        "frozenlake": Setting(spec=frozenlake, env_steps=200_000, anneal_updates=80),
        "doorkey": Setting(spec=minigrid("doorkey", "door_key", 120), env_steps=60_000, anneal_updates=20),
    }


@dataclass
class Replay:
    """The buffer of replayed tasks.

    Attributes:
        share: share of a batch's rows that replay earlier tasks.
        generator: source of the draws.
        scores: score by task index.
        played_at: batch of the last play by task index.
        num_batches: batches so far.
    """

    share: float
    generator: np.random.Generator
    scores: dict[int, float] = field(default_factory=dict)
    played_at: dict[int, int] = field(default_factory=dict)
    num_batches: int = 0

    def draw(self, count: int) -> list[int]:
        """Return ``count`` tasks to replay, without repetition; none while the buffer has few."""
        if count == 0 or len(self.scores) < MINIMUM_TASKS:
            return []
        indices = np.array(list(self.scores))
        order = np.argsort(-np.array([self.scores[index] for index in indices]), kind="stable")
        rank = np.empty(len(indices))
        rank[order] = np.arange(1, len(indices) + 1)
        by_score = (1.0 / rank) ** (1.0 / TEMPERATURE)
        stale = np.array([self.num_batches - self.played_at[index] for index in indices], dtype=float)
        by_score, stale = by_score / by_score.sum(), stale / max(stale.sum(), 1.0)
        weights = (1.0 - STALENESS) * by_score + STALENESS * stale
        drawn = self.generator.choice(indices, size=count, replace=False, p=weights / weights.sum())
        return [int(index) for index in drawn]

    def take(self, indices: list[int], scores: list[float]) -> None:
        """Store the scores of a batch's tasks."""
        self.num_batches += 1
        for index, score in zip(indices, scores, strict=True):
            self.scores[index], self.played_at[index] = score, self.num_batches
        while len(self.scores) > CAPACITY:
            worst = min(self.scores, key=self.scores.__getitem__)
            del self.scores[worst], self.played_at[worst]


class ReplayedTasks(WorkerTaskBatch):
    """A worker's tasks, whose training batches consist of replayed and new tasks."""

    replay: Replay
    indices: list[int]
    next_new: int

    def begin(self, first_task: int, *, split: Split) -> Tensor:
        """Begin a batch; in training, ``first_task`` is ignored."""
        if split is Split.HELD_OUT:
            return super().begin(first_task, split=split)
        replayed = self.replay.draw(round(self.replay.share * self.num_trials))
        num_new = self.num_trials - len(replayed)
        self.indices = [*replayed, *range(self.next_new, self.next_new + num_new)]
        self.next_new += num_new
        self._places = [(split, index) for index in self.indices]
        self._tasks = [draw_tasks(self.spec, split, index, 1)[0] for index in self.indices]
        tasks = [
            {**task.to_json(), "label": task_label(task, split, index)}
            for task, index in zip(self._tasks, self.indices, strict=True)
        ]
        self._process.ask({"type": "begin", "tasks": tasks})
        return self._observation.clone()


def positive_value_loss(learner: RL2Learner, name: str, trials: TrialBatch) -> list[float]:
    """Return the mean over each trial's steps of max(A_t, 0)."""
    critic: PopArtCritic = learner.critics[name]  # type: ignore[assignment]
    steps = float(trials.lengths.float().mean())
    discount = learner.config.discount_for(steps)
    features, cut, cut_features = critic_inputs(trials)
    with torch.no_grad():
        value = critic.value(features)
        final_value = torch.zeros_like(value)
        final_value.view(-1).index_copy_(0, cut, critic.bounded(critic.value(cut_features), discount))
    advantage = trial_advantages(
        reward=trials.reward, value=value, final_value=final_value, truncated=trials.truncated,
        is_valid=trials.is_valid, discount=discount, gae_lambda=learner.config.gae_lambda_for(steps),
    )  # fmt: skip
    return (advantage.clamp(min=0.0).sum(0) / trials.lengths).tolist()


@dataclass(frozen=True, kw_only=True)
class Run:
    """The result of a run.

    Attributes:
        env_steps: environment steps at each score.
        returns: held-out trial return at each score.
        standard_errors: of those returns.
        cpu_s: processor seconds of practice, without the worker.
    """

    env_steps: list[int]
    returns: list[float]
    standard_errors: list[float]
    cpu_s: float


def measure(setting: Setting, *, share: float, seed: int) -> Run:
    """Train one run and score it after a quarter, half and all of its steps."""
    name = setting.spec.name
    learner = RL2Learner(RL2Config(anneal_updates=setting.anneal_updates), device="cpu", seed=seed)
    tasks = ReplayedTasks(
        setting.spec,
        num_trials=learner.config.num_trials_gymnasium,
        device="cpu",
        limits=WorkerLimits(nice=0),
    )
    tasks.replay, tasks.next_new = Replay(share, np.random.default_rng(seed)), seed * SEED_TASKS
    found = Run(env_steps=[], returns=[], standard_errors=[], cpu_s=0.0)
    due = [setting.env_steps // 4, setting.env_steps // 2, setting.env_steps]
    num_steps, cpu_s = 0, 0.0
    with closing(tasks):
        learner.add_family(name, tasks.spaces)
        training = EagerTraining(learner, name, tasks)
        while due:
            began = time.process_time()
            trials = training.play(0)
            num_steps += num_env_steps(trials)
            if share > 0:
                tasks.replay.take(tasks.indices, positive_value_loss(learner, name, trials))
            training.learn(trials, num_epochs=learner.config.num_epochs_gymnasium)
            cpu_s += time.process_time() - began
            if num_steps >= due[0]:
                due.pop(0)
                scored = held_out_returns(
                    learner.policy, tasks, first_task=EVALUATION_TASKS, num_trials=setting.num_tasks
                )
                found.env_steps.append(num_steps)
                found.returns.append(scored.mean)
                found.standard_errors.append(scored.standard_error)
    return Run(**{**vars(found), "cpu_s": cpu_s})


def main() -> None:
    """Train and print every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=list(settings()), choices=list(settings()))
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("build/level-replay"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for family in options.families:
        setting = settings()[family]
        for seed in options.seeds:
            for share in options.shares:
                run = kept_or_measured(
                    options.folder / f"{family}-{share:g}-{seed}.json",
                    Run,
                    lambda setting=setting, share=share, seed=seed: measure(setting, share=share, seed=seed),  # type: ignore[misc]
                    settings={"env_steps": setting.env_steps, "share": share, "seed": seed},
                )
                scores = ", ".join(
                    f"{value:.3f} ± {error:.3f}" for value, error in zip(run.returns, run.standard_errors, strict=True)
                )
                print(f"{family:12} share {share:g} seed {seed}: {scores}  ({run.cpu_s:.0f} CPU-s)", flush=True)


if __name__ == "__main__":
    main()
