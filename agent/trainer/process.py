"""The trainer's main loop: receive one job at a time from the daemon, do it, and report the result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import structlog

from agent.messages import DUE, FOUND_NOTHING, Job
from agent.trainer.channel import Channel, ChannelClosedError
from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.jobs.admit import admit
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.jobs.evaluate import RUN_S, evaluate, families_due
from agent.trainer.jobs.practise import practise
from agent.trainer.plays import UnderWayError
from agent.trainer.session import TrainerSession
from memory.records import JobKind, JobOutcome

log = structlog.get_logger(__name__)

Result = tuple[JobOutcome, dict[str, Any]]


class TrainerProcess:
    """A loop that does the daemon's jobs until the daemon stops it or exits.

    Args:
        session: the trainer's state.
        channel: the connection to the daemon.
    """

    def __init__(self, session: TrainerSession, channel: Channel) -> None:
        self._session = session
        self._channel = channel
        channel.on_close_request = session.close_unwanted_tasks
        self._jobs: dict[JobKind, Callable[[Job], Result]] = {
            JobKind.ADMIT: self._admit,
            JobKind.PRACTISE: self._practise,
            JobKind.EVALUATE: self._evaluate,
            JobKind.CONSOLIDATE: lambda _job: consolidate(session),
            JobKind.CHECKPOINT: lambda _job: self._checkpoint(),
        }

    def run(self) -> None:
        """Do jobs until the daemon requests a stop or exits."""
        try:
            while (job := self._channel.next_job()) is not None:
                self._do(job)
        except ChannelClosedError:
            log.warning("the daemon has exited, stopping")

    def _do(self, job: Job) -> None:
        self._session.heartbeat.begin(job.run_id, str(job.kind))
        began = time.monotonic()
        num_changes = self._session.plays.num_changes
        detail: dict[str, Any] = {}
        error = ""
        try:
            outcome, detail = self._jobs[job.kind](job)
        except UnderWayError as under_way:
            outcome, detail = JobOutcome.SUCCEEDED, {"under_way": str(under_way)}
            if self._session.plays.num_changes == num_changes:
                detail[FOUND_NOTHING] = True
        except JobInterruptedError:
            outcome = JobOutcome.INTERRUPTED
        except ChannelClosedError:
            raise
        except Exception as failure:
            outcome, error = JobOutcome.FAILED, f"{type(failure).__name__}: {failure}"
            log.exception("job failed", job=str(job.kind), family=job.family)
            if job.kind in {JobKind.PRACTISE, JobKind.CONSOLIDATE}:  # both change the learner
                self._session.restore_last_commit()
        log.debug("job", job=str(job.kind), family=job.family, outcome=str(outcome), s=time.monotonic() - began)
        self._channel.send_finished(
            run_id=job.run_id, outcome=outcome, detail=detail, error=error, with_results=self._session.with_results()
        )

    def _admit(self, job: Job) -> Result:
        return admit(self._session, self._session.store.families.get(_named(job)))

    def _practise(self, job: Job) -> Result:
        return practise(self._session, self._session.store.families.get(_named(job)), reason=job.reason)

    def _evaluate(self, job: Job) -> Result:
        store = self._session.store
        families = [store.families.get(job.family)] if job.family else families_due(self._session)
        if not families:
            return JobOutcome.SKIPPED, {"reason": "no family is active, and no paused one is due"}
        report = evaluate(self._session, families, within_s=RUN_S if job.reason == DUE else math.inf)
        if report["scores"] or not report.get("faults"):
            return JobOutcome.SUCCEEDED, report
        return JobOutcome.FAILED, report | {"found": "; ".join(report["faults"].values())}

    def _checkpoint(self) -> Result:
        kept = self._session.store.checkpoints.keep_live(keep=self._session.settings.memory.keep_checkpoints)
        if kept is None:
            return JobOutcome.SKIPPED, {"reason": "nothing has been learned yet"}
        return JobOutcome.SUCCEEDED, {"learner_steps": kept.learner_steps, "size_bytes": kept.file.size_bytes}


def _named(job: Job) -> str:
    if job.family is None:
        raise ValueError(f"a job of kind {job.kind} needs a family, but it names none")
    return job.family
