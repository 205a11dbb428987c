"""Tests of the family boundary: an error of one family does not stop the others, and the trainer's own errors pass."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import structlog
import torch

from agent.errors import ChannelError
from agent.trainer.channel import ChannelClosedError
from agent.trainer.checkpoint_damage import IncompatibleCheckpointError
from agent.trainer.faults import (
    MAX_REASON_CHARS,
    UnexpectedFamilyError,
    family_boundary,
)
from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.jobs.admit import admit
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.jobs.evaluate import evaluate
from agent.trainer.session import TrainerSession
from envs.errors import FaultReason, WorkerFaultError
from envs.registry import open_tasks
from memory.errors import StoreBusyError, StoreFullError
from memory.records import CurveMetric, Family, FamilyState, JobKind, JobOutcome
from memory.store import Store
from tests.agent.trainer.conftest import BANDITS, SessionMaker, feed_bandits, practise
from tests.agent.trainer.running import run_jobs
from tests.memory.making import rewrite_spec

Raiser = Callable[[], BaseException]


def _full() -> StoreFullError:
    return StoreFullError(operation="writing", subject="the store", found="the disk is full.")


def _busy() -> StoreBusyError:
    return StoreBusyError(operation="writing", subject="the store", found="another process holds the lock.")


FAMILY_ERRORS: list[Raiser] = [
    lambda: KeyError("There is no item named 'sides3/0.png' in the archive"),
    lambda: ValueError("bad\nvalue"),
    lambda: RuntimeError("shape mismatch"),
    ZeroDivisionError,
    lambda: RecursionError("too deep"),
    lambda: PermissionError(errno.EACCES, "not permitted"),
    lambda: AssertionError("never"),
    StopIteration,
]
TRAINER_ERRORS: list[Raiser] = [
    _full,
    _busy,
    JobInterruptedError,
    ChannelClosedError,
    lambda: ChannelError(operation="hearing", subject="control", found="nonsense"),
    lambda: IncompatibleCheckpointError("another shape"),
    lambda: torch.OutOfMemoryError("CUDA out of memory"),
    lambda: torch.AcceleratorError("CUDA error: device-side assert"),
    MemoryError,
    lambda: OSError(errno.EMFILE, "Too many open files"),
    lambda: OSError(errno.ENOSPC, "No space left on device"),
]


def _opener(broken: str, error: Raiser) -> Callable[..., Any]:
    def open_some(spec: Any, *arguments: Any, **named: Any) -> Any:
        if spec.name == broken:
            raise error()
        return open_tasks(spec, *arguments, **named)

    return open_some


def _session(
    store: Store, open_session: SessionMaker, error: Raiser, *, broken: str = "broken"
) -> tuple[TrainerSession, list[Family]]:
    families = [feed_bandits(store, "broken"), feed_bandits(store, "sound")]
    return open_session(store, opener=_opener(broken, error)), families


def _practised(store: Store, open_session: SessionMaker) -> list[Family]:
    """Return two families that a session without faults has practised."""
    families = [feed_bandits(store, "broken"), feed_bandits(store, "sound")]
    session = open_session(store)
    for family in families:
        practise(session, family, reason="test")
    return families


@pytest.mark.parametrize("error", FAMILY_ERRORS)
def test_the_boundary_makes_an_error_of_a_family_out_of_whatever_it_raises(store: Store, error: Raiser) -> None:
    family = feed_bandits(store)
    raised = error()
    with pytest.raises(UnexpectedFamilyError, match=type(raised).__name__) as told, family_boundary(family):
        raise raised
    assert told.value.__cause__ is raised
    assert told.value.subject == "bandits"


@pytest.mark.parametrize("error", TRAINER_ERRORS)
def test_the_boundary_passes_the_trainers_own_errors_on(store: Store, error: Raiser) -> None:
    raised = error()
    with pytest.raises(type(raised)) as told, family_boundary(feed_bandits(store)):
        raise raised
    assert told.value is raised


def test_the_boundary_passes_a_worker_fault_on(store: Store) -> None:
    fault = WorkerFaultError(subject="bandits", reason=FaultReason.HUNG, found="it did not answer within 1 s.")
    with pytest.raises(WorkerFaultError) as told, family_boundary(feed_bandits(store)):
        raise fault
    assert told.value is fault


@pytest.mark.parametrize("error", FAMILY_ERRORS)
def test_whatever_one_family_raises_the_others_are_evaluated(
    store: Store, open_session: SessionMaker, error: Raiser
) -> None:
    session, families = _session(store, open_session, error)
    report = evaluate(session, families)
    assert report["scores"].keys() == {"sound"}
    assert report["faults"].keys() == {"broken"}
    broken = store.families.get("broken")
    assert broken.strikes == 1
    assert type(error()).__name__ in broken.state_reason
    assert store.families.get("sound").strikes == 0
    assert store.curves.points("sound", CurveMetric.EVAL_SCORE)
    (counted,) = [c for c in store.counters.all() if c.name == "worker_restarts"]
    assert (counted.labels, counted.value) == ({"family": "broken", "reason": "raised"}, 1)


def test_a_row_of_a_family_that_cannot_be_read_stops_no_other_family(store: Store, open_session: SessionMaker) -> None:
    feed_bandits(store, "torn")
    rewrite_spec(store, "torn", '{"name": "torn", "source": "nowhere"}')
    families = [store.families.get("torn"), feed_bandits(store)]
    assert evaluate(open_session(store), families)["scores"].keys() == {"bandits"}
    assert store.families.get("torn").strikes == 1


@pytest.mark.parametrize("error", TRAINER_ERRORS[:1] + TRAINER_ERRORS[6:])
def test_the_trainers_own_error_costs_no_family_a_strike(
    store: Store, open_session: SessionMaker, error: Raiser
) -> None:
    session, families = _session(store, open_session, error)
    with pytest.raises(type(error())):
        evaluate(session, families)
    assert [store.families.get(name).strikes for name in ("broken", "sound")] == [0, 0]
    (report,) = run_jobs(session, JobKind.PRACTISE, family="broken")
    assert report["outcome"] is JobOutcome.FAILED
    assert store.families.get("broken").strikes == 0


def test_an_unexpected_error_in_practice_is_a_strike_and_the_state_is_that_of_the_last_commit(
    store: Store, open_session: SessionMaker
) -> None:
    session, _ = _session(store, open_session, lambda: KeyError("gone"))
    before = session.learner.to_tensors()
    (report,) = run_jobs(session, JobKind.PRACTISE, family="broken")
    assert (report["outcome"], report["detail"]["fault"], report["detail"]["strikes"]) == (
        JobOutcome.FAILED,
        "raised",
        1,
    )
    after = session.learner.to_tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_unexpected_errors_in_a_row_quarantine_the_family(store: Store, open_session: SessionMaker) -> None:
    session, _ = _session(store, open_session, lambda: KeyError("gone"))
    run_jobs(session, *[JobKind.PRACTISE] * 5, family="broken")
    assert store.families.get("broken").state is FamilyState.QUARANTINED
    assert "KeyError: 'gone'" in store.families.get("broken").state_reason


def test_consolidation_gives_the_family_that_raises_the_strike_and_waits_for_it(
    store: Store, open_session: SessionMaker
) -> None:
    _practised(store, open_session)
    session = open_session(store, opener=_opener("broken", lambda: KeyError("gone")))
    outcome, detail = consolidate(session)
    assert outcome is JobOutcome.SKIPPED
    assert "broken could not be scored: KeyError: 'gone'" in detail["reason"]
    assert (store.families.get("broken").strikes, store.families.get("sound").strikes) == (1, 0)


def test_consolidation_goes_on_without_a_family_that_its_errors_put_in_quarantine(
    store: Store, open_session: SessionMaker
) -> None:
    _practised(store, open_session)
    session = open_session(store, opener=_opener("broken", lambda: KeyError("gone")))
    for _ in range(5):
        assert consolidate(session)[0] is JobOutcome.SKIPPED
    outcome, detail = consolidate(session)
    assert (outcome, detail["outcome"]) == (JobOutcome.SUCCEEDED, "published")
    assert detail["scores"].keys() == {"sound"}


def test_an_unexpected_error_at_admission_refuses_the_family_with_the_reason(
    store: Store, open_session: SessionMaker
) -> None:
    store.families.add(replace(BANDITS, name="torn", kwargs={"num_arms": "three"}))
    outcome, detail = admit(open_session(store), store.families.get("torn"))
    assert (outcome, detail["state"]) == (JobOutcome.SUCCEEDED, "refused")
    family = store.families.get("torn")
    assert (family.state, family.strikes) == (FamilyState.REFUSED, 1)
    assert "'three'" in family.state_reason


def test_an_unreadable_spec_at_admission_refuses_the_family_without_a_strike(
    store: Store, open_session: SessionMaker
) -> None:
    store.families.add(replace(BANDITS, name="torn"))
    rewrite_spec(store, "torn", json.dumps(BANDITS.to_json() | {"name": "torn", "source": "nowhere"}))
    outcome, detail = admit(open_session(store), store.families.get("torn"))
    assert (outcome, detail["state"]) == (JobOutcome.SUCCEEDED, "refused")
    assert "does not know its source, 'nowhere'" in detail["reason"]
    assert store.families.get("torn").strikes == 0


def test_a_job_in_which_the_only_family_fails_does_not_report_success(store: Store, open_session: SessionMaker) -> None:
    session, _ = _session(store, open_session, lambda: KeyError("gone"))
    asked, all_families = (run_jobs(session, JobKind.EVALUATE, family=name)[0] for name in ("broken", None))
    assert (asked["outcome"], all_families["outcome"]) == (JobOutcome.FAILED, JobOutcome.SUCCEEDED)
    assert "KeyError: 'gone'" in asked["detail"]["found"]
    assert all_families["detail"]["scores"].keys() == {"sound"}


def test_the_reason_for_people_is_one_short_line_and_the_log_has_the_traceback(
    store: Store, open_session: SessionMaker
) -> None:
    family = feed_bandits(store)
    session = open_session(store)
    traceback = 'Traceback (most recent call last):\n  File "simulator.py", line 3, in step\nValueError: no'
    fault = WorkerFaultError(
        subject="bandits", reason=FaultReason.RAISED, found="ValueError: no\n" + "x" * 5000, detail=traceback
    )
    with structlog.testing.capture_logs() as logged:
        session.faults.record(family, fault)
    reason = store.families.get("bandits").state_reason
    assert reason.startswith("raised: ValueError: no xxx")
    assert len(reason) <= MAX_REASON_CHARS + len("raised: ")
    assert not {"\n", "Traceback"} & {part for part in ("\n", "Traceback") if part in reason}
    assert [entry["detail"] for entry in logged if entry["event"] == "family fault"] == [traceback]


def test_an_unexpected_error_is_logged_once_with_its_traceback(store: Store, open_session: SessionMaker) -> None:
    session, families = _session(store, open_session, lambda: KeyError("gone"))
    with structlog.testing.capture_logs() as logged:
        evaluate(session, families)
    told = [entry for entry in logged if entry.get("family") == "broken"]
    assert [entry["event"] for entry in told] == ["family fault"]
    assert isinstance(told[0]["exc_info"], KeyError)
    assert told[0]["exc_info"].__traceback__ is not None


class _Unclosable:
    """Tasks whose worker fails and whose ``close`` raises."""

    def __init__(self, tasks: Any) -> None:
        self._tasks = tasks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tasks, name)

    def begin(self, *_: Any, **__: Any) -> Any:
        raise KeyError("gone")

    def close(self) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")


def test_tasks_that_cannot_be_closed_keep_no_strike_from_being_recorded(
    store: Store, open_session: SessionMaker
) -> None:
    families = [feed_bandits(store, "broken"), feed_bandits(store, "sound")]

    def open_some(spec: Any, *arguments: Any, **named: Any) -> Any:
        tasks = open_tasks(spec, *arguments, **named)
        return _Unclosable(tasks) if spec.name == "broken" else tasks

    assert evaluate(open_session(store, opener=open_some), families)["scores"].keys() == {"sound"}
    assert store.families.get("broken").strikes == 1
