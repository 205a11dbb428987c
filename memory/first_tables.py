"""The tables of the first release, which the first migration of :mod:`memory.schema` creates.

Never change them: a later migration adds to them.
"""

from __future__ import annotations

FIRST_TABLES = """
CREATE TABLE families (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    state_reason TEXT NOT NULL DEFAULT '',
    spec TEXT NOT NULL,
    spaces TEXT,
    random_return REAL,
    reference_return REAL,
    strikes INTEGER NOT NULL DEFAULT 0,
    quarantined_until REAL,
    env_steps INTEGER NOT NULL DEFAULT 0,
    episodes INTEGER NOT NULL DEFAULT 0,
    trials INTEGER NOT NULL DEFAULT 0,
    meta_updates INTEGER NOT NULL DEFAULT 0,
    kept_trials INTEGER NOT NULL DEFAULT 0,
    kept_episodes INTEGER NOT NULL DEFAULT 0,
    kept_bytes INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL
);
CREATE UNIQUE INDEX one_family_of_a_name ON families(name) WHERE state <> 'removed';

CREATE TABLE parameter_files (
    sha256 TEXT PRIMARY KEY,
    size_bytes INTEGER NOT NULL,
    created_at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE learner_steps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    family_id INTEGER NOT NULL REFERENCES families(id),
    env_steps INTEGER NOT NULL,
    episodes INTEGER NOT NULL,
    trials INTEGER NOT NULL,
    meta_updates INTEGER NOT NULL,
    started_at REAL NOT NULL,
    finished_at REAL NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX learner_steps_of_family ON learner_steps(family_id, id);

CREATE TABLE folded_steps (
    family_id INTEGER PRIMARY KEY REFERENCES families(id),
    learner_steps INTEGER NOT NULL,
    env_steps INTEGER NOT NULL,
    episodes INTEGER NOT NULL,
    trials INTEGER NOT NULL,
    meta_updates INTEGER NOT NULL
);

CREATE TABLE trials (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    family_id INTEGER NOT NULL REFERENCES families(id),
    learner_step INTEGER NOT NULL,
    task TEXT NOT NULL,
    num_episodes INTEGER NOT NULL,
    num_steps INTEGER NOT NULL,
    trial_return REAL,
    size_bytes INTEGER NOT NULL,
    recorded_at REAL NOT NULL
);
CREATE INDEX trials_of_family ON trials(family_id, id);

CREATE TABLE episodes (
    id INTEGER PRIMARY KEY,
    trial_id INTEGER NOT NULL REFERENCES trials(id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    checksum BLOB NOT NULL,
    payload BLOB NOT NULL
);
CREATE UNIQUE INDEX episodes_of_trial ON episodes(trial_id, number);

CREATE TABLE curve_points (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    family_id INTEGER NOT NULL REFERENCES families(id),
    metric TEXT NOT NULL,
    label TEXT NOT NULL,
    value REAL,
    standard_error REAL,
    env_steps INTEGER NOT NULL,
    meta_updates INTEGER NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX curve_points_of_metric ON curve_points(family_id, metric, id);

CREATE TABLE latest_points (
    family_id INTEGER NOT NULL REFERENCES families(id),
    metric TEXT NOT NULL,
    label TEXT NOT NULL,
    value REAL,
    standard_error REAL,
    env_steps INTEGER NOT NULL,
    meta_updates INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (family_id, metric, label)
) WITHOUT ROWID;

CREATE TABLE checkpoints (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    is_live INTEGER NOT NULL,
    sha256 TEXT NOT NULL REFERENCES parameter_files(sha256),
    meta TEXT NOT NULL,
    learner_steps INTEGER NOT NULL,
    created_at REAL NOT NULL
);
CREATE UNIQUE INDEX one_live_checkpoint ON checkpoints(is_live) WHERE is_live = 1;
CREATE INDEX checkpoints_of_file ON checkpoints(sha256);

CREATE TABLE initializations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version INTEGER UNIQUE,
    parent INTEGER REFERENCES initializations(version),
    state TEXT NOT NULL,
    is_current INTEGER NOT NULL DEFAULT 0,
    sha256 TEXT NOT NULL REFERENCES parameter_files(sha256),
    scores TEXT NOT NULL,
    provenance TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at REAL NOT NULL
);
CREATE UNIQUE INDEX one_current_initialization ON initializations(is_current) WHERE is_current = 1;
CREATE INDEX initializations_of_file ON initializations(sha256);

CREATE TABLE rollbacks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    from_version INTEGER NOT NULL REFERENCES initializations(version),
    to_version INTEGER NOT NULL REFERENCES initializations(version),
    reason TEXT NOT NULL,
    at REAL NOT NULL
);

CREATE TABLE job_schedule (
    kind TEXT PRIMARY KEY,
    trigger_text TEXT NOT NULL,
    last_started_at REAL,
    next_due_at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE job_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    family TEXT,
    reason TEXT NOT NULL,
    outcome TEXT,
    started_at REAL NOT NULL,
    finished_at REAL,
    detail TEXT NOT NULL DEFAULT '{}',
    error TEXT NOT NULL DEFAULT ''
);
CREATE INDEX job_runs_of_kind ON job_runs(kind, id);
CREATE INDEX job_runs_of_outcome ON job_runs(kind, outcome, id);
CREATE INDEX job_runs_of_family ON job_runs(kind, family, id);
CREATE INDEX open_job_runs ON job_runs(id) WHERE outcome IS NULL;

CREATE TABLE counters (
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (name, labels)
) WITHOUT ROWID;

CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_at REAL NOT NULL,
    finished_at REAL,
    outcome TEXT
);
CREATE INDEX open_requests ON requests(id) WHERE finished_at IS NULL;

CREATE TABLE daemon_status (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    status TEXT NOT NULL,
    written_at REAL NOT NULL
);
"""
