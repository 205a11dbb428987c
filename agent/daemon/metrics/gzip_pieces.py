"""Text in gzip (RFC 1952) that is joined from pieces, each of which is compressed once (RFC 1951).

A piece is compressed without reference to the pieces before it and ends at a whole byte, so that it stands in any text.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

LEVEL = 1
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
"""A gzip header without name and time: deflate, the fastest algorithm, an unknown file system."""

LEAST_JOINED_BYTES = 2**16
"""Shorter texts are compressed as a whole, which takes little time: small pieces would double their size."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a text.

    Attributes:
        text: the part.
    """

    text: bytes

    @cached_property
    def deflated(self) -> bytes:
        """The part as blocks of a deflate stream, none of which is the last one."""
        return _deflated(self.text, zlib.Z_SYNC_FLUSH)


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """The beginning of a text, to which an end is added.

    Attributes:
        text: the beginning.
        deflated: the same as blocks of a deflate stream.
        checksum: its CRC-32.
    """

    text: bytes
    deflated: bytes
    checksum: int

    def zipped(self, end: bytes) -> bytes:
        """Return the text with this end, in gzip."""
        checksum, size = zlib.crc32(end, self.checksum), (len(self.text) + len(end)) % 2**32
        trailer = struct.pack("<II", checksum, size)
        return b"".join((_HEADER, self.deflated, _deflated(end, zlib.Z_FINISH), trailer))


def joined(pieces: Sequence[Piece]) -> Beginning:
    """Return the beginning that consists of these pieces."""
    text = b"".join(piece.text for piece in pieces)
    if len(text) < LEAST_JOINED_BYTES:
        deflated = _deflated(text, zlib.Z_SYNC_FLUSH)
    else:
        deflated = b"".join(piece.deflated for piece in pieces)
    return Beginning(text=text, deflated=deflated, checksum=zlib.crc32(text))


def _deflated(text: bytes, flush: int) -> bytes:
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(text) + compressor.flush(flush)
