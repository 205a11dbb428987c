from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from memory import schema
from memory.connection import StoreConnection
from memory.errors import MemoryStoreError, StoreMissingError, UnknownSchemaError
from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint, FamilyTotals
from memory.sqlite_library import require_one_library, sqlite3
from memory.store import Store
from tests.memory.making import (
    PRUNE_NOTHING,
    Clock,
    add_active_family,
    make_rehearsal_step,
    make_spec,
    make_step,
    make_tensors,
    same_trial,
)


def applied(folder: DataFolder) -> list[str]:
    db = Database(folder.store_path)
    try:
        return [row["name"] for row in db.query("select name from _sqlite_migrations order by rowid")]
    finally:
        db.close()


def add_migration(monkeypatch: pytest.MonkeyPatch, migration: object) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, migration))
    monkeypatch.setattr(schema, "KNOWN", tuple(step.__name__ for step in schema.MIGRATIONS))


def add_colour(db: Database) -> None:
    db.execute("ALTER TABLE families ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'")


def add_colour_and_fail(db: Database) -> None:
    add_colour(db)
    raise RuntimeError("the power went out")


def test_the_released_migrations_have_not_been_changed() -> None:
    # Released stores have run these migrations. Never change one: add a new migration, and its name here.
    assert schema.KNOWN == (
        "create_first_tables",
        "add_store_identity",
        "add_row_checksums",
        "add_store_clock",
        "add_damage",
        "clear_measured_references",
        "add_measured_references",
        "add_rehearsal_trials",
        "number_curve_points",
        "add_context_keys",
        "add_family_files",
        "add_pace",
        "add_rehearsal_teachers",
        "add_quarantines",
        "add_family_file_contents",
    )


def test_opening_twice_migrates_once(folder: DataFolder) -> None:
    for _ in range(2):
        Store.open(folder).close()
    assert applied(folder) == list(schema.KNOWN)


def test_an_older_store_is_migrated_and_keeps_what_it_holds(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(folder) as store:
        add_active_family(store)
        store.learner_steps.commit(make_step(), make_tensors(), {})
    add_migration(monkeypatch, add_colour)
    with Store.open(folder) as store:
        assert store.families.get("cartpole").totals == FamilyTotals(
            env_steps=160, episodes=8, trials=4, meta_updates=1
        )
        assert store.check() == []
    assert applied(folder) == [*schema.KNOWN]
    db = Database(folder.store_path)
    assert [row["colour"] for row in db["families"].rows] == ["grey"]
    db.close()


def before_references_were_cleared(folder: DataFolder) -> None:
    """Make a closed store one in which the best evaluation so far was the reference."""
    connection = sqlite3.connect(folder.store_path)
    connection.execute("DELETE FROM _sqlite_migrations WHERE name = 'clear_measured_references'")
    connection.commit()
    connection.close()


def test_references_that_were_the_best_evaluation_are_cleared_with_their_scores(folder: DataFolder) -> None:
    references: dict[str, dict[str, object]] = {
        "measured": {"reference_return": None, "reference_source": ""},
        "declared": {"reference_return": 500.0, "reference_source": "declared"},
        "registered": {"reference_return": None, "reference_source": "Gymnasium's reward threshold"},
        "damaged": {"reference_return": None, "reference_source": ""},
    }
    points = [CurvePoint(metric=metric, value=0.5) for metric in (CurveMetric.EVAL_SCORE, CurveMetric.EVAL_RETURN)]
    with Store.open(folder) as store:
        for name, reference in references.items():
            store.families.add(make_spec(name, **reference))
            store.families.admit(name, spaces={}, random_return=20.0, reference_return=500.0)
            store.curves.commit_evaluation(name, points)
        with store._connection.transaction("damaging a row"):
            store._connection.execute("UPDATE families SET random_return = 21 WHERE name = 'damaged'")
    before_references_were_cleared(folder)
    with Store.open(folder) as store:
        families = {family.name: family for family in store.families.all()}
        assert {name: family.reference_return for name, family in families.items()} == {
            "measured": None,
            "declared": 500.0,
            "registered": 500.0,
            "damaged": 500.0,
        }
        assert [name for name, family in families.items() if family.is_damaged] == ["damaged"]
        assert store.curves.points("measured", CurveMetric.EVAL_SCORE) == []
        kept = {(point.family, point.point.metric) for point in store.curves.latest()}
        every = {(name, metric) for name in references for metric in (CurveMetric.EVAL_SCORE, CurveMetric.EVAL_RETURN)}
        assert kept == every - {("measured", CurveMetric.EVAL_SCORE)}
        assert [point.point.value for point in store.curves.points("measured", CurveMetric.EVAL_RETURN)] == [0.5]


def before_rehearsal(folder: DataFolder) -> None:
    """Make a closed store one without reservoirs of rehearsal."""
    connection = sqlite3.connect(folder.store_path)
    connection.execute("DROP TABLE rehearsal_trials")
    connection.execute("DELETE FROM _sqlite_migrations WHERE name = 'add_rehearsal_trials'")
    connection.commit()
    connection.close()


def test_a_store_from_before_rehearsal_keeps_its_trials_and_gets_empty_reservoirs(folder: DataFolder) -> None:
    step = make_step()
    with Store.open(folder) as store:
        add_active_family(store)
        store.learner_steps.commit(step, make_tensors(), {})
    before_rehearsal(folder)
    with pytest.raises(UnknownSchemaError, match="lacks add_rehearsal_trials"):
        Store.open(folder, is_reader=True)
    with Store.open(folder) as store:
        family_id = store.families.get("cartpole").id
        assert (store.check(), store.rehearsal.trials(family_id)) == ([], [])
        assert same_trial(store.trials.load(1), step.trials[0])
        assert all(episode.decisions is None for episode in store.trials.load(1).episodes)
        store.learner_steps.commit(make_rehearsal_step(slots=(3,)), make_tensors(), {})
        assert [trial.trial_id for trial in store.rehearsal.trials(family_id)] == [3]
        assert store.check() == []


def before_curve_points_were_numbered(folder: DataFolder) -> None:
    """Make a closed store one whose curve points have no number of learner steps."""
    connection = sqlite3.connect(folder.store_path)
    for table in ("curve_points", "latest_points"):
        connection.execute(f"ALTER TABLE {table} DROP COLUMN learner_steps")
    connection.execute("DELETE FROM _sqlite_migrations WHERE name = 'number_curve_points'")
    connection.commit()
    connection.close()


def practise_and_evaluate(store: Store, clock: Clock, *families: str) -> None:
    """Commit one learner step of each family, and evaluate both families after each."""
    for family in families:
        clock.now += 10
        step = replace(make_step(family), started_at=clock.now - 3, finished_at=clock.now)
        store.learner_steps.commit(step, make_tensors(), {})
        for evaluated in ("cartpole", "acrobot"):
            store.curves.commit_evaluation(evaluated, [CurvePoint(metric=CurveMetric.EVAL_RETURN, value=0.5)])


def numbers(store: Store, family: str, metric: CurveMetric) -> list[int | None]:
    return [point.learner_steps for point in store.curves.points(family, metric)]


@pytest.mark.parametrize(("num_kept", "expected"), [(10, [0, 1, 2, 3]), (2, [None, None, 2, 3])])
def test_points_of_an_older_store_are_numbered_by_their_times(
    folder: DataFolder, num_kept: int, expected: list[int | None]
) -> None:
    clock = Clock()
    with Store.open(folder, clock=clock) as store:
        add_active_family(store)
        add_active_family(store, "acrobot")
        store.curves.commit_evaluation("acrobot", [CurvePoint(metric=CurveMetric.EVAL_RETURN, value=0.5)])
        practise_and_evaluate(store, clock, "cartpole", "acrobot", "cartpole")
        assert numbers(store, "acrobot", CurveMetric.EVAL_RETURN) == [0, 1, 2, 3]
        store.prune(replace(PRUNE_NOTHING, max_learner_steps=num_kept))
    before_curve_points_were_numbered(folder)
    with Store.open(folder, clock=clock) as store:
        assert numbers(store, "acrobot", CurveMetric.EVAL_RETURN) == expected
        assert numbers(store, "cartpole", CurveMetric.TRIAL_RETURN) == [expected[1], expected[3]]
        assert {point.learner_steps for point in store.curves.latest()} == {2, 3}
        practise_and_evaluate(store, clock, "acrobot")
        assert numbers(store, "acrobot", CurveMetric.EVAL_RETURN) == [*expected, 4]
        assert store.check() == []


def test_a_migration_that_fails_leaves_the_store_as_it_was(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(folder).close()
    before = applied(folder)
    with monkeypatch.context() as patched:
        add_migration(patched, add_colour_and_fail)
        with pytest.raises(RuntimeError, match="power"):
            Store.open(folder)
    assert applied(folder) == before
    add_migration(monkeypatch, add_colour)
    Store.open(folder).close()
    assert applied(folder) == [*before, "add_colour"]


def test_a_store_written_by_a_newer_learnd_is_refused_unchanged(folder: DataFolder) -> None:
    Store.open(folder).close()
    db = Database(folder.store_path)
    newer = Migrations(schema.MIGRATION_SET)
    newer(name="from_the_future")(lambda db: db.execute("CREATE TABLE dreams (id INTEGER)"))
    newer.apply(db)
    db.close()
    content = folder.store_path.read_bytes()
    for is_reader in (False, True):
        with pytest.raises(UnknownSchemaError, match="from_the_future"):
            Store.open(folder, is_reader=is_reader)
    assert folder.store_path.read_bytes() == content


def test_a_reader_does_not_migrate_but_says_what_to_do(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(folder).close()
    add_migration(monkeypatch, add_colour)
    with pytest.raises(UnknownSchemaError, match=r"older learnd and lacks add_colour.*Restart"):
        Store.open(folder, is_reader=True)
    assert "add_colour" not in applied(folder)


def test_an_empty_database_is_a_missing_store_to_a_reader(folder: DataFolder) -> None:
    folder.create()
    folder.store_path.touch()
    with pytest.raises(StoreMissingError, match="learnd run"):
        Store.open(folder, is_reader=True)


def test_many_processes_may_open_a_new_store_at_once(folder: DataFolder) -> None:
    folder.create()
    program = (
        "import sys; from pathlib import Path; from memory.folder import DataFolder; from memory.store import Store;"
        "Store.open(DataFolder(Path(sys.argv[1]))).close()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(folder.path)], stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert applied(folder) == list(schema.KNOWN)


def test_a_new_store_has_the_settings_it_relies_on(folder: DataFolder) -> None:
    Store.open(folder).close()
    connection = StoreConnection(folder.store_path, is_reader=False)
    expected = {"journal_mode": "wal", "auto_vacuum": 2, "synchronous": 2, "foreign_keys": 1}
    assert {name: connection.value(f"PRAGMA {name}") for name in expected} == expected
    connection.close()


def test_a_file_that_is_no_database_is_reported_as_such(folder: DataFolder) -> None:
    folder.create()
    folder.store_path.write_bytes(b"this is not a database, whatever its name says" * 100)
    for is_reader in (False, True):
        with pytest.raises(MemoryStoreError, match=r"not a database.*backup"):
            Store.open(folder, is_reader=is_reader)


def test_the_process_uses_one_sqlite_library_without_the_wal_reset_bug() -> None:
    require_one_library()
    assert sqlite3.sqlite_version_info >= (3, 51, 3)


def test_opening_a_current_store_loads_nothing_heavy_and_no_second_sqlite(folder: DataFolder) -> None:
    Store.open(folder).close()
    program = (
        "import sys; from pathlib import Path; from memory.folder import DataFolder; from memory.store import Store;"
        "folder = DataFolder(Path(sys.argv[1]));"
        "Store.open(folder).close(); Store.open(folder, is_reader=True).families.all();"
        "print({'_sqlite3', 'sqlite_utils', 'torch', 'numpy', 'safetensors'} & set(sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, str(folder.path)], capture_output=True, text=True, check=True
    )
    assert found.stdout == "set()\n"


@pytest.mark.parametrize("is_reader", [False, True])
def test_another_programs_database_is_left_alone(folder: DataFolder, is_reader: bool) -> None:
    folder.create()
    theirs = sqlite3.connect(folder.store_path)
    theirs.execute("CREATE TABLE recipes (cake TEXT)")
    theirs.close()
    before = folder.store_path.read_bytes()
    with pytest.raises(UnknownSchemaError, match="recipes"):
        Store.open(folder, is_reader=is_reader)
    assert folder.store_path.read_bytes()[100:] == before[100:]  # the header's journal mode may change


def test_a_reader_never_sees_a_new_store_with_a_part_of_its_tables(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    last = schema.MIGRATIONS[-1]

    def read_now(db: Database) -> None:
        with pytest.raises(StoreMissingError) as error:
            Store.open(folder, is_reader=True)
        seen.append(error.value)
        last(db)

    read_now.__name__ = last.__name__
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:-1], read_now))
    Store.open(folder).close()
    assert len(seen) == 1
    Store.open(folder, is_reader=True).close()
