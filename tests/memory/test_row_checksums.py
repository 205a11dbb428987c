"""Tests that the rows for restoring a trainer or serving a version are verified when they are loaded."""

from __future__ import annotations

import pytest

from memory.errors import CorruptFileError
from memory.folder import DataFolder
from memory.records import FamilyState, ProblemKind
from memory.row_checksums import checksum_of
from memory.store import Store
from tests.memory.damage import change_value
from tests.memory.making import add_active_family, downgrade, make_step, make_tensors, publish_next

CHANGED = {
    "families": {
        "name": "'cartpolf'",
        "spec": '\'{"name":"cartpold"}\'',
        "spaces": '\'{"observation":"boy"}\'',
        "random_return": "20.5",
        "reference_return": "1.0",
    },
    "checkpoints": {"meta": "'{\"seed\":1}'", "learner_steps": "7"},
    "initializations": {
        "scores": "'[]'",
        "provenance": '\'{"learner":"rl3"}\'',
        "reason": "'no family felt'",
    },
    "trials": {
        "task": '\'{"seed":1,"gravity":9.9}\'',
        "learner_step": "9",
        "num_steps": "41",
        "trial_return": "0.5",
        "size_bytes": "1",
    },
}


@pytest.fixture
def filled(store: Store) -> Store:
    add_active_family(store)
    for seed in range(3):
        store.learner_steps.commit(make_step(seed=seed), make_tensors(seed), {"seed": seed})
    publish_next(store)
    return store


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [(table, column, value) for table, columns in CHANGED.items() for column, value in columns.items()],
)
def test_a_changed_value_is_found_by_the_check(filled: Store, table: str, column: str, value: str) -> None:
    change_value(filled, table, column, value)
    problems = [p for p in filled.check() if p.kind in {ProblemKind.ROW, ProblemKind.TRIAL}]
    assert [problem.found for problem in problems] == ["its row does not match its checksum."]
    assert all(problem.hint for problem in problems)


def test_a_flipped_bit_of_a_checkpoints_meta_is_not_loaded(filled: Store) -> None:
    assert filled.checkpoints.live() is not None
    change_value(filled, "checkpoints", "meta", "'{\"seed\":3}'")
    with pytest.raises(CorruptFileError, match="does not match its checksum"):
        filled.checkpoints.live()
    assert filled.checkpoints.restore_candidates() == []
    with pytest.raises(CorruptFileError):
        filled.checkpoints.keep_live(keep=2)


@pytest.mark.parametrize("value", ["CAST(x'7b2273656564ff' AS TEXT)", "'{\"seed'", "x'00ff'", "NULL"])
def test_bytes_that_are_no_text_or_no_json_are_damage_and_no_failure(filled: Store, value: str) -> None:
    if value != "NULL":
        change_value(filled, "checkpoints", "meta", value)
        assert filled.checkpoints.restore_candidates() == []
    change_value(filled, "families", "spaces", value)
    assert filled.families.all()[0].is_damaged


def test_a_damaged_version_is_named_and_the_others_stay(filled: Store) -> None:
    publish_next(filled, 2.0)
    change_value(filled, "initializations", "scores", "'[]'")
    with pytest.raises(CorruptFileError, match="version"):
        filled.initializations.get(2)
    with pytest.raises(CorruptFileError):
        filled.initializations.current()
    assert filled.initializations.current_version() == 2
    assert [(entry.version, entry.is_damaged) for entry in filled.initializations.all()] == [(2, True), (1, False)]
    assert filled.initializations.roll_back(to=1, reason="it is damaged").version == 1


def test_a_damaged_family_is_set_aside_and_the_others_go_on(filled: Store) -> None:
    add_active_family(filled, "acrobot")
    change_value(filled, "families", "spec", '\'{"name":"acrobov"}\'')
    states = {family.name: (family.state, family.is_damaged) for family in filled.families.all()}
    assert states == {"cartpole": (FamilyState.ACTIVE, False), "acrobot": (FamilyState.REFUSED, True)}
    with pytest.raises(CorruptFileError):
        filled.families.admit("acrobot", spaces={}, random_return=0.0, reference_return=None)
    assert filled.families.all()[1].is_damaged


def test_a_state_that_there_is_not_is_damage_and_no_failure(filled: Store) -> None:
    change_value(filled, "families", "state", "'activd'")
    assert filled.families.get("cartpole").state is FamilyState.REFUSED


def test_what_changes_a_family_seals_it_again(filled: Store) -> None:
    filled.families.admit("cartpole", spaces={}, random_return=20.0, reference_return=300.0)
    filled.families.set_state("cartpole", FamilyState.PAUSED, reason="by hand")
    filled.families.record_strike("cartpole", reason="crashed", detail="")
    assert filled.check() == []
    assert not filled.families.get("cartpole").is_damaged


def test_a_trial_whose_task_was_changed_is_not_loaded(filled: Store) -> None:
    change_value(filled, "trials", "task", '\'{"seed":21,"gravity":9.9}\'')
    with pytest.raises(CorruptFileError, match="row"):
        filled.trials.load(6)


def test_rows_of_an_older_store_get_their_checksums(folder: DataFolder, filled: Store) -> None:
    filled.close()
    downgrade(folder)
    with Store.open(folder) as store:
        assert store.check() == []
        assert store.checkpoints.live() is not None
        assert not store.families.get("cartpole").is_damaged


def test_equal_bytes_in_other_columns_or_types_have_another_checksum() -> None:
    rows = [("ab", "c"), ("a", "bc"), (1,), (1.0,), ("1",), (b"1",), (None,), ("",), ()]
    assert len({checksum_of(row) for row in rows}) == len(rows)


def test_a_damaged_column_that_is_read_as_json_is_said_to_be_damaged(filled: Store) -> None:
    from memory.records import JobKind, JobOutcome

    filled.jobs.finish(filled.jobs.start(JobKind.PRUNE, reason="due"), JobOutcome.SUCCEEDED)
    change_value(filled, "job_runs", "detail", "'{\"'")
    with pytest.raises(CorruptFileError, match="JSON"):
        filled.jobs.runs()
