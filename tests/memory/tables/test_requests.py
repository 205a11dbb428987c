from __future__ import annotations

import pytest

from memory.errors import MemoryStoreError
from memory.folder import DataFolder
from memory.store import Store
from tests.memory.making import Clock


def test_a_request_is_taken_once_and_answered(store: Store, clock: Clock) -> None:
    asked = store.requests.add("run_job", {"kind": "backup"})
    (taken,) = store.requests.take()
    assert (taken.id, taken.kind, taken.payload, taken.created_at) == (asked, "run_job", {"kind": "backup"}, clock.now)
    assert store.requests.take() == []
    assert store.requests.status(asked).outcome is None
    store.requests.finish(asked, "started")
    store.requests.finish(asked, "started again")
    assert store.requests.status(asked).outcome == "started"


def test_a_request_in_the_hand_of_a_daemon_that_died_is_taken_again(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        ids = [store.requests.add("nudge", {"n": n}) for n in range(3)]
        assert len(store.requests.take()) == 3
        store.requests.finish(ids[0], "ok")
    with Store.open(folder) as store:
        assert [request.id for request in store.requests.take()] == ids[1:]


def test_a_request_from_another_process_is_noticed_by_the_data_version(store: Store, folder: DataFolder) -> None:
    before = store.data_version()
    store.counters.add("own", {})
    assert store.data_version() == before
    with Store.open(folder) as other:
        other.requests.add("nudge", {})
    assert store.data_version() != before
    assert len(store.requests.take()) == 1


def test_an_unknown_request_is_an_error(store: Store) -> None:
    with pytest.raises(MemoryStoreError, match="3"):
        store.requests.finish(3, "ok")


def test_the_daemons_status_is_the_last_it_wrote(store: Store, clock: Clock) -> None:
    assert store.daemon_status.get() is None
    store.daemon_status.set({"state": "starting"})
    clock.now += 1
    store.daemon_status.set({"state": "ready", "pid": 7})
    assert store.daemon_status.get() == {"state": "ready", "pid": 7, "written_at": clock.now}


def test_counters_go_on_after_a_restart_and_labels_have_no_order(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        store.counters.add("restarts", {"a": "1", "b": "2"})
    with Store.open(folder) as store:
        store.counters.add("restarts", {"b": "2", "a": "1"}, 2)
        assert store.counters.all() == [("restarts", {"a": "1", "b": "2"}, 3.0)]


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_a_counter_never_goes_backwards(store: Store, amount: float) -> None:
    with pytest.raises(ValueError, match="only grows"):
        store.counters.add("restarts", {}, amount)
