"""The supervisor beside the settings: a trainer that was claimed for a job is restarted after it, not before."""

from __future__ import annotations

from typing import Any

from agent.config.settings import LearnerSettings
from agent.daemon.processes.supervisor import Supervisor, TrainerState
from agent.messages import Stop, parse_line
from tests.agent.daemon.clocks import FakeClock


class _Written:
    """The lines that the daemon wrote to the trainer."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)


async def _never() -> None:
    raise AssertionError("no trainer is started here")


def idle_supervisor() -> tuple[Supervisor, _Written]:
    """Return a supervisor whose trainer is idle, and what it writes to it."""

    async def exited(_: object) -> None:
        await _never()

    supervisor = Supervisor(
        ["unused"],
        environment={},
        settings=LearnerSettings(),
        clock=FakeClock(),
        on_exit=exited,
        on_change=lambda: None,
        before_start=_never,
    )
    written = _Written()
    trainer: Any = written
    supervisor._process = supervisor._writer = trainer
    supervisor.state = TrainerState.IDLE
    return supervisor, written


def test_a_claimed_trainer_is_restarted_for_new_settings_only_after_its_release() -> None:
    supervisor, written = idle_supervisor()
    assert supervisor.claim()
    supervisor.use(LearnerSettings(), {}, needs_trainer=True)
    assert (supervisor.state, written.lines) == (TrainerState.BUSY, [])
    supervisor.release()
    assert supervisor.state is TrainerState.STARTING
    assert [parse_line(line) for line in written.lines] == [Stop()]


def test_a_trainer_that_restarts_for_new_settings_cannot_be_claimed() -> None:
    supervisor, _ = idle_supervisor()
    supervisor.use(LearnerSettings(), {}, needs_trainer=True)
    assert not supervisor.claim()
    supervisor.release()
    assert supervisor.state is TrainerState.STARTING
