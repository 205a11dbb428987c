"""The practise job: roll out and update for a slice of time, then commit it all as one learner step."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from agent.learner.heartbeat import JobInterruptedError
from agent.learner.scoring import standard_error
from agent.learner.session import LearnerSession, is_tensor_native, learner_name, spaces_of
from agent.rl2.rollout import collect_trials
from agent.rl2.trials import TrialBatch, num_env_steps, num_episodes, to_records, trial_returns
from envs.family import Split
from memory.records import CurveMetric, CurvePoint, Family, FamilyTotals, LearnerStep, TrialRecord


class DivergedError(Exception):
    """An update left a parameter or a loss that is not a finite number; the slice was thrown away."""


@dataclass
class _Slice:
    """What a slice of practise has done so far."""

    env_steps: int = 0
    episodes: int = 0
    trials: int = 0
    meta_updates: int = 0
    returns: list[Tensor] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    kept: tuple[TrialRecord, ...] = ()

    def take(self, batch: TrialBatch, losses: dict[str, float]) -> None:
        self.env_steps += num_env_steps(batch)
        self.episodes += num_episodes(batch)
        self.trials += batch.num_trials
        self.meta_updates += 1
        self.returns.append(trial_returns(batch))
        for part, value in losses.items():
            self.losses[part].append(value)


def practise(session: LearnerSession, family: Family, *, reason: str) -> dict[str, Any]:
    """Practise one family for a slice of time and commit it.

    Everything up to the commit is lost when the process is killed; nothing after it is.

    Raises:
        JobInterruptedError: control has asked to stop before the first update; nothing of the slice is kept.
        WorkerFaultError: the family's worker failed; nothing of the slice is kept.
        DivergedError: the update diverged; the state is that of the last commit.
    """
    started_at, began = session.clock(), time.monotonic()
    name, tasks = learner_name(family), session.tasks_of(family)
    session.learner.add_family(name, spaces_of(family))
    num_epochs = session.config.num_epochs_for(is_tensor_native=is_tensor_native(family))
    work = _Slice()
    while True:
        try:
            collected = collect_trials(
                session.learner.policy,
                tasks,
                first_task=session.next_task.get(name, 0),
                split=Split.TRAINING,
                generator=session.learner.generator,
                progress=lambda _steps: session.heartbeat.beat_or_give_up(),
                num_episodes=session.learner.num_episodes(name, tasks.spec.episodes_per_trial),
            )
        except JobInterruptedError:
            if work.meta_updates == 0:
                raise
            break  # what is whole is committed; the trials under way are given up
        batch = collected
        losses = session.learner.update(name, batch, num_epochs=num_epochs)
        session.next_task[name] = session.next_task.get(name, 0) + batch.num_trials
        _refuse_divergence(session, name, losses)
        work.take(batch, losses)
        session.heartbeat.beat()
        if time.monotonic() - began >= session.settings.practise.slice_s or session.heartbeat.is_stop_requested:
            break
    num_kept = min(session.settings.memory.trials_per_step, batch.num_trials)
    rows = list(range(num_kept))
    work.kept = tuple(to_records(batch, rows=rows, tasks=tasks.describe_tasks(rows)))
    step = _learner_step(session, family, work, started_at=started_at, reason=reason)
    session.commit(step)
    return {
        "env_steps": work.env_steps,
        "trials": work.trials,
        "meta_updates": work.meta_updates,
        "trial_return": next(p.value for p in step.points if p.metric is CurveMetric.TRIAL_RETURN),
    }


def _refuse_divergence(session: LearnerSession, name: str, losses: dict[str, float]) -> None:
    if all(math.isfinite(value) for value in losses.values()) and session.learner.is_finite():
        return
    session.restore_last_commit()
    raise DivergedError(f"an update of {name} gave a value that is not finite: {losses}; restored the last commit")


def _learner_step(
    session: LearnerSession, family: Family, work: _Slice, *, started_at: float, reason: str
) -> LearnerStep:
    returns = torch.cat(work.returns)
    points = [
        CurvePoint(
            metric=CurveMetric.TRIAL_RETURN, value=float(returns.mean()), standard_error=standard_error(returns)
        ),
        *(
            CurvePoint(metric=CurveMetric.LOSS, label=part, value=sum(values) / len(values))
            for part, values in work.losses.items()
        ),
    ]
    return LearnerStep(
        family=family.name,
        practised=FamilyTotals(
            env_steps=work.env_steps, episodes=work.episodes, trials=work.trials, meta_updates=work.meta_updates
        ),
        trials=work.kept,
        points=tuple(points),
        started_at=started_at,
        finished_at=session.clock(),
        detail={"reason": reason},
    )
