"""The practise job: roll out and update for a slice of time, then commit the slice as one learner step."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from agent.learners.rl2.trials import TrialBatch, num_env_steps, num_episodes, to_records, trial_returns
from agent.trainer.families import is_tensor_native, learner_name
from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.practice.slices import learner_step, refuse_divergence, report_of
from agent.trainer.session import TrainerSession
from memory.records import Family, FamilyTotals


@dataclass
class _Slice:
    """The totals of a slice of practice so far."""

    env_steps: int = 0
    episodes: int = 0
    trials: int = 0
    meta_updates: int = 0
    returns: list[Tensor] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def take(self, batch: TrialBatch, losses: dict[str, float]) -> None:
        self.env_steps += num_env_steps(batch)
        self.episodes += num_episodes(batch)
        self.trials += batch.num_trials
        self.meta_updates += 1
        self.returns.append(trial_returns(batch))
        for part, value in losses.items():
            self.losses[part].append(value)

    @property
    def totals(self) -> FamilyTotals:
        return FamilyTotals(
            env_steps=self.env_steps, episodes=self.episodes, trials=self.trials, meta_updates=self.meta_updates
        )


def practise(session: TrainerSession, family: Family, *, reason: str) -> dict[str, Any]:
    """Practise one family for a slice of time and commit the slice.

    If the process is killed before the commit, the slice is lost. After the commit nothing can be lost.

    Raises:
        JobInterruptedError: the daemon has requested a stop before the first update; the slice is discarded.
        WorkerFaultError: the family's worker failed; the slice is discarded.
        DivergedError: the update diverged; the state is that of the last commit.
    """
    started_at, began = session.clock(), time.monotonic()
    name, training = learner_name(family), session.training_of(family)
    tasks = training.tasks
    num_epochs = session.config.num_epochs_for(is_tensor_native=is_tensor_native(family))
    rows = list(range(min(session.settings.memory.trials_per_step, tasks.num_trials)))
    work = _Slice()
    while True:
        try:
            batch = training.play(
                session.next_task.get(name, 0), progress=lambda _steps: session.heartbeat.beat_or_give_up()
            )
        except JobInterruptedError:
            if work.meta_updates == 0:
                raise
            break  # The finished batches are committed; the trials in progress are discarded.
        played = tasks.describe_tasks(rows)  # Now: a later batch begins other tasks, even if it is abandoned.
        losses = training.learn(batch, num_epochs=num_epochs)
        session.next_task[name] = session.next_task.get(name, 0) + batch.num_trials
        refuse_divergence(session, name, losses, has_finite_parameters=session.learner.is_finite())
        work.take(batch, losses)
        session.heartbeat.beat()
        if time.monotonic() - began >= session.settings.practise.slice_s or session.heartbeat.is_stop_requested:
            break
    step = learner_step(
        session,
        family,
        practised=work.totals,
        returns=torch.cat(work.returns),
        losses=work.losses,
        trials=tuple(to_records(batch, rows=rows, tasks=played)),
        started_at=started_at,
        reason=reason,
    )
    session.commit(step)
    return report_of(step)
