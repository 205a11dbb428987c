from __future__ import annotations

import json

import pytest

from envs.errors import FamilySpecError
from envs.pace import Pace
from memory.errors import FamilyExistsError, FamilyNotFoundError
from memory.folder import DataFolder
from memory.records import FamilyState, FamilyTotals, JobKind, JobOutcome, Quarantine
from memory.store import Store
from memory.tables import quarantines
from tests.memory.making import Clock, add_active_family, make_spec, make_step, make_tensors, rewrite_spec


def test_a_fed_family_is_pending_until_it_is_admitted(store: Store, clock: Clock) -> None:
    fed = store.families.add(make_spec())
    assert (fed.state, fed.spaces, fed.random_return) == (FamilyState.PENDING, None, None)
    assert fed.created_at == clock.now
    admitted = store.families.admit("cartpole", spaces={"o": 1}, random_return=20.0, reference_return=None)
    assert admitted.state is FamilyState.ACTIVE
    assert (admitted.spaces, admitted.random_return, admitted.reference_return) == ({"o": 1}, 20.0, None)
    assert admitted.spec == make_spec()


def test_the_speed_of_a_familys_environment_is_recorded(store: Store) -> None:
    add_active_family(store)
    assert store.families.get("cartpole").pace is None
    pace = Pace(longest_step_s=0.5, longest_reset_s=2.0, steps_per_s=61.0)
    store.families.record_pace("cartpole", pace)
    assert store.families.get("cartpole").pace == pace


def test_a_speed_that_cannot_be_read_counts_as_unknown(store: Store) -> None:
    add_active_family(store)
    for text in ("{", "3", '["fast"]'):
        with store._connection.transaction("writing nonsense"):
            store._connection.execute("UPDATE families SET pace = ?", (text,))
        assert store.families.get("cartpole").pace is None


def test_admission_may_replace_the_spec(store: Store) -> None:
    store.families.add(make_spec())
    measured = make_spec(reference_source="Gymnasium's reward threshold")
    admitted = store.families.admit("cartpole", spaces={}, random_return=0.0, reference_return=1.0, spec=measured)
    assert admitted.spec == measured


def test_a_name_is_taken_until_its_family_is_removed(store: Store) -> None:
    store.families.add(make_spec("cartpole"))
    with pytest.raises(FamilyExistsError, match="cartpole"):
        store.families.add(make_spec("cartpole"))
    store.families.set_state("cartpole", FamilyState.REMOVED, reason="asked")
    with pytest.raises(FamilyNotFoundError):
        store.families.get("cartpole")
    store.families.add(make_spec("cartpole"))


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
    store.families.add(make_spec("cartpole"))
    assert store.families.get("cartpole").strikes == 0
    assert {tuple(counter.labels.values()) for counter in store.counters.all()} == {("pendulum", "hung"), ("practise",)}
    store.families.record_strike("cartpole", reason="hung", detail="")
    assert [c.value for c in store.counters.all() if c.labels.get("family") == "cartpole"] == [1]


def test_families_come_in_the_order_they_were_fed(store: Store) -> None:
    for name in ("b", "a", "c"):
        store.families.add(make_spec(name))
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


OTHER = {"name": "cartpole", "source": "gymnasium", "entry": "CartPole-v1"}
UNREADABLE = {
    "a source of a newer version": (json.dumps(OTHER | {"source": "quantum"}), "does not know its source, 'quantum'"),
    "a field of a newer version": (json.dumps(OTHER | {"curriculum": 1}), "does not know its curriculum"),
    "a missing field": ('{"name": "cartpole"}', "it has no entry, source"),
    "another type": (json.dumps(OTHER | {"episodes_per_trial": "3"}), "its episodes_per_trial is '3'"),
    "no object": ("[]", "it is an array"),
    "no JSON": ('{"name":', "it is not JSON"),
}


@pytest.mark.parametrize(("text", "found"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_family_with_an_unreadable_spec_is_refused_with_the_reason_and_the_others_are_read(
    store: Store, text: str, found: str
) -> None:
    add_active_family(store)
    add_active_family(store, "pendulum")
    rewrite_spec(store, "cartpole", text)
    unreadable, sound = store.families.all()
    assert (unreadable.state, unreadable.is_damaged, unreadable.spaces) == (FamilyState.REFUSED, False, None)
    assert unreadable.state_reason.startswith("its spec cannot be read: ")
    assert found in unreadable.state_reason
    assert (sound.state, sound.spec) == (FamilyState.ACTIVE, make_spec("pendulum"))
    assert store.families.get("cartpole") == unreadable
    with pytest.raises(FamilySpecError, match=r"reading family 'cartpole'.*remove the family and add it again"):
        unreadable.require_spec()


def test_an_unreadable_spec_shows_the_stored_object(store: Store) -> None:
    add_active_family(store)
    rewrite_spec(store, "cartpole", '{"name": "cartpole", "from": "the future"}')
    assert store.families.get("cartpole").spec.to_json() == {"name": "cartpole", "from": "the future"}


def test_a_family_with_an_unreadable_spec_keeps_its_row_and_can_be_removed(store: Store) -> None:
    add_active_family(store)
    store.families.set_state("cartpole", FamilyState.PAUSED, reason="by hand")
    rewrite_spec(store, "cartpole", json.dumps(OTHER | {"curriculum": 1}))
    assert store.families.get("cartpole").state is FamilyState.REFUSED
    rewrite_spec(store, "cartpole", json.dumps(OTHER))
    assert (store.families.get("cartpole").state, store.families.get("cartpole").state_reason) == ("paused", "by hand")
    rewrite_spec(store, "cartpole", "{}")
    assert store.families.set_state("cartpole", FamilyState.REMOVED).state is FamilyState.REMOVED
    assert store.families.add(make_spec()).state is FamilyState.PENDING


def test_admission_without_a_new_spec_leaves_the_stored_text_as_it_is(store: Store) -> None:
    text = json.dumps(OTHER, indent=2)
    store.families.add(make_spec())
    rewrite_spec(store, "cartpole", text)
    store.families.admit("cartpole", spaces={}, random_return=0.0, reference_return=None)
    assert store._connection.value("SELECT spec FROM families") == text
    assert not store.families.get("cartpole").is_damaged


def test_a_spec_is_stored_as_the_json_of_its_fields_in_order(store: Store) -> None:
    store.families.add(make_spec(kwargs={"sutton": True}, reference_return=500, import_paths=("/envs",)))
    assert store._connection.value("SELECT spec FROM families") == (
        '{"name":"cartpole","source":"gymnasium","entry":"CartPole-v1","kwargs":{"sutton":true},"variations":[],'
        '"episodes_per_trial":3,"max_episode_steps":null,"random_return":null,"reference_return":500,'
        '"reference_source":"","reference_rule":"threshold","reference_steps":0,"measured_reference":null,'
        '"python":null,"import_paths":["/envs"],"learner":"rl2","image_size":64,"network":false}'
    )


def test_reports_show_a_family_with_an_unreadable_spec_as_refused(store: Store) -> None:
    add_active_family(store, "gone")
    store.families.set_state("gone", FamilyState.REMOVED)
    for name in ("cartpole", "pendulum"):
        add_active_family(store, name)
    rewrite_spec(store, "cartpole", "{}")
    shown = {report["name"]: report["state"] for report in store.family_reports(with_removed=True)}
    assert shown == {"gone": "removed", "cartpole": "refused", "pendulum": "active"}
    assert store.family_reports()[1] == store.overview.family_reports()[1]


def test_only_a_family_whose_row_changed_is_read_again(store: Store) -> None:
    store.families.add(make_spec("bandits"))
    store.families.add(make_spec("mdps"))
    bandits, mdps = store.families.all()
    store.families.record_strike("mdps", reason="hung", detail="")
    again, struck = store.families.all()
    assert again is bandits
    assert (mdps.strikes, struck.strikes) == (0, 1)
    store.families.set_state("bandits", FamilyState.REMOVED)
    assert [family.name for family in store.families.all()] == ["mdps"]


def test_families_are_read_again_only_if_something_was_written(store: Store, folder: DataFolder) -> None:
    store.families.add(make_spec("bandits"))
    statements: list[str] = []
    store._connection.raw.set_trace_callback(statements.append)

    def names() -> tuple[list[str], bool]:
        """Return the names of the families, and whether their rows were read."""
        statements.clear()
        found = [family.name for family in store.families.all()]
        return found, any("FROM families" in statement for statement in statements)

    assert names() == (["bandits"], True)
    assert names() == (["bandits"], False)
    store.families.all().clear()
    assert names() == (["bandits"], False), "after a change of the list that was returned"
    with Store.open(folder) as other:
        other.families.add(make_spec("mdps"))
    assert names() == (["bandits", "mdps"], True), "after a write of another connection"
    store.families.set_state("mdps", FamilyState.REMOVED)
    assert names() == (["bandits"], True), "after a write of its own"
    assert [family.name for family in store.families.all(with_removed=True)] == ["bandits", "mdps"]
    assert names() == (["bandits"], False)


def test_families_of_a_transaction_that_is_undone_are_forgotten(store: Store) -> None:
    store.families.add(make_spec("bandits"))

    def fail() -> None:
        with store._connection.transaction("adding a family"):
            store.families.add(make_spec("mdps"))
            assert [family.name for family in store.families.all()] == ["bandits", "mdps"]
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    assert [family.name for family in store.families.all()] == ["bandits"]


def test_past_quarantines_are_kept_with_their_end(folder: DataFolder) -> None:
    now = [1000.0]
    with Store.open(folder, clock=lambda: now[0]) as store:
        for name in ("cartpole", "bandits"):
            add_active_family(store, name)
        for name, until in (("cartpole", 1060.0), ("bandits", 1300.0)):
            store.families.set_state(name, FamilyState.QUARANTINED, reason="it crashed", quarantined_until=until)
        now[0] = 1100.0
        for name in ("cartpole", "bandits"):
            store.families.set_state(name, FamilyState.ACTIVE)
        assert store.quarantines.newest(5) == [
            Quarantine(family="bandits", began_at=1000.0, until=1100.0, reason="it crashed"),
            Quarantine(family="cartpole", began_at=1000.0, until=1060.0, reason="it crashed"),
        ]
        assert len(store.quarantines.newest(1)) == 1


def test_the_newest_quarantines_are_kept(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantines, "MOST_KEPT", 3)
    with Store.open(folder) as store:
        add_active_family(store)
        for number in range(5):
            reason = f"fault {number}"
            store.families.set_state("cartpole", FamilyState.QUARANTINED, reason=reason, quarantined_until=2e9)
        assert [kept.reason for kept in store.quarantines.newest(10)] == ["fault 4", "fault 3", "fault 2"]
