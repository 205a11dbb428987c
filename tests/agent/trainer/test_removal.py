"""A removed family loses its worker at once, and leaves nothing to a family that takes its name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest

from agent.messages import CloseUnwanted, Stop, to_line
from agent.trainer.channel import Channel
from agent.trainer.faults import FamilyRemovedError
from agent.trainer.jobs.admit import admit
from agent.trainer.process import TrainerProcess
from envs.declaration import family_from_declaration
from envs.errors import EnvsError, FaultReason, WorkerFaultError
from envs.registry import open_tasks
from memory.errors import FamilyNotFoundError
from memory.records import Family, FamilyState, JobKind, JobOutcome
from memory.store import Store
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, practise
from tests.agent.trainer.running import run_jobs

POLE = family_from_declaration("CartPole-v1", name="pole", max_episode_steps=5, episodes_per_trial=1)


def add_pole(store: Store) -> Family:
    with_tasks = open_tasks(POLE, None, num_trials=1, device="cpu")
    spaces = with_tasks.spaces.to_json()
    with_tasks.close()
    store.families.add(POLE)
    return store.families.admit("pole", spaces=spaces, random_return=1.0, reference_return=None)


def remove(store: Store, name: str) -> None:
    store.families.set_state(name, FamilyState.REMOVED)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Channel]]:
    control, learner = socket.socketpair()
    channel = Channel(learner)
    yield control, channel
    control.close()
    channel.close()


@pytest.mark.parametrize("state", [FamilyState.REMOVED, FamilyState.PAUSED])
def test_an_idle_trainer_ends_the_worker_of_a_family_that_is_not_wanted_any_more(
    state: FamilyState, store: Store, open_session: SessionMaker, ends: tuple[socket.socket, Channel]
) -> None:
    session, (control, channel) = open_session(store), ends
    tasks: Any = session.environments.tasks_of(add_pole(store))
    worker = psutil.Process(tasks.pid)
    store.families.set_state("pole", state)
    control.sendall(to_line(CloseUnwanted()) + to_line(Stop()))
    TrainerProcess(session, channel).run()
    assert session.environments.open_families == set()
    assert not worker.is_running()


def test_a_request_during_a_job_ends_the_workers_of_removed_families_only(
    store: Store, open_session: SessionMaker
) -> None:
    session, pole, bandits = open_session(store), add_pole(store), feed_bandits(store)
    tasks = session.environments.tasks_of(pole)
    session.environments.tasks_of(bandits)
    remove(store, "pole")
    store.families.set_state("bandits", FamilyState.PAUSED)
    session.heartbeat.on_close_request()
    assert session.environments.open_families == {bandits.id}
    with pytest.raises(EnvsError, match="its worker is closed"):
        tasks.begin(0, split=0)  # type: ignore[arg-type]


def test_the_wait_for_a_step_of_a_removed_family_ends_with_an_error(store: Store, open_session: SessionMaker) -> None:
    session, pole = open_session(store), add_pole(store)
    session.environments.tasks_of(pole)
    remove(store, "pole")
    session.heartbeat.beat = lambda units=1: session.heartbeat.on_close_request()  # type: ignore[method-assign]
    with pytest.raises(FamilyRemovedError):
        session.wait_for(pole)
    assert session.environments.open_families == {pole.id}, "the wait closes nothing that it is in the middle of"


def test_no_worker_is_started_for_a_removed_family(store: Store, open_session: SessionMaker) -> None:
    session, pole = open_session(store), add_pole(store)
    remove(store, "pole")
    with pytest.raises(FamilyRemovedError):
        session.environments.tasks_of(pole)
    assert session.environments.open_families == set()


def test_a_slice_of_a_family_that_is_removed_meanwhile_is_skipped(store: Store, open_session: SessionMaker) -> None:
    class RemovedMeanwhile:
        def __init__(self, tasks: Any) -> None:
            self._tasks = tasks

        def __getattr__(self, name: str) -> Any:
            return getattr(self._tasks, name)

        def step(self, *_: Any) -> Any:
            remove(store, "pole")
            store.families.add(POLE)
            raise FamilyRemovedError(operation="working", subject="pole", found="it was removed.")

    pole = add_pole(store)
    session = open_session(store, opener=lambda *a, **n: RemovedMeanwhile(open_tasks(*a, **n)))
    [report] = run_jobs(session, JobKind.PRACTISE, family="pole")
    assert (report["outcome"], report["detail"]) == (JobOutcome.SKIPPED, {"reason": "pole was removed"})
    assert session.environments.open_families == set()
    again = store.families.get("pole")
    assert (again.id != pole.id, again.strikes, again.state) == (True, 0, FamilyState.PENDING)


def test_practice_of_a_removed_family_is_not_recorded_for_the_next_of_its_name(
    store: Store, open_session: SessionMaker
) -> None:
    session, bandits = open_session(store), feed_bandits(store)
    practise(session, bandits, reason="test")
    remove(store, "bandits")
    feed_bandits(store)
    with pytest.raises(FamilyNotFoundError):
        practise(session, bandits, reason="test")
    assert store.families.get("bandits").totals.meta_updates == 0
    assert store.curves.latest() == []


def test_a_fault_of_a_removed_family_is_no_strike_of_the_next_of_its_name(
    store: Store, open_session: SessionMaker
) -> None:
    session, bandits = open_session(store), feed_bandits(store)
    remove(store, "bandits")
    feed_bandits(store)
    fault = WorkerFaultError(subject="bandits", reason=FaultReason.KILLED, found="killed")
    assert session.faults.record(bandits, fault) == 0
    assert store.families.get("bandits").strikes == 0


@pytest.mark.parametrize("entry", ["CartPole-v1", "Nothing-v0"])
def test_the_admission_of_a_removed_family_says_nothing_about_the_next_of_its_name(
    entry: str, store: Store, open_session: SessionMaker
) -> None:
    session = open_session(store)
    first = store.families.add(replace(POLE, entry=entry))
    remove(store, "pole")
    store.families.add(POLE)
    outcome, detail = admit(session, first)
    assert (outcome, detail) == (JobOutcome.SKIPPED, {"reason": "pole was removed"})
    assert store.families.get("pole").state is FamilyState.PENDING
