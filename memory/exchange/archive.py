"""The format of an archive of trials: one file that is written and read in one pass, with a checksum of every part.

    magic    b"LTR1"
    records  each: 4 bytes length n (little-endian), 16 bytes BLAKE2b-128 of the content, n bytes content

The first record is the header, JSON inside a zstd frame (:class:`ArchiveHeader`). Then follow, for each trial, one
record with its JSON inside a zstd frame, and one record per episode (:mod:`memory.files.episode_codec`: a zstd frame).
The last record is the end: JSON with the number of trials and the digest of all checksums in their order. Loading it
cannot execute code.
"""

from __future__ import annotations

import json
import struct
from _blake2 import blake2b  # not hashlib, which loads OpenSSL
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from memory.errors import ArchiveError
from memory.files.episode_codec import checksum, decompressed
from memory.records import DIGEST_BYTES

MAGIC = b"LTR1"
_HEAD = struct.Struct("<I16s")
_MOST_RECORD_BYTES = 1 << 30
_MOST_JSON_BYTES = 1 << 28


class ArchiveForm(StrEnum):
    """A form of an archive."""

    LEARND = "learnd"
    """One file of this format."""

    MINARI = "minari"
    """A folder of Minari data sets (:mod:`memory.exchange.minari_format`)."""


@dataclass(frozen=True, kw_only=True)
class ArchivedFamily:
    """A family of an archive.

    Attributes:
        name: its name in the store that wrote the archive.
        spaces: ``SpacePair.to_json()``.
        spec: its spec as JSON values. Import only compares it.
        num_trials: number of its trials in the archive.
    """

    name: str
    spaces: dict[str, Any]
    spec: dict[str, Any]
    num_trials: int

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> ArchivedFamily:
        """Return the family of JSON values.

        Raises:
            KeyError, TypeError: they do not describe a family.
        """
        name, spaces, spec, num_trials = (values[part] for part in ("name", "spaces", "spec", "num_trials"))
        if not (isinstance(name, str) and isinstance(spaces, dict) and isinstance(spec, dict)):
            raise TypeError("a family has a name, spaces and a spec")
        if not isinstance(num_trials, int):
            raise TypeError("a family has a number of trials")
        return cls(name=name, spaces=spaces, spec=spec, num_trials=num_trials)


@dataclass(frozen=True, kw_only=True)
class ArchiveHeader:
    """The first record of an archive.

    Attributes:
        store: UUID of the store that wrote the archive.
        written_at: seconds since the epoch.
        families: the families.
    """

    store: str
    written_at: float
    families: tuple[ArchivedFamily, ...]


@dataclass(frozen=True, kw_only=True)
class ArchivedTrial:
    """A trial of an archive.

    Attributes:
        family: name of its family.
        task: the task as JSON text, unchanged.
        digest: digest of its context key; None if it had none.
        learner_step: the learner step that recorded it, in the store that wrote the archive.
        recorded_at: seconds since the epoch.
        frames: its episodes, compressed.
    """

    family: str
    task: str
    digest: bytes | None
    learner_step: int
    recorded_at: float
    frames: tuple[bytes, ...]

    @classmethod
    def of_json(cls, values: Mapping[str, Any], frames: Iterable[bytes]) -> ArchivedTrial:
        """Return the trial of JSON values and its frames.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: they do not describe a trial.
        """
        digest = None if values["digest"] is None else bytes.fromhex(values["digest"])
        if digest is not None and len(digest) != DIGEST_BYTES:
            raise ValueError(f"a digest has {DIGEST_BYTES} bytes, not {len(digest)}")
        return cls(
            family=str(values["family"]),
            task=str(values["task"]),
            digest=digest,
            learner_step=int(values["learner_step"]),
            recorded_at=float(values["recorded_at"]),
            frames=tuple(frames),
        )

    @property
    def content(self) -> bytes:
        """A digest that is equal for equal trials of a family, whatever store they are in."""
        return content_digest(self.task, [checksum(frame) for frame in self.frames])


def content_digest(task: str, checksums: list[bytes]) -> bytes:
    """Return the digest of a trial with this task, as JSON text, and episodes with these checksums."""
    return blake2b(task.encode("utf-8", "surrogatepass") + b"\0" + b"".join(checksums), digest_size=16).digest()


class ArchiveWriter:
    """A writer of an archive.

    Args:
        stream: the file to write to.
        header: the first record.
    """

    def __init__(self, stream: BinaryIO, header: ArchiveHeader) -> None:
        self._stream = stream
        self._checksums = blake2b(digest_size=16)
        self._num_trials = 0
        stream.write(MAGIC)
        families = [vars(family) for family in header.families]
        self._write_json({"store": header.store, "written_at": header.written_at, "families": families})

    def add(self, trial: ArchivedTrial) -> None:
        """Write a trial."""
        values = {
            "family": trial.family,
            "task": trial.task,
            "digest": trial.digest and trial.digest.hex(),
            "learner_step": trial.learner_step,
            "recorded_at": trial.recorded_at,
            "num_episodes": len(trial.frames),
        }
        self._write_json(values)
        for frame in trial.frames:
            self._write(frame)
        self._num_trials += 1

    def finish(self) -> None:
        """Write the end, without which an archive counts as cut off."""
        self._write_json({"num_trials": self._num_trials, "digest": self._checksums.hexdigest()})

    def _write_json(self, values: dict[str, Any]) -> None:
        import zstandard

        self._write(zstandard.ZstdCompressor(level=3).compress(json.dumps(values).encode()))

    def _write(self, content: bytes) -> None:
        digest = checksum(content)
        self._checksums.update(digest)
        self._stream.write(_HEAD.pack(len(content), digest) + content)


class ArchiveReader:
    """A reader of an archive. Every record is verified when it is read.

    Args:
        path: the file.
        stream: the file, open for reading.

    Attributes:
        header: the first record.

    Raises:
        ArchiveError: the file is no archive, or its header is damaged.
    """

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self._path = path
        self._stream = stream
        self._checksums = blake2b(digest_size=16)
        if stream.read(len(MAGIC)) != MAGIC:
            raise self._error("it is no archive of trials.", "`learnd memory export FILE` writes one.")
        self.header = self._header(self._json())

    def trials(self) -> Iterator[ArchivedTrial]:
        """Yield the trials in the order in which they were written.

        Raises:
            ArchiveError: a record is damaged, or the file is cut off.
        """
        num_trials = 0
        while True:
            digest = self._checksums.hexdigest()
            values = self._json()
            if "family" not in values:
                break
            yield self._trial(values)
            num_trials += 1
        if values.get("num_trials") != num_trials or values.get("digest") != digest or self._stream.read(1):
            raise self._damaged("its end does not match its records")

    def _header(self, values: dict[str, Any]) -> ArchiveHeader:
        try:
            families = tuple(ArchivedFamily.of_json(family) for family in values["families"])
            return ArchiveHeader(store=str(values["store"]), written_at=float(values["written_at"]), families=families)
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(f"its header cannot be read ({error})") from error

    def _trial(self, values: dict[str, Any]) -> ArchivedTrial:
        try:
            return ArchivedTrial.of_json(values, (self._record() for _ in range(int(values["num_episodes"]))))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._damaged(f"a trial cannot be read ({error})") from error

    def _json(self) -> dict[str, Any]:
        content = self._record()
        try:
            values: dict[str, Any] = json.loads(decompressed(content, most_bytes=_MOST_JSON_BYTES))
            return dict(values)
        except (ValueError, TypeError, RecursionError) as error:
            raise self._damaged(f"a record is not JSON ({error})") from error

    def _record(self) -> bytes:
        head = self._stream.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise self._damaged("it is cut off")
        length, digest = _HEAD.unpack(head)
        if length > _MOST_RECORD_BYTES:
            raise self._damaged("a record has an impossible length")
        content = self._stream.read(length)
        if len(content) < length:
            raise self._damaged("it is cut off")
        if checksum(content) != digest:
            raise self._damaged("a record does not match its checksum")
        self._checksums.update(digest)
        return content

    def _damaged(self, found: str) -> ArchiveError:
        return self._error(f"it is damaged: {found}.", "Copy or export it again. Nothing of it was imported.")

    def _error(self, found: str, hint: str) -> ArchiveError:
        return ArchiveError(operation="reading", subject=str(self._path), found=found, hint=hint)
