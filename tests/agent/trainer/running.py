"""Jobs run as the trainer runs them, on a fake channel, and tasks whose worker fails."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from agent.messages import Job
from agent.trainer.process import TrainerProcess
from agent.trainer.session import TrainerSession
from envs.errors import FaultReason, WorkerFaultError
from envs.registry import open_tasks
from envs.task_batch import Transition
from memory.records import JobKind
from memory.store import Store
from tests.agent.trainer.conftest import practise

UPDATES_TO_LEARN = 20
"""Enough for the mean return on three arms to rise by more than the gate tolerates."""


class ReportChannel:
    """A channel that stores the reports of the process."""

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs = jobs
        self.finished: list[dict[str, Any]] = []

    def next_job(self) -> Job | None:
        return self._jobs.pop(0) if self._jobs else None

    def send_finished(self, **report: Any) -> None:
        self.finished.append(report)


def run_jobs(session: TrainerSession, *kinds: JobKind, family: str | None = "bandits") -> list[dict[str, Any]]:
    jobs = [Job(run_id=index, kind=kind, family=family, reason="test") for index, kind in enumerate(kinds)]
    channel = ReportChannel(jobs)
    TrainerProcess(session, channel).run()  # type: ignore[arg-type]
    return channel.finished


class FailingTasks:
    """Tasks of the real family whose worker fails at the third step."""

    def __init__(self, tasks: Any) -> None:
        self._tasks, self._steps = tasks, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tasks, name)

    def step(self, action: Tensor, active: Tensor) -> Transition:
        self._steps += 1
        if self._steps == 3:
            raise WorkerFaultError(subject="bandits", reason=FaultReason.KILLED, found="killed by signal 9")
        transition: Transition = self._tasks.step(action, active)
        return transition


def open_failing(spec: Any, *arguments: Any, **named: Any) -> Any:
    tasks = open_tasks(spec, *arguments, **named)
    return FailingTasks(tasks) if spec.name == "broken" else tasks


def train(session: TrainerSession, store: Store, updates: int) -> None:
    for _ in range(updates):
        practise(session, store.families.get("bandits"), reason="test")
