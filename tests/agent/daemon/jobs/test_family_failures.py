from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.config.worker_settings import WorkersSettings
from agent.daemon.jobs.family_failures import EXITS_TO_SET_ASIDE, FamilyFailures
from agent.daemon.jobs.runs import RunResult
from agent.daemon.jobs.store_updates import state_setter
from agent.daemon.scheduling.next_job import FIRST_COOL_DOWN_S, Work
from agent.daemon.store.retrying_writer import RetryingWriter
from agent.daemon.store.thread import StoreThread
from memory.folder import DataFolder
from memory.records import Family, FamilyState, JobKind, JobOutcome
from memory.store import Store
from tests.agent.daemon.clocks import FakeClock
from tests.memory.making import add_active_family

PRACTISE = Work(kind=JobKind.PRACTISE, family="cartpole", reason="chosen")
EXIT = RunResult(outcome=JobOutcome.INTERRUPTED, error="signal 9", is_trainer_exit=True)
SUCCESS = RunResult(outcome=JobOutcome.SUCCEEDED)
FAILURE = RunResult(outcome=JobOutcome.FAILED, error="it failed")
UNDER_WAY = RunResult(outcome=JobOutcome.SUCCEEDED, detail={"under_way": "rollout goes on in the background"})


def family_after(
    folder: Path,
    use: Callable[[FamilyFailures, FakeClock], Awaitable[None]],
    *,
    state: FamilyState = FamilyState.ACTIVE,
) -> Family:
    """Return the family as it is in the store after some results were noted."""

    async def run() -> Family:
        clock = FakeClock()
        thread = StoreThread("writer", lambda: Store.open(DataFolder(folder / "data"), clock=clock.wall))
        await thread.open()
        try:
            await thread.call(add_active_family)
            await thread.call(lambda store: store.families.set_state("cartpole", state))
            writer = RetryingWriter(thread, is_stopping=lambda: False, on_full=lambda: None)
            await use(FamilyFailures(WorkersSettings(), writer, clock), clock)
            [family] = await thread.call(lambda store: store.families.all(with_removed=True))
            return family
        finally:
            await thread.close()

    return asyncio.run(run())


def test_exits_of_the_trainer_in_a_row_quarantine_the_family(tmp_path: Path) -> None:
    async def use(failures: FamilyFailures, _: FakeClock) -> None:
        for _exit in range(EXITS_TO_SET_ASIDE):
            await failures.note(PRACTISE, "cartpole", EXIT, is_stopping=False)

    family = family_after(tmp_path, use)
    assert family.state is FamilyState.QUARANTINED
    assert "signal 9" in family.state_reason


def test_a_success_between_exits_keeps_the_family_active(tmp_path: Path) -> None:
    async def use(failures: FamilyFailures, _: FakeClock) -> None:
        for _exit in range(EXITS_TO_SET_ASIDE - 1):
            await failures.note(PRACTISE, "cartpole", EXIT, is_stopping=False)
        await failures.note(PRACTISE, "cartpole", SUCCESS, is_stopping=False)
        await failures.note(PRACTISE, "cartpole", EXIT, is_stopping=False)

    assert family_after(tmp_path, use).state is FamilyState.ACTIVE


def test_a_family_waits_after_a_failure_but_not_after_one_of_a_daemon_that_stops(tmp_path: Path) -> None:
    async def use(failures: FamilyFailures, clock: FakeClock) -> None:
        await failures.note(PRACTISE, "cartpole", FAILURE, is_stopping=True)
        assert failures.allows(JobKind.PRACTISE, "cartpole")
        await failures.note(PRACTISE, "cartpole", FAILURE, is_stopping=False)
        assert not failures.allows(JobKind.PRACTISE, "cartpole")
        clock.advance(3600)
        assert failures.allows(JobKind.PRACTISE, "cartpole")

    family_after(tmp_path, use)


@pytest.mark.parametrize(("share", "state"), [(0.5, FamilyState.QUARANTINED), (1.0, FamilyState.ACTIVE)])
def test_a_quarantine_ends_when_its_time_is_over_and_not_before(
    tmp_path: Path, share: float, state: FamilyState
) -> None:
    async def use(failures: FamilyFailures, clock: FakeClock) -> None:
        for _exit in range(EXITS_TO_SET_ASIDE):
            await failures.note(PRACTISE, "cartpole", EXIT, is_stopping=False)
        clock.advance(share * WorkersSettings().quarantine_max_s)
        await failures.review(clock.wall())

    assert family_after(tmp_path, use).state is state


def test_pauses_grow_with_each_failure_although_rollouts_go_on_in_the_background_in_between(tmp_path: Path) -> None:
    pauses: list[float] = []

    async def use(failures: FamilyFailures, clock: FakeClock) -> None:
        for _failure in range(4):
            await failures.note(PRACTISE, "cartpole", UNDER_WAY, is_stopping=False)
            await failures.note(PRACTISE, "cartpole", FAILURE, is_stopping=False)
            pauses.append(0.0)
            while not failures.allows(JobKind.PRACTISE, "cartpole"):
                clock.advance(0.25)
                pauses[-1] += 0.25

    family_after(tmp_path, use)
    assert pauses == [0.25, 0.5, 1.0, 2.0]


@pytest.mark.parametrize("state", [FamilyState.PAUSED, FamilyState.REFUSED, FamilyState.REMOVED])
def test_a_family_that_comes_back_does_not_wait_for_its_earlier_failures(tmp_path: Path, state: FamilyState) -> None:
    async def use(failures: FamilyFailures, clock: FakeClock) -> None:
        for _failure in range(10):
            await failures.note(PRACTISE, "cartpole", FAILURE, is_stopping=False)
        await failures.review(clock.wall())
        assert not failures.allows(JobKind.PRACTISE, "cartpole"), "it is active"
        await failures._store.write(state_setter("cartpole", state, "set by hand"))
        await failures.review(clock.wall())
        assert failures.allows(JobKind.PRACTISE, "cartpole")

    family_after(tmp_path, use)


def test_an_admission_that_goes_on_is_asked_for_again_after_the_shortest_pause(tmp_path: Path) -> None:
    admit = Work(kind=JobKind.ADMIT, family="cartpole", reason="added")

    async def use(failures: FamilyFailures, clock: FakeClock) -> None:
        for _poll in range(5):
            await failures.note(admit, "cartpole", UNDER_WAY, is_stopping=False)
            assert not failures.allows(JobKind.ADMIT, "cartpole")
            clock.advance(FIRST_COOL_DOWN_S)
            assert failures.allows(JobKind.ADMIT, "cartpole")

    family_after(tmp_path, use, state=FamilyState.PENDING)
