"""Export of trials to an archive."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from envs.kinds import FamilyKind
from memory.errors import ArchiveError, MemoryStoreError, TrialNotFoundError
from memory.exchange.archive import ArchivedFamily, ArchivedTrial, ArchiveForm, ArchiveHeader, ArchiveWriter
from memory.exchange.minari_format import require_minari, write_minari
from memory.files.parameters import fsync_folder
from memory.records import Family, Progress, StoredTrial
from memory.store import Store

_MOST_TRIALS = 1 << 60


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """The result of an export.

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
    store: Store,
    path: Path,
    *,
    names: Sequence[str] = (),
    now: float,
    form: ArchiveForm = ArchiveForm.LEARND,
    progress: Progress | None = None,
) -> ExportReport:
    """Write the trials of families to an archive, completely or not at all.

    Args:
        store: the store.
        path: the file to write, which replaces an existing one; for Minari a folder that does not exist yet.
        names: the families; all admitted families of environments if empty.
        now: seconds since the epoch.
        form: the form of the archive.
        progress: called with "trials" and the number of trials written so far.

    Raises:
        FamilyNotFoundError: there is no family of one of the names.
        CorruptFileError: a trial is damaged.
        ArchiveError: minari is not installed, the folder exists, or there are no trials for a Minari data set.
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
    counted = _Counted(_trials(store, rows), dict.fromkeys(names, 0), progress)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    write = _write_folder if form is ArchiveForm.MINARI else _write_file
    try:
        size_bytes = write(path, temporary, header, iter(counted))
        fsync_folder(path.absolute().parent)
    except OSError as error:
        found = f"{error.strerror or error}."
        raise MemoryStoreError(operation="writing", subject=str(path), found=found) from error
    return ExportReport(families=counted.by_family, episodes=counted.num_episodes, size_bytes=size_bytes)


class _Counted:
    """An iteration over trials that counts them."""

    def __init__(self, trials: Iterator[ArchivedTrial], by_family: dict[str, int], tell: Progress | None) -> None:
        self._trials = trials
        self._tell = tell
        self.by_family = by_family
        self.num_episodes = 0

    def __iter__(self) -> Iterator[ArchivedTrial]:
        for trial in self._trials:
            yield trial
            self.by_family[trial.family] += 1
            self.num_episodes += len(trial.frames)
            if self._tell is not None:
                self._tell("trials", sum(self.by_family.values()))


def _write_file(path: Path, temporary: Path, header: ArchiveHeader, trials: Iterator[ArchivedTrial]) -> int:
    """Write an archive and put it in its place; return its size in bytes."""
    try:
        with temporary.open("xb") as stream:
            writer = ArchiveWriter(stream, header)
            for trial in trials:
                writer.add(trial)
            writer.finish()
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path.stat().st_size


def _write_folder(path: Path, temporary: Path, header: ArchiveHeader, trials: Iterator[ArchivedTrial]) -> int:
    """Write Minari data sets and put their folder in its place; return its size in bytes."""
    require_minari()
    if path.exists():
        hint = "Name a folder that does not exist yet."
        raise ArchiveError(operation="exporting to", subject=str(path), found="it exists already.", hint=hint)
    try:
        temporary.mkdir()
        write_minari(temporary, header, trials)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


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
