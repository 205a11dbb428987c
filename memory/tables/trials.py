"""Episodic memory: trials with their episodes, each episode with its own checksum."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from memory.connection import Row, StoreConnection, from_json, to_json
from memory.errors import CorruptFileError, TrialNotFoundError
from memory.files.episode_codec import checksum, pack_episode, unpack_episode
from memory.records import ContextKey, EpisodeRecord, StoredTrial, TrialRecord
from memory.repair_hint import STOP_AND_REPAIR
from memory.row_checksums import is_intact, seal
from memory.tables.context_keys import ContextKeyTable
from memory.tables.families import FamilyTable
from memory.tables.rehearsal_slots import require_slot, take_slot
from memory.tables.store_clock import advance

_OF_FAMILY = "SELECT *, ? AS family FROM trials WHERE family_id = ? ORDER BY id "
_NEWEST_FIRST = _OF_FAMILY + "DESC LIMIT ?"
_OLDEST_FIRST = _OF_FAMILY + "ASC LIMIT ?"
_ALL = -1


@dataclass(frozen=True, kw_only=True)
class PackedTrial:
    """A compressed trial. Compression takes longer than writing, so it is done before the write lock is taken."""

    task: str
    num_steps: int
    trial_return: float
    frames: tuple[bytes, ...]
    rehearsal_slot: int | None = None
    context: ContextKey | None = None

    @property
    def size_bytes(self) -> int:
        """The compressed size of all its episodes."""
        return sum(len(frame) for frame in self.frames)


def pack_trial(trial: TrialRecord) -> PackedTrial:
    """Compress a trial's episodes.

    Raises:
        ValueError: an episode contains an array that the layout cannot hold, or no reservoir has the trial's slot.
    """
    require_slot(trial.rehearsal_slot)
    return PackedTrial(
        task=to_json(trial.task),
        num_steps=sum(len(episode.rewards) for episode in trial.episodes),
        trial_return=float(sum(float(episode.rewards.sum(dtype="float64")) for episode in trial.episodes)),
        frames=tuple(pack_episode(episode) for episode in trial.episodes),
        rehearsal_slot=trial.rehearsal_slot,
        context=trial.context,
    )


def repacked_trial(task: str, frames: tuple[bytes, ...], context: ContextKey | None) -> PackedTrial:
    """Return a packed trial of frames that were packed before.

    Raises:
        ValueError: a frame is no episode.
    """
    episodes = [unpack_episode(frame) for frame in frames]
    return PackedTrial(
        task=task,
        num_steps=sum(len(episode.rewards) for episode in episodes),
        trial_return=float(sum(float(episode.rewards.sum(dtype="float64")) for episode in episodes)),
        frames=frames,
        context=context,
    )


class TrialTable:
    """The trials of a store."""

    def __init__(self, connection: StoreConnection, families: FamilyTable, contexts: ContextKeyTable) -> None:
        self._connection = connection
        self._families = families
        self._contexts = contexts

    def add(self, family_id: int, trials: list[PackedTrial], *, learner_step: int, at: float) -> list[int]:
        """Record packed trials, and the slots that they take, inside the caller's transaction; return their ids."""
        counted_s = advance(self._connection, at)
        trial_ids = [
            self._add_one(family_id, trial, learner_step=learner_step, at=at, counted_s=counted_s) for trial in trials
        ]
        self._connection.execute(
            "UPDATE families SET kept_trials = kept_trials + ?, kept_episodes = kept_episodes + ?,"
            " kept_bytes = kept_bytes + ? WHERE id = ?",
            (
                len(trials),
                sum(len(trial.frames) for trial in trials),
                sum(trial.size_bytes for trial in trials),
                family_id,
            ),
        )
        return trial_ids

    def _add_one(self, family_id: int, trial: PackedTrial, *, learner_step: int, at: float, counted_s: float) -> int:
        """Record one packed trial with its episodes, its slot and its context; return its id."""
        trial_id = self._connection.insert(
            "INSERT INTO trials (family_id, learner_step, task, num_episodes, num_steps, trial_return,"
            " size_bytes, recorded_at, counted_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                family_id,
                learner_step,
                trial.task,
                len(trial.frames),
                trial.num_steps,
                trial.trial_return,
                trial.size_bytes,
                at,
                counted_s,
            ),
        )
        seal(self._connection, "trials", trial_id)
        for number, frame in enumerate(trial.frames):
            self._connection.execute(
                "INSERT INTO episodes (trial_id, number, checksum, payload) VALUES (?, ?, ?, ?)",
                (trial_id, number, checksum(frame), frame),
            )
        if trial.rehearsal_slot is not None:
            take_slot(self._connection, family_id=family_id, slot=trial.rehearsal_slot, trial_id=trial_id)
        if trial.context is not None:
            self._contexts.add(trial_id, trial.context)
        return trial_id

    def of_family(self, family: str, *, limit: int, newest_first: bool = True) -> list[StoredTrial]:
        """Return the trials of a family, without their episodes.

        Raises:
            FamilyNotFoundError: there is no family of that name.
        """
        with self._connection.snapshot():
            family_id = self._families.get(family).id
            found = self._connection.rows(_NEWEST_FIRST if newest_first else _OLDEST_FIRST, (family, family_id, limit))
        return [_stored_trial(row) for row in found]

    def load_packed(self, trial_id: int) -> PackedTrial:
        """Return a trial with its episodes as they are stored. Their checksums are verified.

        Raises:
            TrialNotFoundError: there is no trial of that id.
            CorruptFileError: the row or an episode is damaged.
        """
        with self._connection.snapshot():
            trial = self.load(trial_id)
            row = self._connection.rows("SELECT * FROM trials WHERE id = ?", (trial_id,))[0]
            found = self._connection.rows("SELECT * FROM episodes WHERE trial_id = ? ORDER BY number", (trial_id,))
        return PackedTrial(
            task=row["task"],
            num_steps=row["num_steps"],
            trial_return=math.nan if row["trial_return"] is None else row["trial_return"],
            frames=tuple(episode["payload"] for episode in found),
            context=trial.context,
        )

    def contents(self, family: str) -> Iterator[tuple[str, list[bytes]]]:
        """Yield the task of each trial of a family, as JSON text, with the checksums of its episodes.

        Raises:
            FamilyNotFoundError: there is no family of that name.
        """
        for stored in self.of_family(family, limit=_ALL, newest_first=False):
            row = self._connection.row("SELECT task FROM trials WHERE id = ?", (stored.id,))
            found = self._connection.rows(
                "SELECT checksum FROM episodes WHERE trial_id = ? ORDER BY number", (stored.id,)
            )
            if row is not None:
                yield row["task"], [bytes(episode["checksum"]) for episode in found]

    def load(self, trial_id: int) -> TrialRecord:
        """Return a trial with its episodes. The checksum of each episode is verified.

        Raises:
            TrialNotFoundError: there is no trial of that id (prune may have removed it).
            CorruptFileError: an episode is missing or damaged.
        """
        with self._connection.snapshot():
            trial = self._connection.row("SELECT * FROM trials WHERE id = ?", (trial_id,))
            found = self._connection.rows(
                "SELECT number, checksum, payload FROM episodes WHERE trial_id = ? ORDER BY number", (trial_id,)
            )
        if trial is None:
            raise TrialNotFoundError(
                operation="loading trial",
                subject=str(trial_id),
                found="there is none of that id.",
                hint="It was pruned, or never recorded.",
            )
        return replace(verified_trial(trial, found), context=self._contexts.get(trial_id))


def verified_trial(trial: Row, episodes: Sequence[Row]) -> TrialRecord:
    """Return the trial of a row of ``trials`` and its rows of ``episodes``, in the order of their numbers.

    Raises:
        CorruptFileError: the row does not match its checksum, or an episode is missing or damaged. Its ``subject`` is
            the trial's id.
    """
    trial_id = trial["id"]
    if not is_intact("trials", trial):
        raise _corrupt(trial_id, "its row does not match its checksum.")
    if len(episodes) != trial["num_episodes"]:
        raise _corrupt(trial_id, f"{len(episodes)} of {trial['num_episodes']} episodes are present.")
    task: dict[str, Any] = from_json(trial["task"])
    return TrialRecord(task=task, episodes=tuple(read_episode(trial_id, row) for row in episodes))


def read_episode(trial_id: int, row: Row) -> EpisodeRecord:
    """Return the episode of a row with ``number``, ``checksum`` and ``payload``.

    Raises:
        CorruptFileError: the payload does not match its checksum.
    """
    payload, expected = row["payload"], row["checksum"]
    if not isinstance(payload, bytes) or checksum(payload) != expected:
        raise _corrupt(trial_id, f"episode {row['number']} does not match its checksum.")
    try:
        return unpack_episode(payload)
    except ValueError as error:
        raise _corrupt(trial_id, f"episode {row['number']}: {error}.") from error


def _corrupt(trial_id: int, found: str) -> CorruptFileError:
    hint = f"The disk may be failing: check it. {STOP_AND_REPAIR} It drops damaged trials."
    return CorruptFileError(operation="loading trial", subject=str(trial_id), found=found, hint=hint)


def _stored_trial(row: Row) -> StoredTrial:
    return StoredTrial(
        id=row["id"],
        family=row["family"],
        task=from_json(row["task"]),
        num_episodes=row["num_episodes"],
        num_steps=row["num_steps"],
        trial_return=math.nan if row["trial_return"] is None else row["trial_return"],
        size_bytes=row["size_bytes"],
        learner_step=row["learner_step"],
        recorded_at=row["recorded_at"],
    )
