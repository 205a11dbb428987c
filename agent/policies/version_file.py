"""Version files: published or exported parameters in one safetensors file, with a header that says how to use them.

This module has the only reader and the only writer. The reader always verifies:

- the checksum in the header, which covers the header and the tensors; files before format 3 have none;
- ``FILE.sha256``, as ``learnd policy export`` writes it, where that file exists;
- the sha256 in the file's name, if it is named like a file of the store.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from agent.devices import DEVICE_FAULTS
from agent.errors import AgentError
from agent.learners.state import as_arrays, as_tensors
from agent.output.files import check_output_file, is_device, write_output_file
from agent.policies.earlier_formats import EarlierFormatError, header_of_earlier
from agent.policies.version_header import (
    CHECKSUM_KEY,
    FORMAT,
    FORMAT_KEY,
    VersionHeader,
    checksum_of,
    header_from_metadata,
    header_to_metadata,
)
from memory.files.parameters import SUFFIX, decode, encode, sha256_of

STORED_NAME = re.compile(rf"([0-9a-f]{{64}}){re.escape(SUFFIX)}")

READING = "reading policy file"
DAMAGED_HINT = "Take another copy, or export it again: this one is damaged."


class PolicyFileError(AgentError):
    """An error: a policy file cannot be read, is damaged, or does not hold what was asked of it."""


@dataclass(frozen=True, kw_only=True)
class VersionFile:
    """The verified content of a version file.

    Attributes:
        header: how to use the tensors.
        tensors: the tensors by name, on the CPU.
    """

    header: VersionHeader
    tensors: Mapping[str, Tensor]


def encode_version(header: VersionHeader, tensors: Mapping[str, Tensor]) -> bytes:
    """Return the content of a version file; equal headers and tensors give equal bytes."""
    arrays = as_arrays(tensors)
    return encode(arrays, metadata=header_to_metadata(header, arrays))


def write_version_file(path: Path, content: bytes, *, has_checksum_file: bool = False) -> str:
    """Write a version file durably and return its sha256.

    A FILE.sha256 that already exists is replaced, so that it never describes an earlier file of that name.

    Args:
        path: the file.
        content: the result of :func:`encode_version`, or a file of the store.
        has_checksum_file: write FILE.sha256 in any case.

    Raises:
        OutputFileError: a file cannot be written; FILE.sha256 is checked before FILE is replaced.
    """
    sha256, checksum_file = sha256_of(content), checksum_file_of(path)
    writes_checksum_file = not is_device(path) and (has_checksum_file or os.path.lexists(checksum_file))
    if writes_checksum_file:
        check_output_file(checksum_file)
    write_output_file(path, content)
    if writes_checksum_file:
        write_output_file(checksum_file, _checksum_line(sha256, path.name))
    return sha256


def checksum_file_of(path: Path) -> Path:
    """Return the path of FILE.sha256."""
    return path.with_name(f"{path.name}.sha256")


def read_version_file(path: Path | str) -> VersionFile:
    """Read and verify a version file.

    Raises:
        PolicyFileError: the file cannot be read, does not match a checksum, or is no version file.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise refusal(str(path), f"{error.strerror or error}.", "Export one: learnd policy export.") from error
    _verify_name(path, content)
    _verify_checksum_file(path, content)
    return decode_version(content, subject=str(path))


def decode_version(content: bytes, *, subject: str) -> VersionFile:
    """Return the header and the tensors in a version file's content, after verifying the checksum in the header.

    Args:
        content: content of the file.
        subject: the name of the file in error messages.

    Raises:
        PolicyFileError: the content is damaged, or is no version file.
    """
    try:
        arrays, metadata = decode(content)
    except ValueError as error:
        raise refusal(
            subject, f"it is not a safetensors file: {error}.", "Name a policy's file, or export it."
        ) from error
    if FORMAT_KEY in metadata or CHECKSUM_KEY in metadata:
        _verify_content(metadata, arrays, subject)
    with understanding(subject):
        header = _header_of(metadata, arrays, subject)
    return VersionFile(header=header, tensors=as_tensors(arrays))


def _header_of(metadata: Mapping[str, str], arrays: Mapping[str, NDArray[Any]], subject: str) -> VersionHeader:
    if FORMAT_KEY in metadata:
        if int(metadata[FORMAT_KEY]) != FORMAT:
            found = f"its format is {metadata[FORMAT_KEY]}."
            raise refusal(subject, found, f"This learnd reads formats up to {FORMAT}: use the one that wrote it.")
        return header_from_metadata(metadata)
    try:
        header = header_of_earlier(metadata, arrays, subject=subject)
    except EarlierFormatError as error:
        raise refusal(subject, error.found, error.hint) from error
    if header is None:
        hint = "`learnd policy export`, `learnd learn --output` and `learnd few-shot train` write policies."
        raise refusal(subject, "its header does not describe a policy.", hint)
    return header


def _verify_content(metadata: Mapping[str, str], arrays: Mapping[str, NDArray[Any]], subject: str) -> None:
    recorded, found = metadata.get(CHECKSUM_KEY), checksum_of(metadata, arrays)
    if recorded is None:
        raise refusal(subject, "the checksum is missing from its header.", DAMAGED_HINT)
    if recorded != found:
        what = f"its header and tensors have the checksum {found}, and its header records {recorded}."
        raise refusal(subject, what, DAMAGED_HINT)


def _verify_name(path: Path, content: bytes) -> None:
    named = STORED_NAME.fullmatch(path.name)
    if named is not None and sha256_of(content) != named[1]:
        what = f"its {len(content)} bytes have the sha256 {sha256_of(content)}, which is not the one in its name."
        raise refusal(str(path), what, DAMAGED_HINT)


def _verify_checksum_file(path: Path, content: bytes) -> None:
    checksum_file = checksum_file_of(path)
    try:
        recorded = checksum_file.read_bytes().removeprefix(b"\\")[:64].decode("ascii", "replace").lower()
    except FileNotFoundError:
        return
    except OSError as error:
        found = f"{checksum_file.name} cannot be read: {error.strerror or error}."
        raise refusal(str(path), found, "Make it readable, or remove it if it is not of this file.") from error
    found = sha256_of(content)
    if recorded != found:
        what = f"its {len(content)} bytes have the sha256 {found}, and {checksum_file.name} records {recorded}."
        hint = f"{DAMAGED_HINT} If the file was replaced on purpose, remove {checksum_file.name}."
        raise refusal(str(path), what, hint)


def _checksum_line(sha256: str, name: str) -> bytes:
    """Return a line of ``sha256sum``'s; it escapes names with line breaks or backslashes, and says so at the start."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != name else ""
    return os.fsencode(f"{mark}{sha256}  {escaped}\n")


@contextmanager
def understanding(subject: str) -> Iterator[None]:
    """Convert exceptions from a malformed header to an error about the file.

    Raises:
        PolicyFileError: the header cannot be understood.
    """
    try:
        yield
    except DEVICE_FAULTS:  # not caused by the header
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        found = f"its header cannot be understood ({type(error).__name__}: {error})."
        raise refusal(subject, found, "Take another copy: it is damaged, or another learnd wrote it.") from error


def refusal(subject: str, found: str, hint: str) -> PolicyFileError:
    """Return the error for a file or version that contains no usable policy."""
    return PolicyFileError(operation=READING, subject=subject, found=found, hint=hint)
