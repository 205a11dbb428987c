"""Export of trials to an archive."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from envs.kinds import FamilyKind
from memory.errors import MemoryStoreError, TrialNotFoundError
from memory.exchange.archive import ArchivedFamily, ArchivedTrial, ArchiveHeader, ArchiveWriter
from memory.files.parameters import fsync_folder
from memory.records import Family, Progress, StoredTrial
from memory.store import Store

_MOST_TRIALS = 1 << 60


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        families: number of trials by family.
        episodes: number of episodes of all trials.
        size_bytes: size of the file.
    """

    families: dict[str, int]
    episodes: int
    size_bytes: int


def chosen_families(store: Store, names: Sequence[str]) -> list[Family]:
    """Return the families of these names, or all admitted families of environments.

    Raises:
        FamilyNotFoundError: there is no family of one of the names.
        MemoryStoreError: a named family has no trials to export.
    """
    families = [store.families.get(name) for name in names] or store.families.all()
    fitting = [f for f in families if f.kind is FamilyKind.ENVIRONMENTS and f.spaces is not None and not f.is_damaged]
    for family in families:
        if names and family not in fitting:
            raise MemoryStoreError(
                operation="exporting the trials of",
                subject=family.name,
                found="it is not an admitted family of environments.",
                hint="`learnd env list` shows the families.",
            )
    return fitting


def export_trials(
    store: Store, path: Path, *, names: Sequence[str] = (), now: float, progress: Progress | None = None
) -> ExportReport:
    """Write the trials of families to an archive, completely or not at all.

    Args:
        store: the store.
        path: the file to write; an existing one is replaced.
        names: the families; all admitted families of environments if empty.
        now: seconds since the epoch.
        progress: called with "trials" and the number of trials written so far.

    Raises:
        FamilyNotFoundError: there is no family of one of the names.
        CorruptFileError: a trial is damaged.
        MemoryStoreError: a named family has no trials to export, or the file cannot be written.
    """
    families = chosen_families(store, names)
    names = [family.name for family in families]
    rows = {name: store.trials.of_family(name, limit=_MOST_TRIALS, newest_first=False) for name in names}
    header = ArchiveHeader(
        store=store.identity() or "",
        written_at=now,
        families=tuple(_archived(family, len(rows[family.name])) for family in families),
    )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    written = dict.fromkeys(names, 0)
    num_episodes = 0
    try:
        with temporary.open("xb") as stream:
            writer = ArchiveWriter(stream, header)
            for trial in _trials(store, rows):
                writer.add(trial)
                num_episodes += len(trial.frames)
                written[trial.family] += 1
                if progress is not None:
                    progress("trials", sum(written.values()))
            writer.finish()
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        fsync_folder(path.absolute().parent)
    except OSError as error:
        found = f"{error.strerror or error}."
        raise MemoryStoreError(operation="writing", subject=str(path), found=found) from error
    finally:
        temporary.unlink(missing_ok=True)
    return ExportReport(
        families=written,
        episodes=num_episodes,
        size_bytes=path.stat().st_size,
    )


def _archived(family: Family, num_trials: int) -> ArchivedFamily:
    return ArchivedFamily(
        name=family.name, spaces=family.spaces or {}, spec=family.require_spec().to_json(), num_trials=num_trials
    )


def _trials(store: Store, rows: dict[str, list[StoredTrial]]) -> Iterator[ArchivedTrial]:
    """Yield the trials; their checksums are verified when they are loaded."""
    for family, stored in rows.items():
        for row in stored:
            try:
                trial = store.trials.load_packed(row.id)
            except TrialNotFoundError:
                continue  # prune removed it in the meantime
            yield ArchivedTrial(
                family=family,
                task=trial.task,
                digest=None if trial.context is None else trial.context.digest,
                learner_step=row.learner_step,
                recorded_at=row.recorded_at,
                frames=trial.frames,
            )
