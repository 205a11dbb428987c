from __future__ import annotations

import pytest

from memory.errors import FamilyExistsError, FamilyNotFoundError
from memory.folder import DataFolder
from memory.records import FamilyState, FamilyTotals, JobKind, JobOutcome
from memory.store import Store
from tests.memory.making import Clock, add_active_family, make_step, make_tensors


def test_a_fed_family_is_pending_until_it_is_admitted(store: Store, clock: Clock) -> None:
    fed = store.families.add("cartpole", {"entry": "CartPole-v1"})
    assert (fed.state, fed.spaces, fed.random_return) == (FamilyState.PENDING, None, None)
    assert fed.created_at == clock.now
    admitted = store.families.admit("cartpole", spaces={"o": 1}, random_return=20.0, reference_return=None)
    assert admitted.state is FamilyState.ACTIVE
    assert (admitted.spaces, admitted.random_return, admitted.reference_return) == ({"o": 1}, 20.0, None)
    assert admitted.spec == {"entry": "CartPole-v1"}


def test_admission_may_replace_the_spec(store: Store) -> None:
    store.families.add("cartpole", {"entry": "a"})
    admitted = store.families.admit("cartpole", spaces={}, random_return=0.0, reference_return=1.0, spec={"entry": "b"})
    assert admitted.spec == {"entry": "b"}


def test_a_name_is_taken_until_its_family_is_removed(store: Store) -> None:
    store.families.add("cartpole", {})
    with pytest.raises(FamilyExistsError, match="cartpole"):
        store.families.add("cartpole", {})
    store.families.set_state("cartpole", FamilyState.REMOVED, reason="asked")
    with pytest.raises(FamilyNotFoundError):
        store.families.get("cartpole")
    store.families.add("cartpole", {})


def test_a_name_used_again_starts_anew(store: Store) -> None:
    add_active_family(store)
    store.learner_steps.commit(make_step(), make_tensors(), {})
    store.families.set_state("cartpole", FamilyState.REMOVED)
    add_active_family(store)
    assert store.families.get("cartpole").totals == FamilyTotals()
    assert store.curves.latest() == []
    assert store.trials.of_family("cartpole", limit=10) == []
    assert [family.state for family in store.families.all(with_removed=True)] == ["removed", "active"]


def test_a_name_used_again_inherits_no_counter_and_other_families_keep_theirs(store: Store) -> None:
    for name in ("cartpole", "pendulum"):
        add_active_family(store, name)
        store.families.record_strike(name, reason="hung", detail="")
    store.counters.add("job_runs", {"job": "practise"})
    store.families.set_state("cartpole", FamilyState.REMOVED)
    store.families.add("cartpole", {})
    assert store.families.get("cartpole").strikes == 0
    assert {tuple(counter.labels.values()) for counter in store.counters.all()} == {("pendulum", "hung"), ("practise",)}
    store.families.record_strike("cartpole", reason="hung", detail="")
    assert [c.value for c in store.counters.all() if c.labels.get("family") == "cartpole"] == [1]


def test_families_come_in_the_order_they_were_fed(store: Store) -> None:
    for name in ("b", "a", "c"):
        store.families.add(name, {})
    assert [family.name for family in store.families.all()] == ["b", "a", "c"]


def test_a_quarantine_has_an_end_and_no_other_state_has(store: Store) -> None:
    add_active_family(store)
    set_aside = store.families.set_state("cartpole", FamilyState.QUARANTINED, reason="3 strikes", quarantined_until=5.0)
    assert (set_aside.quarantined_until, set_aside.state_reason) == (5.0, "3 strikes")
    assert store.families.set_state("cartpole", FamilyState.ACTIVE).quarantined_until is None
    with pytest.raises(ValueError, match="quarantined_until"):
        store.families.set_state("cartpole", FamilyState.QUARANTINED)
    with pytest.raises(ValueError, match="quarantined_until"):
        store.families.set_state("cartpole", FamilyState.ACTIVE, quarantined_until=5.0)


def test_strikes_count_until_they_are_cleared_and_the_counter_goes_on(store: Store) -> None:
    add_active_family(store)
    assert store.families.record_strike("cartpole", reason="killed", detail="signal 9") == 1
    assert store.families.record_strike("cartpole", reason="killed", detail="signal 9") == 2
    assert store.families.get("cartpole").state_reason == "killed: signal 9"
    store.families.clear_strikes("cartpole")
    assert (store.families.get("cartpole").strikes, store.families.get("cartpole").state_reason) == (0, "")
    assert store.families.record_strike("cartpole", reason="killed", detail="") == 1
    assert ("worker_restarts", {"family": "cartpole", "reason": "killed"}, 3.0) in store.counters.all()


def test_clearing_no_strikes_writes_nothing(store: Store, folder: DataFolder) -> None:
    add_active_family(store)
    with Store.open(folder, is_reader=True) as reader:
        before = reader.data_version()
        store.families.clear_strikes("cartpole")
        assert reader.data_version() == before


@pytest.mark.parametrize("call", ["clear_strikes", "get"])
def test_an_unknown_family_is_named_in_the_error(store: Store, call: str) -> None:
    with pytest.raises(FamilyNotFoundError, match=r"lunar.*learnd env list"):
        getattr(store.families, call)("lunar")


def test_families_survive_reopening(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        add_active_family(store)
        before = store.families.all()
    with Store.open(folder) as store:
        assert store.families.all() == before


def test_text_that_is_not_utf8_is_kept_escaped(store: Store) -> None:
    add_active_family(store)
    reason = "a file named caf\udce9"
    assert (
        store.families.set_state("cartpole", FamilyState.PAUSED, reason=reason).state_reason
        == r"a file named caf\udce9"
    )
    assert store.families.record_strike("cartpole", reason="raised", detail=reason) == 1
    run = store.jobs.start(JobKind.PRACTISE, family="cartpole", reason=reason)
    store.jobs.finish(run, JobOutcome.FAILED, detail={"found": reason}, error=reason)
    assert store.jobs.runs(limit=1)[0].error == r"a file named caf\udce9"
