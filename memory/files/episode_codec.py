"""Encoding of episodes as bytes: a fixed, compressed layout with a checksum. Loading it cannot execute code.

The layout, before compression, all numbers little-endian:

    offset  size  content
    0       4     b"LEP1"
    4       1     flags: bit 0 set when the episode was terminated, clear when truncated;
                  bit 1 set when there is a fourth array
    5       3     zero
    8       ...   three or four arrays: observations, actions, rewards, decisions (the parameters of the
                  distributions that the actions were drawn from, float16); each is
                    1 byte   length of the type's name
                    n bytes  numpy's name of the type ("<f4", "|u1"), ASCII
                    1 byte   number of dimensions d
                    4·d      the dimensions, unsigned
                    ...      the elements in C order, their bytes transposed: first byte 0 of every element,
                             then byte 1 of every element, and so on (neighbouring floats share their high bytes,
                             so that the compressed form is smaller)

Episodes that were written before there were decisions have bit 1 clear and three arrays.

The layout is compressed as one zstd frame that records its content size. The checksum is BLAKE2b-128 of the frame.

Why not safetensors in the frame: 8 to 10% more bytes for 200 to 500 steps, 2.6 times the bytes for 10 bandit pulls,
equal time to write and 5 to 13 µs less to read an episode (safetensors 0.8, zstd level 3, 2026-11-28).
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from memory.records import EpisodeRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = b"LEP1"
_TERMINATED = 0x01
_HAS_DECISIONS = 0x02
_COMPRESSION_LEVEL = 3
_KINDS = frozenset("biuf")
_MAX_EPISODE_BYTES = 1 << 30


def checksum(frame: bytes) -> bytes:
    """Return the BLAKE2b-128 digest of an episode's compressed bytes."""
    import hashlib  # here, for the sake of readers that never look into an episode (memory.files.parameters.sha256_of)

    return hashlib.blake2b(frame, digest_size=16).digest()


def pack_episode(episode: EpisodeRecord) -> bytes:
    """Return an episode as one zstd frame.

    Raises:
        ValueError: the elements of an array are not booleans, integers or floats.
    """
    import zstandard

    arrays = [episode.observations, episode.actions, episode.rewards]
    flags = _TERMINATED if episode.is_terminated else 0
    if episode.decisions is not None:
        arrays.append(episode.decisions)
        flags |= _HAS_DECISIONS
    parts = [_MAGIC, struct.pack("<B3x", flags)]
    for array in arrays:
        parts.extend(_pack_array(array))
    return zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL).compress(b"".join(parts))


def unpack_episode(frame: bytes) -> EpisodeRecord:
    """Return the episode of a zstd frame; the inverse of ``pack_episode``.

    Raises:
        ValueError: the bytes do not have this layout.
    """
    content = decompressed(frame, most_bytes=_MAX_EPISODE_BYTES)
    if content[:4] != _MAGIC or len(content) < 8:
        raise ValueError("not an episode of layout LEP1")
    offset = 8
    arrays = []
    try:
        for _ in range(4 if content[4] & _HAS_DECISIONS else 3):
            array, offset = _unpack_array(content, offset)
            arrays.append(array)
    except (struct.error, TypeError, SyntaxError, UnicodeDecodeError) as error:
        raise ValueError(f"damaged episode: {error}") from error
    if offset != len(content):
        raise ValueError(f"damaged episode: {len(content) - offset} bytes after its last array")
    observations, actions, rewards, *rest = arrays
    return EpisodeRecord(
        observations=observations,
        actions=actions,
        rewards=rewards,
        is_terminated=bool(content[4] & _TERMINATED),
        decisions=rest[0] if rest else None,
    )


def decompressed(frame: bytes, *, most_bytes: int) -> bytes:
    """Return the content of a zstd frame.

    Args:
        frame: the frame, which records the size of its content.
        most_bytes: largest size; zstandard allocates what a frame records, whatever its ``max_output_size`` is.

    Raises:
        ValueError: the bytes are no such frame, or the content is larger.
    """
    import zstandard

    try:
        size_bytes = zstandard.frame_content_size(frame)
        if size_bytes > most_bytes:
            raise ValueError(f"a zstd frame of {size_bytes} bytes; {most_bytes} are the most")
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=most_bytes)
    except zstandard.ZstdError as error:
        raise ValueError(f"not a zstd frame: {error}") from error


def _pack_array(array: NDArray[Any]) -> list[bytes]:
    import numpy as np

    plain = np.asarray(array)
    if plain.dtype.kind not in _KINDS:
        raise ValueError(f"an episode cannot hold an array of {plain.dtype}; use booleans, integers or floats")
    plain = plain.astype(plain.dtype.newbyteorder("<"), order="C", copy=False)
    name = plain.dtype.str.encode("ascii")
    header = struct.pack(f"<B{len(name)}sB{plain.ndim}I", len(name), name, plain.ndim, *plain.shape)
    elements = plain.reshape(-1).view(np.uint8).reshape(-1, plain.dtype.itemsize)
    return [header, elements.T.tobytes()]


def _unpack_array(content: bytes, offset: int) -> tuple[NDArray[Any], int]:
    import numpy as np

    length = content[offset] if offset < len(content) else 0
    name, num_dimensions = struct.unpack_from(f"<{length}sB", content, offset + 1)
    dtype = np.dtype(name.decode("ascii"))
    if dtype.kind not in _KINDS:
        raise ValueError(f"an episode cannot hold an array of {dtype}")
    offset += 1 + length + 1
    shape = struct.unpack_from(f"<{num_dimensions}I", content, offset)
    offset += 4 * num_dimensions
    count = math.prod(shape)
    end = offset + count * dtype.itemsize
    if end > len(content):
        raise ValueError("damaged episode: it ends inside an array")
    planes = np.frombuffer(content, dtype=np.uint8, count=end - offset, offset=offset)
    elements = np.ascontiguousarray(planes.reshape(dtype.itemsize, count).T)
    return elements.reshape(-1).view(dtype).reshape(shape), end
