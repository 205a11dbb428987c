from __future__ import annotations

import pytest

from memory.errors import MemoryStoreError
from memory.folder import DataFolder
from memory.store import Store
from tests.memory.making import Clock


def test_a_request_is_taken_once_and_answered(store: Store, clock: Clock) -> None:
    asked = store.request("run_job", {"kind": "backup"})
    (taken,) = store.take_requests()
    assert (taken.id, taken.kind, taken.payload, taken.created_at) == (asked, "run_job", {"kind": "backup"}, clock.now)
    assert store.take_requests() == []
    assert store.request_status(asked).outcome is None
    store.finish_request(asked, "started")
    store.finish_request(asked, "started again")
    assert store.request_status(asked).outcome == "started"


def test_a_request_in_the_hand_of_a_daemon_that_died_is_taken_again(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        ids = [store.request("nudge", {"n": n}) for n in range(3)]
        assert len(store.take_requests()) == 3
        store.finish_request(ids[0], "ok")
    with Store.open(folder) as store:
        assert [request.id for request in store.take_requests()] == ids[1:]


def test_a_request_from_another_process_is_noticed_by_the_data_version(store: Store, folder: DataFolder) -> None:
    before = store.data_version()
    store.add_to_counter("own", {})
    assert store.data_version() == before
    with Store.open(folder) as other:
        other.request("nudge", {})
    assert store.data_version() != before
    assert len(store.take_requests()) == 1


def test_an_unknown_request_is_an_error(store: Store) -> None:
    with pytest.raises(MemoryStoreError, match="3"):
        store.finish_request(3, "ok")


def test_the_daemons_status_is_the_last_it_wrote(store: Store, clock: Clock) -> None:
    assert store.daemon_status() is None
    store.set_daemon_status({"state": "starting"})
    clock.now += 1
    store.set_daemon_status({"state": "ready", "pid": 7})
    assert store.daemon_status() == {"state": "ready", "pid": 7, "written_at": clock.now}


def test_counters_go_on_after_a_restart_and_labels_have_no_order(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        store.add_to_counter("restarts", {"a": "1", "b": "2"})
    with Store.open(folder) as store:
        store.add_to_counter("restarts", {"b": "2", "a": "1"}, 2)
        assert store.counters() == [("restarts", {"a": "1", "b": "2"}, 3.0)]


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_a_counter_never_goes_backwards(store: Store, amount: float) -> None:
    with pytest.raises(ValueError, match="only grows"):
        store.add_to_counter("restarts", {}, amount)
