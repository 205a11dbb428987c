"""FrozenLake with 100 maps that come back: the return by episode on met maps, with the memory and without.

All maps look alike at the start: the observation is the number of the cell. Every map of the pool has
``NUM_EXPOSURES`` stored trials, and is then played once more, with four starts:

- ``empty``: the memory is off.
- ``cue``: the environment names the map (``info["context"]``), and the memory recalls its trials.
- ``no_cue``: nothing names the map. The memory is asked at the start and again after the first steps.
- ``known_pool``: no policy but a search that knows all maps, and not which one it is in: each episode takes the route
  that is safe on most of the maps that fit what was seen. No memory without a cue can do better in the first episode.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import gymnasium
import numpy as np
import torch
from torch import Tensor

from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.recalled_trials import reinstate
from agent.learners.rl2.rollout import Rollout, play_out
from agent.learners.rl2.trials import TrialBatch, episode_returns, to_records
from agent.policies.recurrent_acting import RecurrentPolicy
from agent.policies.trial_memory import StoredTrialMemory
from benchmarks.rl2_cells import Cell
from envs.default_families import default_stream
from envs.family import Split
from envs.gymnasium.batch import WorkerTaskBatch
from envs.gymnasium.task_drawing import draw_one
from envs.registry import open_tasks
from envs.spaces import SpacePair
from memory.records import ContextKey, TrialRecord
from memory.retrieval.digests import observation_digests
from memory.retrieval.key_upkeep import recall_among
from memory.retrieval.recall import RecalledTrials, TaskRecall

NUM_MAPS = 100
UPDATES = 200
NUM_EXPOSURES = 4
"""Stored trials of each map."""

EXPOSURE = 1_000
"""Exposure of the first trial that is scored."""

Route = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class LakeScore:
    """The result of one seed.

    Attributes:
        seed: seed of the policy's training.
        empty, cue, no_cue, known_pool: mean return by episode, for each start.
        likeness_at_start, likeness_of_cue: mean probability that what is recalled at the start is of the same map.
        num_maps: number of different maps in the pool.
        env_steps: environment steps of the training.
        train_cpu_s: CPU-seconds of the training, without those of the worker.
        cpu_s: CPU-seconds of the scoring.
    """

    seed: int
    empty: list[float]
    cue: list[float]
    no_cue: list[float]
    known_pool: list[float]
    likeness_at_start: float
    likeness_of_cue: float
    num_maps: int
    env_steps: int
    train_cpu_s: float
    cpu_s: float


def lake_cell() -> Cell:
    """Return the cell of the default family's maps, 100 of which recur."""
    [spec] = [spec for spec in default_stream() if spec.name == "frozenlake"]
    spec = replace(spec, name="frozen-lakes", recurring=NUM_MAPS)
    return Cell(name=spec.name, spec=spec, episode_steps=30, num_updates=UPDATES, target=7.0)


def score(policy: RL2Policy, cell: Cell, *, seed: int, env_steps: int, train_cpu_s: float) -> LakeScore:
    """Store trials of every map, and play every map once more with each start."""
    began = time.process_time()
    tasks = open_tasks(cell.spec, None, num_trials=NUM_MAPS, device="cpu")
    assert isinstance(tasks, WorkerTaskBatch)
    try:
        stored = _store(policy, tasks)
        first = tasks.begin(0, split=Split.TRAINING).numpy()
        named, unnamed = (_recall(tasks.spaces, stored, is_named=is_named) for is_named in (True, False))
        by_cue = [named.find(seen, context=_context(number)) for number, seen in enumerate(first)]
        empty, cue = (_by_episode(_play(policy, tasks, recalled, EXPOSURE)) for recalled in ([], by_cue))
    finally:
        tasks.close()
    maps = ["".join(draw_one(cell.spec, Split.TRAINING, number).kwargs["desc"]) for number in range(NUM_MAPS)]
    return LakeScore(
        seed=seed,
        empty=empty,
        cue=cue,
        no_cue=_acting(policy, cell, tasks.spaces, unnamed),
        known_pool=search_known_pool(maps, num_episodes=cell.spec.episodes_per_trial),
        likeness_at_start=float(np.mean([unnamed.find(seen).likeness for seen in first])),
        likeness_of_cue=float(np.mean([found.likeness for found in by_cue])),
        num_maps=len(set(maps)),
        env_steps=env_steps,
        train_cpu_s=round(train_cpu_s, 1),
        cpu_s=round(time.process_time() - began, 1),
    )


def show(result: LakeScore) -> None:
    """Print a result."""
    for start in ("empty", "cue", "no_cue", "known_pool"):
        returns = getattr(result, start)
        by_episode = " ".join(f"{value:.2f}" for value in returns)
        print(f"seed {result.seed}, {start:10}: {by_episode}, sum {sum(returns):.2f}")
    share = result.cue[0] / result.empty[-1]
    print(
        f"seed {result.seed}: first episode with the cue is {share:.0%} of the last one with an empty start; likeness "
        f"{result.likeness_of_cue:.2f} with the cue, {result.likeness_at_start:.2f} without; "
        f"{result.num_maps} different maps, {result.env_steps / 1e6:.2f}M steps in {result.train_cpu_s:.0f} CPU-s"
    )


def _store(policy: RL2Policy, tasks: WorkerTaskBatch) -> list[TrialRecord]:
    """Return the trials of all maps, oldest first; each begins with what the map's earlier ones left."""
    rows, stored = list(range(NUM_MAPS)), list[list[TrialRecord]]()
    for exposure in range(NUM_EXPOSURES):
        recalled = [RecalledTrials(trials=trials) for trials in zip(*stored, strict=True)]
        trials = _play(policy, tasks, recalled, exposure)
        stored.append(to_records(trials, rows=rows, tasks=tasks.describe_tasks(rows)))
    return [trial for of_exposure in stored for trial in of_exposure]


def _play(policy: RL2Policy, tasks: WorkerTaskBatch, recalled: Sequence[RecalledTrials], exposure: int) -> TrialBatch:
    """Play one trial in every map, beginning with what was recalled, or empty."""
    rollout = Rollout(
        policy,
        tasks,
        first_task=0,
        exposure=exposure,
        split=Split.TRAINING,
        generator=torch.Generator().manual_seed(exposure),
        reinstated=reinstate(policy, tasks.spaces, recalled),
    )
    return play_out(policy, rollout, may_pack=False)


def _by_episode(trials: TrialBatch) -> list[float]:
    return [float(value) for value in episode_returns(trials).mean(1)]


def _recall(spaces: SpacePair, stored: Sequence[TrialRecord], *, is_named: bool) -> TaskRecall:
    """Return the stored trials for recall, with the context of their map or without one."""

    def load(number: int) -> TrialRecord:
        trial = stored[number]
        context = ContextKey(digest=_context(trial.task["index"])) if is_named else None
        return replace(trial, context=context)

    return recall_among(spaces, ["frozen-lakes"] * len(stored), load)


def _context(number: int) -> bytes:
    return observation_digests(np.array([[number]], np.float32))[0]


def _acting(policy: RL2Policy, cell: Cell, spaces: SpacePair, recall: TaskRecall) -> list[float]:
    """Return the mean return by episode of acting in every map without a cue, as a loaded policy acts."""
    returns = np.zeros((cell.spec.episodes_per_trial, NUM_MAPS))
    for number in range(NUM_MAPS):
        env = gymnasium.make(
            cell.spec.entry,
            max_episode_steps=cell.spec.max_episode_steps,
            **cell.spec.kwargs,
            **draw_one(cell.spec, Split.TRAINING, number).kwargs,
        )
        # A memory of its own for each map, because a trial is added to it when it has ended.
        acting = RecurrentPolicy(policy, _Unchanged([recall]))
        actor = acting.begin(spaces, episodes_per_trial=len(returns), seed=number, is_greedy=False)
        for episode in range(len(returns)):
            seen, is_over = env.reset()[0], False
            while not is_over:
                action = actor.act(_row(seen))
                seen, reward, terminated, truncated, _ = env.step(int(action[0]))
                is_over = terminated or truncated
                returns[episode, number] += float(reward)
                actor.observe(
                    reward=torch.tensor([float(reward)]),
                    final_observation=_row(seen),
                    terminated=torch.tensor([terminated]),
                    truncated=torch.tensor([truncated and not terminated]),
                )
    return [float(value) for value in returns.mean(1)]


def _row(observation: int) -> Tensor:
    return torch.tensor([[float(observation)]])


class _Unchanged(StoredTrialMemory):
    """Stored trials to which nothing is added."""

    def store(self, spaces: SpacePair, trial: TrialRecord, *, context: bytes | None = None) -> None:
        """Leave the trial out."""


def search_known_pool(maps: Sequence[str], *, num_episodes: int) -> list[float]:
    """Return the mean return by episode of a search that knows all maps, on each of them.

    Args:
        maps: the maps, row by row: F, H, S and G for each cell of a square.
        num_episodes: E.
    """
    routes, total = _routes(round(len(maps[0]) ** 0.5)), np.zeros(num_episodes)
    for lake in maps:
        fitting = list(maps)
        for episode in range(num_episodes):
            route = max(routes, key=lambda route: sum(_hole(route, other) is None for other in fitting))
            hole = _hole(route, lake)
            total[episode] += hole is None
            fitting = [other for other in fitting if _hole(route, other) == hole]
    return [float(value) for value in total / len(maps)]


def _hole(route: Route, lake: str) -> int | None:
    """Return the first hole on a route; None if there is none."""
    return next((cell for cell in route if lake[cell] == "H"), None)


def _routes(size: int) -> list[Route]:
    """Return the routes from the first cell to the last one that visit no cell twice, of at most 2 detours."""
    found, begun = list[Route](), list[Route]([(0,)])
    while begun:
        route = begun.pop()
        if route[-1] == size**2 - 1:
            found.append(route)
            continue
        row, column = divmod(route[-1], size)
        for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            new_row, new_column = row + down, column + right
            cell = new_row * size + new_column
            is_inside = 0 <= new_row < size and 0 <= new_column < size
            if is_inside and cell not in route and len(route) < 2 * size + 2:
                begun.append((*route, cell))
    return found
