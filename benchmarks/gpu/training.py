"""Training of RL² on a device: families, sizes, and trainers that are timed, each on a stream of its own."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.cuda_graphs import NUM_EAGER_RUNS
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.training import EagerTraining, FamilyTraining, RecordedTraining
from agent.learners.rl2.trials import TrialBatch, num_env_steps
from envs.default_families import BERNOULLI_BANDITS, TABULAR_MDPS, VARIED_CARTPOLE
from envs.family import FamilySource, FamilySpec
from envs.registry import open_tasks

FAMILY = "family"
NUM_WARM_UP = NUM_EAGER_RUNS + 2
"""Iterations before the clock starts; they include the recording."""

MINIBATCHES = 4
MAX_MINIBATCH_STEPS = 1 << 17
"""Larger minibatches are not faster, and with long trials they do not fit into memory."""

NUM_EPOCHS = 2


def tensor_family(
    entry: str, episodes: int, *, steps: int | None = None, kwargs: dict[str, Any] | None = None
) -> FamilySpec:
    """Return a tensor family of trials of this many episodes."""
    return FamilySpec(
        name=FAMILY,
        source=FamilySource.TENSOR,
        entry=entry,
        kwargs=kwargs or {},
        episodes_per_trial=episodes,
        max_episode_steps=steps,
    )


FAMILIES = {
    "bandits 10": tensor_family(BERNOULLI_BANDITS, 10),
    "bandits 100": tensor_family(BERNOULLI_BANDITS, 100),
    "MDPs 10": tensor_family(TABULAR_MDPS, 10),
    "CartPole 3×200": tensor_family(VARIED_CARTPOLE, 3, steps=200),
}
SMOKE_FAMILIES = {
    "bandits 10": FAMILIES["bandits 10"],
    "MDPs 2": tensor_family(TABULAR_MDPS, 2),
    "CartPole 2×50": tensor_family(VARIED_CARTPOLE, 2, steps=50),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """The settings of a row of the table.

    Attributes:
        family: key of the families.
        hidden_size: H.
        num_trials: B of each learner.
        reads: whether the policy reads its in-trial memory.
        is_captured: whether rollout and minibatches are recorded.
        num_learners: number of concurrent learners.
    """

    family: str
    hidden_size: int
    num_trials: int
    reads: bool
    is_captured: bool
    num_learners: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The results of a row, over all its learners.

    Attributes:
        row: the settings.
        steps: environment steps, each collected once and trained on in every epoch.
        wall_s: wall time from the first to the last step, with synchronisation of the device.
        rollout_s: the first learner's rollouts, as part of ``wall_s``.
        update_s: the first learner's updates, as part of ``wall_s``.
        peak_bytes: peak device memory; 0 on a CPU.
    """

    row: Row
    steps: int
    wall_s: float
    rollout_s: float
    update_s: float
    peak_bytes: int

    @property
    def per_s(self) -> float:
        """Trained steps a second."""
        return self.steps / self.wall_s


class Trainer:
    """A learner on one family and one device, eager or recorded.

    Args:
        spec: the family.
        row: the sizes.
        device: the device.
        seed: seed of the learner.
    """

    def __init__(self, spec: FamilySpec, row: Row, *, device: torch.device, seed: int) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self.steps = 0
        self.rollout_s = self.update_s = 0.0
        with self.on_stream():
            tasks = open_tasks(spec, None, num_trials=row.num_trials, device=device)
            config = _config(spec, row, num_steps=(tasks.max_episode_steps or 1) * spec.episodes_per_trial)
            self.learner = RL2Learner(config, device=device, seed=seed)
            self.learner.add_family(FAMILY, tasks.spaces)
        how = RecordedTraining if row.is_captured else EagerTraining
        self._training: FamilyTraining = how(self.learner, FAMILY, tasks)
        self._first_task = 0

    def on_stream(self) -> AbstractContextManager[object]:
        """Return a context that selects the trainer's own stream, if the device has streams."""
        return nullcontext() if self.stream is None else torch.cuda.stream(self.stream)

    def iterate(self) -> None:
        """Collect a trial batch and learn from it, with separate timing of rollout and update."""
        with self.on_stream():
            began = self._now()
            trials = self.collect()
            collected = self._now()
            self.learn(trials)
            self.rollout_s += collected - began
            self.update_s += self._now() - collected
            self.steps += num_env_steps(trials)

    def collect(self) -> TrialBatch:
        """Play one trial in each of the next B tasks."""
        first_task = self._first_task
        self._first_task += self._training.tasks.num_trials
        return self._training.play(first_task)

    def learn(self, trials: TrialBatch) -> None:
        """Learn from a trial batch."""
        self._training.learn(trials)

    def start_clock(self) -> None:
        """Reset the counters after the first iterations."""
        self.steps, self.rollout_s, self.update_s = 0, 0.0, 0.0

    def close(self) -> None:
        """Release the tasks and the recordings."""
        self._training.close()

    def _now(self) -> float:
        """Return the time after this trainer's stream has finished its work; other streams continue."""
        if self.stream is not None:
            self.stream.synchronize()
        return time.perf_counter()


def _config(spec: FamilySpec, row: Row, *, num_steps: int) -> RL2Config:
    """Return settings with the same number of minibatches per epoch for all sizes, unless minibatches become too large.

    Trials have their full length from the start.
    """
    total = num_steps * row.num_trials
    num_minibatches = max(MINIBATCHES, math.ceil(total / MAX_MINIBATCH_STEPS))
    return RL2Config(
        hidden_size=row.hidden_size,
        input_size=row.hidden_size,
        critic_size=row.hidden_size,
        reads=row.reads,
        num_epochs=NUM_EPOCHS,
        minibatch_steps=max(1, total // num_minibatches),
        max_minibatches=num_minibatches,
        min_minibatch_trials=1,
        curriculum_episodes=spec.episodes_per_trial,
    )


def measure(spec: FamilySpec, row: Row, *, device: torch.device, seconds: float) -> Measured:
    """Train for about this many seconds, each learner on its own thread."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    trainers = [Trainer(spec, row, device=device, seed=seed) for seed in range(row.num_learners)]
    try:
        for trainer in trainers:
            for _iteration in range(NUM_WARM_UP):
                trainer.iterate()
            trainer.start_clock()
        began = time.perf_counter()
        with ThreadPoolExecutor(len(trainers)) as pool:
            for finished in [pool.submit(_train_until, trainer, began + seconds) for trainer in trainers]:
                finished.result()
        wall_s = time.perf_counter() - began
    finally:
        for trainer in trainers:
            trainer.close()
    return Measured(
        row=row,
        steps=sum(trainer.steps for trainer in trainers),
        wall_s=wall_s,
        rollout_s=trainers[0].rollout_s,
        update_s=trainers[0].update_s,
        peak_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
    )


def _train_until(trainer: Trainer, end: float) -> None:
    trainer.iterate()
    while time.perf_counter() < end:
        trainer.iterate()
