"""Parameter files: safetensors files named by their sha256. A file gets its name only when it is complete."""

from __future__ import annotations

import fcntl
import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memory.errors import CorruptFileError, MemoryStoreError, StoreFullError
from memory.records import ParameterFile
from memory.sqlite_library import FULL_HINT, is_out_of_room

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIX = ".safetensors"


class ParameterFolder:
    """The parameter files of a data folder.

    A writer first writes a file and then commits the row that refers to it. A remover removes files without a
    reference. A lock prevents the removal of files between these two steps of a writer.

    Args:
        path: folder of the files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def file_path(self, sha256: str) -> Path:
        """Return the path of the file with that sha256."""
        return self.path / f"{sha256}{SUFFIX}"

    @contextmanager
    def kept_still(self) -> Iterator[None]:
        """Prevent the removal of parameter files inside the block: from writing a file to the commit of its row."""
        with self._lock_file() as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield

    @contextmanager
    def removable(self) -> Iterator[bool]:
        """Yield whether files may be removed inside the block: False if a process is inside :meth:`kept_still`.

        The call does not wait.
        """
        with self._lock_file() as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    @contextmanager
    def _lock_file(self) -> Iterator[int]:
        descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def write(self, tensors: Mapping[str, NDArray[Any]], *, metadata: Mapping[str, str] | None = None) -> ParameterFile:
        """Write tensors durably to a file named by its sha256: temporary file, fsync, rename, fsync.

        Equal tensors and metadata give the same bytes in every process.

        Raises:
            StoreFullError: the disk is full; no file was left behind.
        """
        content = encode(tensors, metadata=metadata)
        sha256 = sha256_of(content)
        path = self.file_path(sha256)
        if not (path.exists() and sha256_of(path.read_bytes()) == sha256):
            write_durably(path, content)
        return ParameterFile(sha256=sha256, size_bytes=len(content))

    def read(self, file: ParameterFile) -> bytes:
        """Return a file's bytes after a check against its sha256.

        Raises:
            CorruptFileError: the file is missing or its content does not match its checksum.
        """
        path = self.file_path(file.sha256)
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise _corrupt(path, "the file is missing.") from error
        except OSError as error:
            raise _corrupt(path, f"it cannot be read: {error.strerror}.") from error
        found = sha256_of(content)
        if found != file.sha256:
            raise _corrupt(path, f"its {len(content)} bytes have the sha256 {found}.")
        return content

    def load(self, file: ParameterFile) -> dict[str, NDArray[Any]]:
        """Verify a file's checksum and return its tensors.

        Raises:
            CorruptFileError: the file is missing, damaged, or not a safetensors file.
        """
        content = self.read(file)
        try:
            tensors, _ = decode(content)
        except ValueError as error:
            raise _corrupt(self.file_path(file.sha256), f"it is not a safetensors file: {error}.") from error
        return tensors

    def remove(self, sha256: str) -> int:
        """Remove a file that no row refers to; return the number of freed bytes."""
        return _remove(self.file_path(sha256))

    def listed(self) -> dict[str, os.stat_result]:
        """Return the file status of each parameter file in the folder, by sha256."""
        found = {}
        for path in self.path.glob(f"*{SUFFIX}"):
            try:
                found[path.name.removesuffix(SUFFIX)] = path.stat()
            except FileNotFoundError:
                continue
        return found

    def remove_unfinished(self, *, older_than: float, newer_than: float = math.inf) -> tuple[int, int]:
        """Remove temporary files that a killed writer left behind; return their number and total size in bytes.

        Args:
            older_than: files last written before this time are removed.
            newer_than: files last written after this time are removed too; the clock was ahead when they were written.
        """
        freed = [
            _remove(path)
            for path in self.path.glob(".*.tmp")
            if not older_than <= path.stat(follow_symlinks=False).st_mtime <= newer_than
        ]
        return len(freed), sum(freed)

    def size_bytes(self) -> int:
        """Return the total size of all parameter files."""
        return sum(stats.st_size for stats in self.listed().values())


def sha256_of(content: bytes) -> str:
    """Return the content's sha256 in hexadecimal."""
    import hashlib  # Not at the top: it loads OpenSSL, which takes a quarter of the time of `learnd status --json`.

    return hashlib.sha256(content).hexdigest()


def content_checksum(tensors: Mapping[str, NDArray[Any]], *, description: str = "") -> str:
    """Return the sha256 of a description and of the tensors' names, types, shapes and values.

    The result does not depend on the layout in memory. It detects a changed bit in the content of a file whose own
    sha256 is recorded nowhere.
    """
    import hashlib  # Not at the top, as in sha256_of.

    digest = hashlib.sha256(description.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        digest.update(tensor.tobytes(order="C"))
    return digest.hexdigest()


def encode(tensors: Mapping[str, NDArray[Any]], *, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return tensors as safetensors bytes that depend only on the tensors and the metadata.

    The library writes the metadata in hash order, which differs between processes, so the header is sorted here.
    """
    import numpy as np
    from safetensors.numpy import save

    laid_out = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    content = save(laid_out, metadata=dict(metadata) if metadata else None)
    if not metadata:
        return content
    header, end = _header_of(content)
    header["__metadata__"] = dict(sorted(metadata.items()))
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    ordered += b" " * (-len(ordered) % 8)
    return struct.pack("<Q", len(ordered)) + ordered + content[end:]


def decode(content: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file's content.

    Raises:
        ValueError: the content is not a safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(content)
    except (SafetensorError, KeyError) as error:
        raise ValueError(str(error)) from error
    header, _ = _header_of(content)
    return tensors, header.get("__metadata__") or {}


def _header_of(content: bytes) -> tuple[dict[str, Any], int]:
    """Return a safetensors file's header and the offset of its end."""
    (length,) = struct.unpack_from("<Q", content)
    return json.loads(content[8 : 8 + length]), 8 + length


def write_durably(path: Path, content: bytes) -> None:
    """Write a file durably: even after a power cut the file is either complete or unchanged.

    Raises:
        StoreFullError: the disk is full; no temporary file was left behind.
        MemoryStoreError: the folder cannot be written to.
    """
    temporary = path.parent / f".{path.name[:16]}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(path)
        fsync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        found = f"{error.strerror}."
        if is_out_of_room(error):
            raise StoreFullError(
                operation="writing", subject=str(path), found=found, hint=FULL_HINT, is_recoverable=True
            ) from error
        raise MemoryStoreError(operation="writing", subject=str(path), found=found) from error


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> int:
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def _corrupt(path: Path, found: str) -> CorruptFileError:
    return CorruptFileError(
        operation="reading the parameters",
        subject=str(path),
        found=found,
        hint="An older file can replace it: a kept checkpoint, `learnd policy rollback`, or a backup.",
    )
