"""The watch of the folders of family files: a family is added, changed or paused as its file is.

=====================  ==================================================================================
a file                 its family
=====================  ==================================================================================
appears                is added and admitted; a family that was paused because the file was gone is resumed
changes                is removed, and what the file declares now is added under the name and admitted
goes                   is paused
cannot be used         stays as it is; the file is reported
=====================  ==================================================================================
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from agent.config.settings import Settings
from agent.daemon.store.thread import StoreThread, in_daemon_thread
from agent.family_files import FileDeclaration, declaration_in, family_files, watched_folders
from envs.errors import FamilySpecError
from envs.family import FamilySpec
from envs.family_file import declaration_of
from memory.errors import MemoryStoreError
from memory.records import Family, FamilyState, UnreadableSpec
from memory.records.family_files import FamilyFile
from memory.store import Store

log = structlog.get_logger(__name__)

PERIOD_S = 1.0

RETRY_LOOKS = 10
"""Files that could not be used are tried again after so many looks: the name that one needs may be free now."""

GONE = "its family file is gone"
"""Reason of a pause that the return of the file ends."""

Signature = tuple[int, int, int]
"""Inode, size and time of modification: a file with an equal signature is not read again."""


@dataclass(frozen=True, kw_only=True)
class FileProblem:
    """A family file that cannot be used.

    Attributes:
        file: its path.
        found: the reason, with the line.
    """

    file: str
    found: str


class FamilyFolders:
    """A watch of the folders of family files.

    Args:
        settings: the settings, which name the folders.
        writer: the store to which families are added.

    Attributes:
        problems: the files that cannot be used.
    """

    def __init__(self, settings: Settings, writer: StoreThread) -> None:
        self._settings = settings
        self._folders = watched_folders(settings)
        self._writer = writer
        self._seen: dict[Path, Signature] | None = None
        self._done: tuple[dict[Path, Signature], set[Path]] | None = None
        self._num_looks = 0
        self._error = ""
        self.problems: tuple[FileProblem, ...] = ()

    def use(self, settings: Settings) -> None:
        """Take over settings, from the next look on."""
        self._settings, self._folders = settings, watched_folders(settings)

    async def watch(self) -> None:
        """Look at the folders once a second, until cancelled. A file is read when it has not changed for a second."""
        while True:
            await self.look()
            await asyncio.sleep(PERIOD_S)

    async def look(self) -> None:
        """Look at the folders once, and take over the files that have changed and are as they were at the last look."""
        try:
            found = await in_daemon_thread("family-files", lambda: _signatures(self._folders))
            seen, self._seen = self._seen, found
            if seen is None:
                return
            changing = {path for path in found.keys() | seen.keys() if found.get(path) != seen.get(path)}
            settled = {path: signature for path, signature in found.items() if path not in changing}
            self._num_looks += 1
            is_retry = bool(self.problems) and self._num_looks % RETRY_LOOKS == 0
            if (settled, changing) == self._done and not is_retry:
                return
            declared = await in_daemon_thread("family-files", lambda: _declared(settled, self._settings))
            problems = await self._writer.call(lambda store: synchronise(store, declared, changing=changing))
        except (MemoryStoreError, OSError) as error:
            self._note(str(error))
            return
        except Exception as error:
            # An error in taking over a file must not end the service.
            if repr(error) != self._error:
                log.exception("family files cannot be taken over; retrying")
            self._error = repr(error)
            return
        self._note("")
        self._report([*problems, *(p for p in self.problems if Path(p.file) in changing & found.keys())])
        self._done = (settled, changing)

    def _report(self, problems: Sequence[FileProblem]) -> None:
        for problem in problems:
            if problem not in self.problems:
                log.warning("family file cannot be used", file=problem.file, error=problem.found)
        self.problems = tuple(problems)

    def _note(self, error: str) -> None:
        if error and error != self._error:
            log.warning("family files cannot be taken over; retrying", error=error)
        self._error = error


Declared = Mapping[str, FileDeclaration | FileProblem]
"""Path of each file → what it declares, or why it cannot be used."""


def synchronise(store: Store, declared: Declared, *, changing: Collection[Path] = ()) -> list[FileProblem]:
    """Make the families of a store as their files declare them; return the files that cannot be used.

    Args:
        store: the store.
        declared: the files of the folders, and each folder that cannot be read; the families of its files stay as they
            are.
        changing: the files that may be written just now; their families stay as they are too.
    """
    known = _Known(store)
    unreadable = {Path(path) for path, found in declared.items() if isinstance(found, FileProblem)}
    for record in list(known.records.values()):
        is_hidden = not unreadable.isdisjoint(Path(record.path).parents)
        is_kept = record.path in declared or Path(record.path) in changing
        if not is_kept and not record.is_gone and not is_hidden:
            _pause(known, record)
    problems = []
    for path, found in declared.items():
        problem = found if isinstance(found, FileProblem) else _take_over(known, path, found)
        if problem is not None:
            problems.append(problem)
    return problems


class _Known:
    """The families and the records of files of a store, which are read once for all files.

    Args:
        store: the store, to which each change is written at once.

    Attributes:
        families: the families that are not removed, by id.
        records: the records of files, by path.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.families = {family.id: family for family in store.families.all()}
        self.records = {record.path: record for record in store.family_files.all()}

    def named(self, name: str) -> Family | None:
        """Return the family of a name."""
        return next((family for family in self.families.values() if family.name == name), None)

    def add(self, spec: FamilySpec) -> Family:
        """Add a family."""
        family = self._store.families.add(spec)
        self.families[family.id] = family
        return family

    def set_state(self, family: Family, state: FamilyState, *, reason: str = "") -> None:
        """Set the state of a family."""
        self.families[family.id] = self._store.families.set_state(family.name, state, reason=reason)
        if state is FamilyState.REMOVED:
            del self.families[family.id]

    def record(self, path: str, declared: FileDeclaration, *, family_id: int, before: FamilyFile | None = None) -> None:
        """Record what a file declares; of an unchanged file, keep the declaration that was recorded before."""
        record = FamilyFile(
            path=path,
            family_id=family_id,
            declaration=declared.spec.to_json() if before is None else before.declaration,
            content=declared.content,
            is_gone=False,
        )
        self._store.family_files.record(record)
        self.records[path] = record

    def mark_gone(self, record: FamilyFile) -> None:
        """Record that a file does not exist any more."""
        self._store.family_files.mark_gone(record.path)
        self.records[record.path] = replace(record, is_gone=True)

    def forget(self, record: FamilyFile) -> None:
        """Remove the record of a file."""
        self._store.family_files.forget(record.path)
        del self.records[record.path]


def _pause(known: _Known, record: FamilyFile) -> None:
    family = known.families.get(record.family_id)
    if family is not None and family.state is not FamilyState.PAUSED:
        known.set_state(family, FamilyState.PAUSED, reason=GONE)
        log.info("family is paused: its file is gone", family=family.name, file=record.path)
    known.mark_gone(record)


def _take_over(known: _Known, path: str, declared: FileDeclaration) -> FileProblem | None:
    """Make one family as its file declares it; return why this is not possible."""
    spec, record = declared.spec, known.records.get(path)
    own = None if record is None else known.families.get(record.family_id)
    if record is not None and (own is not None or not record.is_gone) and _is_unchanged(record, path, declared):
        # A family that was removed by hand while its file was there stays removed until the file changes.
        if record.is_gone:
            _resume(known, own)
        if record.is_gone or record.content != declared.content:
            known.record(path, declared, family_id=record.family_id, before=record)
        return None
    named = known.named(spec.name)
    if named is not None and (own is None or named.id != own.id):
        if (problem := _adopt(known, path, declared, named)) is not None:
            return problem
        if own is not None:
            known.set_state(own, FamilyState.REMOVED, reason="its family file names another family now")
        return None
    if own is not None:
        known.set_state(own, FamilyState.REMOVED, reason="its family file was changed")
    added = known.add(spec)
    known.record(path, declared, family_id=added.id)
    event = "family of a new file is added" if own is None else "family of a changed file is added again"
    log.info(event, family=spec.name, file=path)
    return None


def _adopt(known: _Known, path: str, declared: FileDeclaration, named: Family) -> FileProblem | None:
    """Let a file declare a family that exists already; return why this is not possible.

    Both must be equal, as for a file that `learnd env export` wrote or that was renamed, and no other file may declare
    the family.
    """
    spec = declared.spec
    other = next((r for r in known.records.values() if r.family_id == named.id and r.path != path), None)
    if other is not None and not other.is_gone:
        return FileProblem(file=path, found=f"{other.path} declares a family of the same name, {spec.name}.")
    before = other if other is not None and _is_unchanged(other, path, declared) else None
    is_same = not isinstance(named.spec, UnreadableSpec) and declaration_of(named.spec) == declaration_of(spec)
    if before is None and not is_same:
        found = (
            f"a family named {spec.name} exists that was added otherwise. Choose another name in the file, or remove "
            f"it: learnd env remove {spec.name}."
        )
        return FileProblem(file=path, found=found)
    if other is not None:
        _resume(known, named)
        known.forget(other)
    known.record(path, declared, family_id=named.id, before=before)
    return None


def _resume(known: _Known, family: Family | None) -> None:
    """Resume a family that was paused because its file was gone."""
    if family is not None and family.state is FamilyState.PAUSED and family.state_reason == GONE:
        known.set_state(family, FamilyState.PENDING if family.spaces is None else FamilyState.ACTIVE)


def _is_unchanged(record: FamilyFile, path: str, declared: FileDeclaration) -> bool:
    """Return whether a file declares the family of a record, which may be that of a file that was renamed.

    Either is enough:

    - the same content, whatever settings or a newer learnd make of what the content leaves open. It is compared in one
      folder only, because relative paths start there.
    - the same declaration, so that a default may be written down, as far as the version that wrote the record knew its
      keys: records of older versions do not have ``network``, and have import paths without symbolic links.
    """
    if record.content == declared.content and Path(record.path).parent == Path(path).parent:
        return True
    stored = json.loads(json.dumps(declared.spec.to_json()))
    if "network" not in record.declaration and not declared.spec.network:
        del stored["network"]
    return _with_real_paths(record.declaration) == _with_real_paths(stored)


def _with_real_paths(declaration: Mapping[str, Any]) -> dict[str, Any]:
    return {**declaration, "import_paths": [os.path.realpath(path) for path in declaration.get("import_paths", ())]}


def _signatures(folders: Sequence[Path]) -> dict[Path, Signature]:
    """Return the signature of every file in the folders, and of each folder that cannot be read.

    What cannot be read is found again when it is read, and reported there. A file that vanishes meanwhile is left out.
    """
    found = {}
    for folder in folders:
        try:
            files = family_files(folder)
        except OSError as error:
            found[folder] = (error.errno or 0, 0, 0)
            continue
        for path in files:
            try:
                status = path.stat()
            except OSError as error:
                if path.is_symlink() or not isinstance(error, FileNotFoundError):
                    found[path] = (error.errno or 0, 0, 0)
                continue
            found[path] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def _declared(found: Mapping[Path, Signature], settings: Settings) -> dict[str, FileDeclaration | FileProblem]:
    declared: dict[str, FileDeclaration | FileProblem] = {}
    for path in found:
        try:
            declared[str(path)] = declaration_in(path, settings)
        except FamilySpecError as error:
            hint = f" {error.hint}" if error.hint else ""
            declared[str(path)] = FileProblem(file=str(path), found=f"{error.found}{hint}")
        except Exception as error:
            # The file is foreign input, and an error in reading it must not keep the others from being read.
            log.exception("family file cannot be read", file=str(path))
            declared[str(path)] = FileProblem(file=str(path), found=f"{type(error).__name__}: {error}")
    return declared
