"""Dark rooms (Laskin et al. 2022): the return of successive episodes on held-out goals, and of met ones.

A trial is one episode, and every further episode in a room begins with what the earlier ones left, so that ten trials
are ten in-context episodes. The rooms look alike: which one it is, is given. ``met`` is the first episode in a room
whose only earlier episodes are stored trials, recalled from the store; ``deceived`` and ``doubted`` recall those of
another room.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.recalled_trials import reinstate
from agent.learners.rl2.reinstatement import Reinstated, recall_features
from agent.learners.rl2.rollout import Rollout, play_out
from agent.learners.rl2.trials import TrialBatch, to_records, trial_returns
from benchmarks.rl2_cells import Cell
from envs.default_families import DARK_ROOMS
from envs.family import FamilySource, FamilySpec, Split
from envs.registry import open_tasks
from envs.task_batch import TaskBatch
from memory.records import TrialRecord
from memory.retrieval.recall import RecalledTrials

NUM_EPISODES = 10
MET_AFTER = 4
"""Stored episodes of a met room."""

NUM_ROWS = 80
"""Rooms that are scored side by side: each of the 20 held-out goals four times."""

DOUBT = 0.05


@dataclass(frozen=True, kw_only=True)
class DarkRoomScore:
    """The result of one seed on one split of the goals.

    Attributes:
        seed: seed of the policy's training.
        split: number of the split; None for the published one.
        held_out: mean return by episode, on held-out goals.
        training: mean return by episode, on training goals.
        greedy: ``held_out`` with the most likely actions.
        met: mean return of the first episode in held-out rooms that stored trials recall.
        deceived: the same with the trials of another room at likeness 1.
        doubted: the same with the trials of another room at a low likeness.
        env_steps: environment steps of the training.
        train_cpu_s: CPU-seconds of the training.
        cpu_s: CPU-seconds of the scoring.
    """

    seed: int
    split: int | None
    held_out: list[float]
    training: list[float]
    greedy: list[float]
    met: float
    deceived: float
    doubted: float
    env_steps: int
    train_cpu_s: float
    cpu_s: float


def dark_room_cell(split: int | None, *, num_updates: int) -> Cell:
    """Return the cell of rooms of 10 × 10 with one split of the goals."""
    kwargs = {} if split is None else {"split": split}
    spec = FamilySpec(
        name=f"dark-rooms{'' if split is None else f'-split{split}'}",
        source=FamilySource.TENSOR,
        entry=DARK_ROOMS,
        kwargs=kwargs,
        episodes_per_trial=1,
    )
    return Cell(name=spec.name, spec=spec, episode_steps=100, num_updates=num_updates, target=88.0)


def score(
    policy: RL2Policy,
    cell: Cell,
    *,
    seed: int,
    split: int | None,
    env_steps: int,
    train_cpu_s: float,
    num_rows: int = NUM_ROWS,
) -> DarkRoomScore:
    """Play the episodes of held-out, training and met rooms, ``num_rows`` rooms side by side."""
    began = time.process_time()
    tasks = open_tasks(cell.spec, None, num_trials=num_rows, device="cpu")
    held_out = _episodes(policy, tasks, split=Split.HELD_OUT)
    stored = [_records(tasks, trials) for _, trials in held_out[:MET_AFTER]]
    recalled = [RecalledTrials(trials=tuple(row)) for row in zip(*stored, strict=True)]
    others = [recalled[index - 1] for index in range(len(recalled))]
    return DarkRoomScore(
        seed=seed,
        split=split,
        held_out=[value for value, _ in held_out],
        training=[value for value, _ in _episodes(policy, tasks, split=Split.TRAINING)],
        greedy=[value for value, _ in _episodes(policy, tasks, split=Split.HELD_OUT, is_greedy=True)],
        met=_recalling(policy, tasks, recalled),
        deceived=_recalling(policy, tasks, others),
        doubted=_recalling(policy, tasks, [replace(other, likeness=DOUBT) for other in others]),
        env_steps=env_steps,
        train_cpu_s=round(train_cpu_s, 1),
        cpu_s=round(time.process_time() - began, 1),
    )


def show(result: DarkRoomScore) -> None:
    """Print a result."""
    name = "published split" if result.split is None else f"split {result.split}"
    for part in ("held_out", "training", "greedy"):
        print(f"seed {result.seed}, {name}, {part}: {' '.join(f'{value:.1f}' for value in getattr(result, part))}")
    print(
        f"seed {result.seed}, {name}: met {result.met:.1f}, deceived {result.deceived:.1f}, doubted "
        f"{result.doubted:.1f}; {result.env_steps / 1e6:.2f}M steps in {result.train_cpu_s:.0f} CPU-s"
    )


def _episodes(
    policy: RL2Policy, tasks: TaskBatch, *, split: Split, is_greedy: bool = False
) -> list[tuple[float, TrialBatch]]:
    """Return the mean return and the trials of each of the successive episodes."""
    generator, left = torch.Generator().manual_seed(1), None
    episodes: list[tuple[float, TrialBatch]] = []
    for number in range(NUM_EPISODES):
        rollout = Rollout(
            policy,
            tasks,
            first_task=0,
            split=split,
            generator=generator,
            is_greedy=is_greedy,
            reinstated=left,
            exposure=number,
            leaves_behind=True,
        )
        trials = play_out(policy, rollout, may_pack=False)
        episodes.append((float(trial_returns(trials).mean()), trials))
        left = _left_behind(rollout, tasks.num_trials, num_exposures=number + 1)
    return episodes


def _left_behind(rollout: Rollout, num_trials: int, *, num_exposures: int) -> Reinstated:
    ones = torch.ones(num_trials)
    features = recall_features(likeness=ones, num_exposures=ones * num_exposures, age=torch.zeros(num_trials))
    return rollout.left_behind(features)


def _recalling(policy: RL2Policy, tasks: TaskBatch, recalled: list[RecalledTrials]) -> float:
    """Return the mean return of one episode that begins with recalled trials."""
    rollout = Rollout(
        policy,
        tasks,
        first_task=0,
        split=Split.HELD_OUT,
        generator=torch.Generator().manual_seed(2),
        reinstated=reinstate(policy, tasks.spaces, recalled),
    )
    return float(trial_returns(play_out(policy, rollout, may_pack=False)).mean())


def _records(tasks: TaskBatch, trials: TrialBatch) -> list[TrialRecord]:
    rows = list(range(trials.num_trials))
    return to_records(trials, rows=rows, tasks=tasks.describe_tasks(rows))
