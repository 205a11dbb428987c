"""The dispatcher's watch continues after an unexpected error; a poll that found nothing leaves no row."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import structlog

from agent.config.settings import Settings
from agent.daemon.jobs import dispatcher as module
from agent.daemon.jobs.dispatcher import Dispatcher
from agent.daemon.jobs.runs import Lane
from agent.daemon.processes.supervisor import TrainerState
from agent.daemon.store.thread import StoreThread
from agent.job_requests import RUN_JOB, payload_of
from agent.messages import FOUND_NOTHING, Finished, Job
from memory.folder import DataFolder
from memory.records import JobKind, JobOutcome, JobRun
from memory.store import Store
from tests.agent.daemon.clocks import FakeClock
from tests.memory.making import add_active_family


class _Stumbling(Dispatcher):
    """A dispatcher whose first three checks fail."""

    looks = 0

    async def _look(self) -> None:
        self.looks += 1
        if self.looks <= 3:
            raise KeyError("a row of an unknown form")


def _dispatcher(folder: Path, clock: FakeClock) -> _Stumbling:
    unused: Any = None
    return _Stumbling(
        settings=Settings(data_dir=folder),
        folder=DataFolder(folder),
        writer=unused,
        supervisor=unused,
        clock=clock,
        snapshot=lambda: None,
        on_change=lambda: None,
    )


def test_an_unexpected_error_does_not_end_the_watch_and_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.001)

    async def watch() -> tuple[float, float]:
        clock = FakeClock()
        dispatcher = _dispatcher(tmp_path, clock)
        clock.advance(10)
        watching = asyncio.create_task(dispatcher.watch())
        while dispatcher.looks < 3:
            await asyncio.sleep(0.001)
        stuck_at = dispatcher.last_look_at
        while dispatcher.looks < 6:
            await asyncio.sleep(0.001)
        watching.cancel()
        return stuck_at, dispatcher.last_look_at

    with structlog.testing.capture_logs() as logged:
        stuck_at, looked_at = asyncio.run(watch())
    assert [entry["event"] for entry in logged] == ["requests and due times cannot be checked; retrying"]
    assert (stuck_at, looked_at) == (0.0, 10.0)


BEGUN = {"under_way": "rollout goes on in the background, 3.0 s so far"}
"""The detail of a job that began a play."""

NOTHING = {**BEGUN, FOUND_NOTHING: True}
"""The detail of a job that asked for the result of a play that goes on."""


class _Trainer:
    """A trainer that reports the given details, one a job, and then has the dispatcher stopped."""

    state = TrainerState.IDLE

    def __init__(self, details: list[dict[str, Any]], claims: list[bool]) -> None:
        self._details, self._claims = details, claims
        self.dispatcher: Dispatcher | None = None

    def claim(self) -> bool:
        return self._claims.pop(0) if self._claims else True

    def release(self) -> None:
        pass

    async def do(self, job: Job) -> Finished:
        detail = self._details.pop(0)
        if not self._details and self.dispatcher is not None:
            self.dispatcher.stop()
        return Finished(run_id=job.run_id, outcome=JobOutcome.SUCCEEDED, detail=detail, error="")


def runs_after(
    folder: Path, details: list[dict[str, Any]], *, is_requested: bool = False, claims: list[bool] | None = None
) -> list[JobRun]:
    """Return the runs in the store, oldest first, after jobs of one family that the trainer reported like this.

    Args:
        folder: where the store is made.
        details: what the trainer reports, one for each job.
        is_requested: whether a user requested the first job.
        claims: whether the trainer could be claimed, for the first jobs; later ones can.
    """

    async def run() -> list[JobRun]:
        clock, data, trainer = FakeClock(), DataFolder(folder / "data"), _Trainer(details, claims or [])
        thread = StoreThread("writer", lambda: Store.open(data, clock=clock.wall))
        await thread.open()
        try:
            await thread.call(add_active_family)
            unknown: Any = trainer
            trainer.dispatcher = Dispatcher(
                settings=Settings(data_dir=data.path),
                folder=data,
                writer=thread,
                supervisor=unknown,
                clock=clock,
                snapshot=lambda: None,
                on_change=lambda: None,
            )
            if is_requested:
                [family] = await thread.call(lambda store: store.families.all())
                await thread.call(lambda store: store.requests.add(RUN_JOB, payload_of(JobKind.PRACTISE, family.name)))
                await trainer.dispatcher._requests.take()
            await trainer.dispatcher.lane(Lane.TRAINER)
            return (await thread.call(lambda store: store.jobs.runs(kind=JobKind.PRACTISE)))[::-1]
        finally:
            await thread.close()

    return asyncio.run(run())


def test_a_poll_of_a_play_that_goes_on_leaves_no_row(tmp_path: Path) -> None:
    runs = runs_after(tmp_path, [BEGUN, NOTHING, NOTHING, {"env_steps": 5}, NOTHING])
    assert [run.detail for run in runs] == [BEGUN, {"env_steps": 5}]
    assert all(run.outcome is JobOutcome.SUCCEEDED for run in runs)


def test_a_poll_that_a_user_requested_keeps_its_row(tmp_path: Path) -> None:
    runs = runs_after(tmp_path, [NOTHING, NOTHING], is_requested=True)
    assert [(run.reason, run.detail) for run in runs] == [("requested", NOTHING)]


def test_a_job_for_which_the_trainer_is_no_longer_idle_leaves_no_row(tmp_path: Path) -> None:
    runs = runs_after(tmp_path, [{"env_steps": 5}], claims=[False, False, True])
    assert [(run.outcome, run.detail) for run in runs] == [(JobOutcome.SUCCEEDED, {"env_steps": 5})]
