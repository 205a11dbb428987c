"""Import of an archive of trials. The whole file is checked before the first trial is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from envs.kinds import FamilyKind
from envs.spaces import SpacePair
from memory.connection import from_json, to_json
from memory.errors import ArchiveError, FamilyNotFoundError
from memory.exchange.archive import ArchivedFamily, ArchivedTrial, ArchiveHeader, ArchiveReader, content_digest
from memory.exchange.checking import spaces_of, trial_fault
from memory.exchange.minari_format import read_header, read_trials, require_minari
from memory.records import ContextKey, Progress
from memory.store import Store
from memory.tables.imported_trials import AfterImport
from memory.tables.trials import PackedTrial, repacked_trial

_TRIALS_AT_ONCE = 100

_TASK_PARTS = ("source", "entry", "kwargs", "variations", "wrappers")
"""Parts of a family's spec on which its tasks depend."""


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """The result of an import.

    Attributes:
        imported: number of new trials by family.
        already_present: number of trials by family that the store had.
        declared_otherwise: the families with another environment, other keyword arguments, variations or wrappers in
            the store that wrote the archive.
        store: UUID of the store that wrote the archive.
    """

    imported: dict[str, int]
    already_present: dict[str, int]
    declared_otherwise: tuple[str, ...]
    store: str


def import_trials(
    store: Store, path: Path, *, after: AfterImport | None = None, progress: Progress | None = None
) -> ImportReport:
    """Record the trials of an archive that the store does not have.

    A killed import leaves the trials that it recorded so far; another import adds the others.

    Args:
        store: a store that contains the families of the archive, with equal spaces.
        path: the archive.
        after: called inside the transaction of each portion; see :data:`memory.tables.imported_trials.AfterImport`.
        progress: called with "checked" or "imported", and the number of trials so far.

    Raises:
        ArchiveError: the file cannot be read, is damaged, or has a family that the store does not have with equal
            spaces. Nothing was recorded.
        StoreFullError: the disk is full.
        StoreBusyError: the write lock was not acquired in time.
    """
    tell = progress or (lambda _what, _count: None)
    with reading_archive(path) as (header, trials):
        spaces = {family.name: _common_spaces(store, path, family) for family in header.families}
        for number, trial in enumerate(trials, start=1):
            if fault := trial_fault(trial, spaces):
                raise _foreign(path, fault, "Export it again.")
            tell("checked", number)
    otherwise = tuple(family.name for family in header.families if _is_declared_otherwise(store, family))
    counts = _Counts(imported=dict.fromkeys(spaces, 0), already_present=dict.fromkeys(spaces, 0))
    known = {(name, content_digest(*content)) for name in spaces for content in store.trials.contents(name)}
    with reading_archive(path) as (header, trials):
        for family, portion in _portions(trials, known, counts):
            store.imported.add(family, portion, store=header.store, after=after)
            counts.imported[family] += len(portion)
            tell("imported", sum(counts.imported.values()))
    return ImportReport(
        imported=counts.imported,
        already_present=counts.already_present,
        declared_otherwise=otherwise,
        store=header.store,
    )


@dataclass
class _Counts:
    """Numbers of trials by family."""

    imported: dict[str, int] = field(default_factory=dict)
    already_present: dict[str, int] = field(default_factory=dict)


@contextmanager
def reading_archive(path: Path) -> Iterator[tuple[ArchiveHeader, Iterator[ArchivedTrial]]]:
    """Open an archive: a file, or a folder of Minari data sets."""
    if path.is_dir():
        require_minari()
        header = read_header(path)
        yield header, read_trials(path, header)
        return
    try:
        with path.open("rb") as stream:
            reader = ArchiveReader(path, stream)
            yield reader.header, reader.trials()
    except OSError as error:
        found = f"{error.strerror or error}."
        raise ArchiveError(operation="reading", subject=str(path), found=found) from error


def _common_spaces(store: Store, path: Path, archived: ArchivedFamily) -> SpacePair:
    """Return the spaces that a family has in the archive and in the store."""
    try:
        family = store.families.get(archived.name)
    except FamilyNotFoundError as error:
        raise _foreign(
            path,
            f"it has trials of the family {archived.name!r}, which this store does not have.",
            "Add the family first (`learnd env add`), or export the others alone (--family NAME).",
        ) from error
    if family.kind is not FamilyKind.ENVIRONMENTS or family.spaces is None:
        hint = "`learnd env show` has the state of the family; import again when it was admitted."
        raise _foreign(path, f"the family {archived.name!r} is not an admitted family of environments here.", hint)
    if family.spaces != archived.spaces:
        found = f"the family {archived.name!r} has other spaces here than in the archive."
        raise _foreign(path, found, "Trials can only be imported into a family of the same spaces.")
    return spaces_of(path, archived)


def _is_declared_otherwise(store: Store, archived: ArchivedFamily) -> bool:
    """Return whether the spec of a family in the archive describes other tasks than its spec in the store."""
    spec = from_json(to_json(store.families.get(archived.name).require_spec().to_json()))
    return any(archived.spec.get(part) != spec.get(part) for part in _TASK_PARTS)


def _portions(
    trials: Iterator[ArchivedTrial], known: set[tuple[str, bytes]], counts: _Counts
) -> Iterator[tuple[str, list[PackedTrial]]]:
    """Yield new trials in portions of one family each."""
    family, portion = "", list[PackedTrial]()
    for trial in trials:
        if portion and (trial.family != family or len(portion) == _TRIALS_AT_ONCE):
            yield family, portion
            portion = []
        family = trial.family
        if (family, trial.content) in known:
            counts.already_present[family] += 1
            continue
        known.add((family, trial.content))
        context = None if trial.digest is None else ContextKey(digest=trial.digest)
        portion.append(repacked_trial(trial.task, trial.frames, context))
    if portion:
        yield family, portion


def _foreign(path: Path, found: str, hint: str) -> ArchiveError:
    hint = f"{hint} Nothing of it was imported.".strip()
    return ArchiveError(operation="importing", subject=str(path), found=found, hint=hint)
