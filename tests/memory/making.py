"""Values and helper functions for the tests of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.family import FamilySource, FamilySpec
from envs.reference import MeasuredReference
from memory.folder import DataFolder
from memory.records import (
    CurveMetric,
    CurvePoint,
    EpisodeRecord,
    FamilyScore,
    FamilyTotals,
    LearnerStep,
    PrunePolicy,
    TrialRecord,
)
from memory.row_checksums import seal
from memory.sqlite_library import sqlite3
from memory.store import Store

MEASURED = MeasuredReference(
    mean_return=10.0,
    standard_error=1.0,
    agent="PPO",
    library="stable-baselines3 2.9.2",
    steps=1024,
    seed=0,
    first_task=0,
    num_tasks=32,
    duration_s=3.0,
    measured_at=1_700_000_000.0,
)
"""A measurement of a reference whose return is 10 ± 1."""

PRUNE_NOTHING = PrunePolicy(
    max_episode_bytes=1 << 40,
    max_episode_age_s=None,
    max_job_runs_per_kind=10**6,
    max_learner_steps=10**6,
    max_curve_points=10**6,
    max_rejected=10**6,
    max_finished_requests=10**6,
)


class Clock:
    """A wall clock that advances only when a test sets it."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def make_episode(*, steps: int = 20, seed: int = 0, has_decisions: bool = False) -> EpisodeRecord:
    rng = np.random.default_rng(seed)
    return EpisodeRecord(
        observations=rng.normal(size=(steps + 1, 4)).astype(np.float32),
        actions=rng.integers(0, 2, size=steps),
        rewards=rng.normal(size=steps).astype(np.float32),
        is_terminated=bool(seed % 2),
        decisions=rng.normal(size=(steps, 2)).astype(np.float16) if has_decisions else None,
    )


def make_trial(*, episodes: int = 2, steps: int = 20, seed: int = 0) -> TrialRecord:
    return TrialRecord(
        task={"seed": seed, "gravity": 9.8},
        episodes=tuple(make_episode(steps=steps, seed=seed * 100 + number) for number in range(episodes)),
    )


def make_step(family: str = "cartpole", *, trials: int = 2, seed: int = 0, steps: int = 20) -> LearnerStep:
    return LearnerStep(
        family=family,
        practised=FamilyTotals(env_steps=160, episodes=8, trials=4, meta_updates=1),
        trials=tuple(make_trial(seed=seed * 10 + number, steps=steps) for number in range(trials)),
        points=(
            CurvePoint(metric=CurveMetric.TRIAL_RETURN, value=float(seed), standard_error=0.5),
            CurvePoint(metric=CurveMetric.LOSS, label="policy", value=0.25),
        ),
        started_at=100.0,
        finished_at=103.0,
        detail={"seed": seed},
    )


def make_rehearsal_step(family: str = "cartpole", *, slots: Sequence[int | None], seed: int = 0) -> LearnerStep:
    """Return a step with one trial per slot, each with the decisions of its episodes."""
    step = make_step(family, trials=len(slots), seed=seed)
    trials = tuple(
        replace(with_decisions(trial), rehearsal_slot=slot) for trial, slot in zip(step.trials, slots, strict=True)
    )
    return replace(step, trials=trials)


def with_decisions(trial: TrialRecord) -> TrialRecord:
    def decided(episode: EpisodeRecord) -> EpisodeRecord:
        scores = np.stack([episode.rewards, -episode.rewards], axis=1).astype(np.float16)
        return replace(episode, decisions=scores)

    return replace(trial, episodes=tuple(decided(episode) for episode in trial.episodes))


def make_tensors(fill: float = 0.0, *, size: int = 64) -> dict[str, NDArray[Any]]:
    return {
        "core.weight": np.full((size, 3), fill, dtype=np.float32),
        "adam.step": np.asarray(int(fill), dtype=np.int64),
    }


def make_score(family: str = "cartpole", score: float = 0.5) -> FamilyScore:
    return FamilyScore(family=family, score=score, standard_error=0.01, published_score=None, num_trials=64)


def make_spec(name: str = "cartpole", **changed: Any) -> FamilySpec:
    """Return the spec of a family that no test opens."""
    return FamilySpec(**{"name": name, "source": FamilySource.GYMNASIUM, "entry": "CartPole-v1", **changed})


def rewrite_spec(store: Store, name: str, text: str) -> None:
    """Replace a family's spec by other text, with a matching checksum: another version of learnd may write so."""
    connection, family = store._connection, store.families.get(name)
    with connection.transaction("rewriting a spec"):
        connection.execute("UPDATE families SET spec = ? WHERE id = ?", (text, family.id))
        seal(connection, "families", family.id)


def add_active_family(store: Store, name: str = "cartpole") -> None:
    store.families.add(make_spec(name))
    store.families.admit(name, spaces={"observation": "box"}, random_return=20.0, reference_return=None)


def publish_next(store: Store, fill: float = 1.0) -> int:
    current = store.initializations.current()
    published = store.initializations.publish(
        make_tensors(fill),
        metadata={"format": "learnd", "family": "all"},
        scores=[make_score()],
        provenance={"learner": "rl2"},
        reason="no family fell",
        parent=None if current is None else current.version,
    )
    assert published.version is not None
    return published.version


def same_trial(one: TrialRecord, other: TrialRecord) -> bool:
    return one.task == other.task and all(
        same_episode(left, right) for left, right in zip(one.episodes, other.episodes, strict=True)
    )


def same_episode(one: EpisodeRecord, other: EpisodeRecord) -> bool:
    if one.is_terminated != other.is_terminated or (one.decisions is None) != (other.decisions is None):
        return False
    pairs = [
        (one.observations, other.observations),
        (one.actions, other.actions),
        (one.rewards, other.rewards),
    ]
    if one.decisions is not None and other.decisions is not None:
        pairs.append((one.decisions, other.decisions))
    return all(
        left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
        for left, right in pairs
    )


def downgrade(folder: DataFolder) -> None:
    """Downgrade a closed store to the schema of the first release."""
    database = sqlite3.connect(folder.store_path)
    for table in ("families", "checkpoints", "initializations", "trials"):
        database.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
    database.execute("ALTER TABLE trials DROP COLUMN counted_s")
    database.execute("ALTER TABLE families DROP COLUMN pace")
    for table in ("curve_points", "latest_points"):
        database.execute(f"ALTER TABLE {table} DROP COLUMN learner_steps")
    for table in (
        "store_identity",
        "store_clock",
        "damage",
        "rehearsal_trials",
        "rehearsal_teachers",
        "context_keys",
        "context_encoders",
        "imported_trials",
        "family_files",
        "quarantines",
    ):
        database.execute(f"DROP TABLE {table}")
    database.execute("DELETE FROM _sqlite_migrations WHERE name <> 'create_first_tables'")
    database.commit()
    database.close()
    (folder.path / "store-id").unlink(missing_ok=True)


def prune_only(**changes: float | None) -> PrunePolicy:
    return PrunePolicy(**{**PRUNE_NOTHING.__dict__, **changes})
