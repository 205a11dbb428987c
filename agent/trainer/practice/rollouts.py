"""Training rollouts in the service: those of tensor families, and those of families that a worker steps.

A worker's rollout is a play in the background (:mod:`agent.trainer.plays`). It acts by a copy of the policy, and draws
its noise from a generator whose seed follows from the learner's seed, the family and the first task. So a rollout is a
function of the committed state at its start, whatever the trainer does meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from agent.learners.rl2.acting_copy import acting_copy
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.segment import Segment
from agent.learners.rl2.training import FamilyTraining
from agent.learners.rl2.training_rollouts import plan_rollout
from agent.learners.rl2.trials import TrialBatch
from agent.trainer.families import learner_name, patience_with, spaces_of
from agent.trainer.plays import BackgroundPlays
from agent.trainer.practice.open_environments import OpenEnvironments
from envs.seeds import seed_of
from envs.task_batch import TaskBatch, given_contexts, recurs
from memory.records import Family

ROLLOUT = "rollout"


@dataclass(frozen=True, kw_only=True)
class PlayedTrials:
    """A trial batch, with what episodic memory stores besides the steps.

    Attributes:
        batch: the trials.
        rows: the trials of the batch that episodic memory stores.
        tasks: descriptions of the tasks of those trials.
        contexts: digests of the contexts that their environments gave.
        took_s: seconds that the rollout took.
    """

    batch: TrialBatch
    rows: list[int]
    tasks: list[dict[str, Any]]
    contexts: list[bytes | None]
    took_s: float


def play_training(
    training: FamilyTraining,
    first_task: int,
    *,
    num_stored: int,
    generator: torch.Generator,
    progress: Callable[[int], None],
) -> PlayedTrials:
    """Play one trial in each task of a training, in the trainer's own thread.

    Args:
        training: the family's training.
        first_task: index of the first task.
        num_stored: the number of trials that episodic memory stores.
        generator: draws which trials are stored, if tasks recur.
        progress: see :func:`agent.learners.rl2.rollout.collect_trials`.
    """
    began = time.monotonic()
    batch = training.play(first_task, progress=progress)
    took_s = time.monotonic() - began
    rows = stored_rows(training.tasks, num_stored, generator=generator)
    return _described(batch, training.tasks, rows=rows, took_s=took_s)


@dataclass(frozen=True, kw_only=True)
class WorkerRollouts:
    """The training rollouts of families that a worker steps.

    Attributes:
        player: returns the learner whose policy plays a family, by its name in the learner.
        environments: the open tasks.
        plays: carries the rollouts out.
        num_stored: returns the number of trials of a family's rollout that episodic memory stores, by its name.
    """

    player: Callable[[str], RL2Learner]
    environments: OpenEnvironments
    plays: BackgroundPlays
    num_stored: Callable[[str], int]

    def play(self, family: Family, first_task: int) -> PlayedTrials:
        """Return the trials of the next rollout, which may have begun earlier.

        Args:
            family: the family, which the learner knows.
            first_task: index of the first task.

        Raises:
            UnderWayError: the rollout goes on in the background.
            EnvsError: the family failed.
        """
        played = self.require_played(family, first_task)
        self.plays.forget(family.id, ROLLOUT)
        return played

    def require_played(self, family: Family, first_task: int) -> PlayedTrials:
        """Return what :meth:`play` will return; the result is kept for it.

        Raises:
            UnderWayError: the rollout goes on in the background.
            EnvsError: the family failed.
        """
        return self.plays.run(
            family.id,
            ROLLOUT,
            lambda: self._prepare(family, first_task),
            token=first_task,
            is_patient=patience_with(family),
        )

    def begin_if_slow(self, family: Family, first_task: int) -> None:
        """Begin the next rollout in the background if the last one took longer than the trainer waits."""
        if self.plays.is_slow(family.id, ROLLOUT):
            self.plays.begin(family.id, ROLLOUT, lambda: self._prepare(family, first_task), token=first_task)

    def _prepare(self, family: Family, first_task: int) -> Callable[[], PlayedTrials]:
        name = learner_name(family)
        learner = self.player(name)
        policy = acting_copy(learner.policy, spaces_of(family))
        episodes_per_trial = family.require_spec().episodes_per_trial
        plan = plan_rollout(learner, name, first_task=first_task, episodes_per_trial=episodes_per_trial)
        generator, num_stored = rollout_generator(learner, name, first_task), self.num_stored(name)

        def play() -> PlayedTrials:
            began = time.monotonic()
            rollouts = self.environments.rollouts_of(family)
            batch = rollouts.play(policy, plan, generator=generator, progress=lambda _steps: self.plays.check())
            took_s = time.monotonic() - began
            if batch.segment is not None:
                return _described_pieces(batch, batch.segment, num_stored=num_stored, took_s=took_s)
            rows = stored_rows(rollouts.tasks, num_stored, generator=generator)
            return _described(batch, rollouts.tasks, rows=rows, took_s=took_s)

        return play


def stored_rows(tasks: TaskBatch, num_stored: int, *, generator: torch.Generator) -> list[int]:
    """Return the rows whose trials are stored: drawn if tasks recur, so that all tasks of a pool are stored."""
    num_stored = min(num_stored, tasks.num_trials)
    if not recurs(tasks):
        return list(range(num_stored))
    order = torch.randperm(tasks.num_trials, generator=generator, device=generator.device)
    drawn: list[int] = order[:num_stored].tolist()
    return drawn


def rollout_generator(learner: RL2Learner, name: str, first_task: int) -> torch.Generator:
    """Return the source of a rollout's noise, which follows from the learner's seed, the family and the first task."""
    return torch.Generator(device=learner.device).manual_seed(seed_of(learner.seed, name, first_task))


def _described_pieces(batch: TrialBatch, segment: Segment, *, num_stored: int, took_s: float) -> PlayedTrials:
    """Describe pieces that begin their trials: the others cannot be replayed from an empty hidden state."""
    rows = segment.begins.nonzero().squeeze(1)[:num_stored].tolist()
    return PlayedTrials(
        batch=batch,
        rows=rows,
        tasks=[segment.tasks[row] for row in rows],
        contexts=[segment.contexts[row] for row in rows],
        took_s=took_s,
    )


def _described(batch: TrialBatch, tasks: TaskBatch, *, rows: list[int], took_s: float) -> PlayedTrials:
    """Describe the trials at once: another play begins other tasks."""
    return PlayedTrials(
        batch=batch,
        rows=rows,
        tasks=tasks.describe_tasks(rows),
        contexts=given_contexts(tasks, rows),
        took_s=took_s,
    )
