"""The tables of the store, as append-only migrations. Each is applied in one transaction with its record.

Never change a migration that has been released; add a new one. ``docs/store.md`` describes the tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memory.connection import StoreConnection, from_json
from memory.errors import StoreMissingError, UnknownSchemaError
from memory.first_tables import FIRST_TABLES
from memory.identity import new_identity
from memory.row_checksums import COVERED, checksum_of
from memory.sqlite_library import require_one_library
from memory.tables.store_clock import counted

if TYPE_CHECKING:
    from sqlite_utils.db import Database

MIGRATION_SET = "learnd"

_IDENTITY = """
CREATE TABLE store_identity (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    uuid TEXT NOT NULL
);
"""

_CLOCK = """
CREATE TABLE store_clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    counted_s REAL NOT NULL,
    last_at REAL
);
ALTER TABLE trials ADD COLUMN counted_s REAL NOT NULL DEFAULT 0;
"""

_DAMAGE = """
CREATE TABLE damage (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    subject TEXT NOT NULL,
    found TEXT NOT NULL,
    hint TEXT NOT NULL,
    noted_at REAL NOT NULL,
    UNIQUE (kind, key, subject)
);
"""

_REHEARSAL = """
CREATE TABLE rehearsal_trials (
    family_id INTEGER NOT NULL REFERENCES families(id),
    slot INTEGER NOT NULL,
    trial_id INTEGER NOT NULL UNIQUE REFERENCES trials(id) ON DELETE CASCADE,
    PRIMARY KEY (family_id, slot)
);
"""

_REHEARSAL_TEACHERS = """
CREATE TABLE rehearsal_teachers (
    id INTEGER PRIMARY KEY REFERENCES families(id),
    learner_step INTEGER NOT NULL,
    parameters BLOB NOT NULL,
    checksum BLOB
);
"""

_CONTEXT_KEYS = """
CREATE TABLE context_keys (
    trial_id INTEGER PRIMARY KEY REFERENCES trials(id) ON DELETE CASCADE,
    family_id INTEGER NOT NULL REFERENCES families(id),
    digest BLOB NOT NULL,
    embedding BLOB,
    generation INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX context_keys_of_family ON context_keys(family_id, trial_id);

CREATE TABLE context_encoders (
    family_id INTEGER PRIMARY KEY REFERENCES families(id),
    generation INTEGER NOT NULL,
    trials_seen INTEGER NOT NULL,
    parameters BLOB NOT NULL,
    checksum BLOB NOT NULL
);

CREATE TABLE imported_trials (
    trial_id INTEGER PRIMARY KEY REFERENCES trials(id) ON DELETE CASCADE,
    store TEXT NOT NULL,
    imported_at REAL NOT NULL
);
"""

_FAMILY_FILES = """
CREATE TABLE family_files (
    path TEXT PRIMARY KEY,
    family_id INTEGER NOT NULL REFERENCES families(id),
    declaration TEXT NOT NULL,
    is_gone INTEGER NOT NULL
);
"""


_QUARANTINES = """
CREATE TABLE quarantines (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    family_id INTEGER NOT NULL REFERENCES families(id),
    began_at REAL NOT NULL,
    until REAL NOT NULL,
    reason TEXT NOT NULL
);
"""


def _execute_all(db: Database, script: str) -> None:
    """Execute statements one by one, because ``executescript`` would first commit the open transaction."""
    for statement in script.split(";"):
        if statement.strip():
            db.execute(statement)


def create_first_tables(db: Database) -> None:
    """Create the tables of the first release."""
    _execute_all(db, FIRST_TABLES)


def add_store_identity(db: Database) -> None:
    """Give the store a UUID, which distinguishes its backups and parameter files from those of other stores."""
    _execute_all(db, _IDENTITY)
    db.execute("INSERT INTO store_identity (id, uuid) VALUES (1, ?)", (new_identity(),))


def add_row_checksums(db: Database) -> None:
    """Add checksums to the covered tables. The checksum of an existing row is computed from its present values."""
    for table in ("families", "checkpoints", "initializations", "trials"):
        columns = COVERED[table]
        db.execute(f"ALTER TABLE {table} ADD COLUMN checksum BLOB")
        found = db.execute(f"SELECT id, {', '.join(columns)} FROM {table}").fetchall()  # noqa: S608
        for row_id, *values in found:
            db.execute(f"UPDATE {table} SET checksum = ? WHERE id = ?", (checksum_of(values), row_id))  # noqa: S608


def add_store_clock(db: Database) -> None:
    """Add the store's clock. Its initial value is computed from the times of the stored trials."""
    _execute_all(db, _CLOCK)
    counted_s, last_at = 0.0, None
    for row_id, at in db.execute("SELECT id, recorded_at FROM trials ORDER BY id").fetchall():
        counted_s += 0.0 if last_at is None else counted(at - last_at)
        last_at = at
        db.execute("UPDATE trials SET counted_s = ? WHERE id = ?", (counted_s, row_id))
    db.execute("INSERT INTO store_clock (id, counted_s, last_at) VALUES (1, ?, ?)", (counted_s, last_at))


def add_damage(db: Database) -> None:
    """Add the table of known damage."""
    _execute_all(db, _DAMAGE)


def clear_measured_references(db: Database) -> None:
    """Clear references that were the best evaluation so far, with the scores that they gave.

    Such a reference rose with every better evaluation, so scores of different times were on different scales. The
    returns behind those scores stay. A damaged row is left as it is: a new checksum would hide the damage.
    """
    columns = COVERED["families"]
    found = db.execute(f"SELECT id, checksum, {', '.join(columns)} FROM families").fetchall()  # noqa: S608
    for row_id, checksum, *values in found:
        row = dict(zip(columns, values, strict=True))
        if row["reference_return"] is None or checksum != checksum_of(values):
            continue
        spec = from_json(row["spec"])
        if spec.get("reference_return") is not None or spec.get("reference_source"):
            continue
        row["reference_return"] = None
        db.execute(
            "UPDATE families SET reference_return = NULL, checksum = ? WHERE id = ?",
            (checksum_of(row.values()), row_id),
        )
        for table in ("curve_points", "latest_points"):
            db.execute(f"DELETE FROM {table} WHERE family_id = ? AND metric = 'eval_score'", (row_id,))  # noqa: S608


def add_measured_references(db: Database) -> None:
    """Change no table: mark a store whose specs and job runs an older learnd cannot read.

    Specs have the rule and the provenance of the reference return from here on, and job runs have the kind `reference`.
    """
    del db


def add_rehearsal_trials(db: Database) -> None:
    """Add the reservoirs of rehearsal, which begin empty.

    Episodes may have the parameters of their action distributions from here on, which an older learnd cannot read.
    """
    _execute_all(db, _REHEARSAL)


_STEPS_AT = "(SELECT id FROM learner_steps WHERE finished_at <= at ORDER BY finished_at DESC, id DESC LIMIT 1)"
"""The number of learner steps that had ended at the time of a point; NULL if none of the kept ones had."""


def number_curve_points(db: Database) -> None:
    """Add to each curve point the number of learner steps that the store had then, a time axis common to all families.

    The number of an existing point follows from its time. It stays NULL for points that are older than the oldest
    learner step that prune has not folded.
    """
    is_folded = db.execute("SELECT 1 FROM folded_steps LIMIT 1").fetchone() is not None
    number = _STEPS_AT if is_folded else f"coalesce({_STEPS_AT}, 0)"
    db.execute("CREATE INDEX learner_steps_by_time ON learner_steps(finished_at, id)")
    for table in ("curve_points", "latest_points"):
        db.execute(f"ALTER TABLE {table} ADD COLUMN learner_steps INTEGER")
        db.execute(f"UPDATE {table} SET learner_steps = {number}")  # noqa: S608
    db.execute("DROP INDEX learner_steps_by_time")


def add_context_keys(db: Database) -> None:
    """Add context keys, their encoders, and the marks of imported trials.

    The tables are empty at first: the keys of earlier trials are computed from the trials.
    """
    _execute_all(db, _CONTEXT_KEYS)


def add_family_files(db: Database) -> None:
    """Add the record of the files from which families are declared.

    Specs may have wrappers from here on, which an older learnd cannot read.
    """
    _execute_all(db, _FAMILY_FILES)


def add_pace(db: Database) -> None:
    """Add the usual speed of each family's environment, which is unknown for families that were admitted before."""
    db.execute("ALTER TABLE families ADD COLUMN pace TEXT")


def add_rehearsal_teachers(db: Database) -> None:
    """Add the teachers of rehearsal. A family that was practised before has none until it is practised again."""
    _execute_all(db, _REHEARSAL_TEACHERS)


def add_quarantines(db: Database) -> None:
    """Add the record of quarantines, which begins empty."""
    _execute_all(db, _QUARANTINES)


def add_family_file_contents(db: Database) -> None:
    """Add the content of each family file, which is unknown until the file is next read."""
    db.execute("ALTER TABLE family_files ADD COLUMN content TEXT")


MIGRATIONS = (
    create_first_tables,
    add_store_identity,
    add_row_checksums,
    add_store_clock,
    add_damage,
    clear_measured_references,
    add_measured_references,
    add_rehearsal_trials,
    number_curve_points,
    add_context_keys,
    add_family_files,
    add_pace,
    add_rehearsal_teachers,
    add_quarantines,
    add_family_file_contents,
)
"""The migrations in order. A migration's name is its record in the store, so names and order never change."""

KNOWN = tuple(migration.__name__ for migration in MIGRATIONS)


def migrate(connection: StoreConnection) -> None:
    """Migrate the store to the newest schema, with one transaction per migration; create a new one in one transaction.

    So a reader never sees a new store with a part of its tables.

    Raises:
        UnknownSchemaError: a newer learnd or another program wrote the store.
    """
    if len(_known_applied(connection)) == len(KNOWN):
        return
    require_one_library()
    import sqlite_utils
    from sqlite_utils.migrations import Migrations

    steps = Migrations(MIGRATION_SET)
    for migration in MIGRATIONS:
        steps()(migration)
    db = sqlite_utils.Database(connection.raw, execute_plugins=False)
    with connection.transaction("creating the store"):
        if not _known_applied(connection):
            steps.apply(db)
    for position, name in enumerate(KNOWN):
        # The applied migrations are read again inside each transaction, because another process may be migrating the
        # same store.
        with connection.transaction(f"migrating the store ({name})"):
            applied = _known_applied(connection)
            if name not in applied:
                steps.apply(db, stop_before=[later for later in KNOWN[position + 1 :] if later not in applied])


def is_initialised(connection: StoreConnection) -> bool:
    """Return whether the database has the tables of a store.

    Raises:
        UnknownSchemaError: a newer learnd or another program wrote the store.
    """
    return bool(_known_applied(connection))


def require_present(connection: StoreConnection) -> None:
    """Check that the store has the schema of this learnd. A reader needs this, because it cannot migrate the store.

    Raises:
        StoreMissingError: the database has no tables yet.
        UnknownSchemaError: a newer or older learnd or another program wrote the store.
    """
    applied = _known_applied(connection)
    if not applied:
        raise StoreMissingError(
            operation="opening the store",
            subject=str(connection.path),
            found="it has no tables yet.",
            hint="Start `learnd run` once.",
        )
    if missing := [name for name in KNOWN if name not in applied]:
        raise UnknownSchemaError(
            operation="opening the store",
            subject=str(connection.path),
            found=f"it was written by an older learnd and lacks {', '.join(missing)}.",
            hint="Restart `learnd run` with this version: it brings the store up to date.",
        )


def require_tables(connection: StoreConnection) -> None:
    """Check that a database is a store of this learnd or of an older one.

    Raises:
        StoreMissingError: the database has no tables.
        UnknownSchemaError: a newer learnd or another program wrote the database.
    """
    if not _known_applied(connection):
        raise StoreMissingError(
            operation="reading the store",
            subject=str(connection.path),
            found="it has no tables.",
            hint="Name another backup.",
        )


def _known_applied(connection: StoreConnection) -> list[str]:
    """Return the names of the migrations applied to the store; an empty list for a new database.

    Raises:
        UnknownSchemaError: a newer learnd or another program wrote the store.
    """
    applied = _applied(connection)
    if unknown := [name for name in applied if name not in KNOWN]:
        raise UnknownSchemaError(
            operation="opening the store",
            subject=str(connection.path),
            found=f"it was written by a newer learnd ({', '.join(unknown)}).",
            hint="Use that version, or restore a backup made before it (docs/store.md).",
        )
    if not applied and (foreign := _foreign_tables(connection)):
        raise UnknownSchemaError(
            operation="opening the store",
            subject=str(connection.path),
            found=f"it is another program's database, with the tables {', '.join(foreign[:5])}.",
            hint="Move it away, or name another folder with --data-dir.",
        )
    return applied


def _foreign_tables(connection: StoreConnection) -> list[str]:
    """Return the tables of a database without a record of migrations. A new database and learnd's own give none.

    One statement reads the tables and looks for the record, so that the tables of a process that creates a store at
    the same time are never taken for those of another program.
    """
    rows = connection.rows(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, 7) != 'sqlite_'"
        " AND NOT EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations') ORDER BY name"
    )
    return [row["name"] for row in rows]


def _applied(connection: StoreConnection) -> list[str]:
    if connection.value("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'") is None:
        return []
    found = connection.rows(
        "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY rowid", (MIGRATION_SET,)
    )
    return [row["name"] for row in found]
