from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from memory.files.episode_codec import checksum, pack_episode, unpack_episode
from memory.records import EpisodeRecord
from tests.memory.making import make_episode, same_episode

DTYPES = st.sampled_from(["<f4", ">f4", "<f8", "<f2", "|u1", "|i1", "<i8", ">i4", "<u2", "|b1"])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)


@st.composite
def episodes(draw: st.DrawFn) -> EpisodeRecord:
    arrays = [draw(hnp.arrays(dtype=draw(DTYPES), shape=draw(SHAPES))) for _ in range(3)]
    return EpisodeRecord(
        observations=arrays[0],
        actions=arrays[1],
        rewards=arrays[2],
        is_terminated=draw(st.booleans()),
        decisions=draw(st.none() | hnp.arrays(dtype=np.float16, shape=SHAPES)),
    )


def as_little_endian(episode: EpisodeRecord) -> EpisodeRecord:
    def plain(array: np.ndarray) -> np.ndarray:
        return array.astype(array.dtype.newbyteorder("<"))

    return EpisodeRecord(
        observations=plain(episode.observations),
        actions=plain(episode.actions),
        rewards=plain(episode.rewards),
        is_terminated=episode.is_terminated,
        decisions=episode.decisions,
    )


@settings(max_examples=150)
@given(episode=episodes())
def test_an_episode_comes_back_bit_for_bit(episode: EpisodeRecord) -> None:
    assert same_episode(unpack_episode(pack_episode(episode)), as_little_endian(episode))


@settings(max_examples=150)
@given(position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_one_flipped_bit_changes_the_checksum(position: int, bit: int) -> None:
    frame = pack_episode(make_episode())
    damaged = bytearray(frame)
    damaged[position % len(frame)] ^= 1 << bit
    assert checksum(bytes(damaged)) != checksum(frame)


@settings(max_examples=150)
@given(content=st.binary(max_size=200), position=st.integers(min_value=0))
def test_foreign_bytes_are_refused_and_nothing_else_is_raised(content: bytes, position: int) -> None:
    compressor = zstandard.ZstdCompressor()
    frames = [content, compressor.compress(content), compressor.compress(b"LEP1" + content)]
    for has_decisions in (False, True):
        whole = zstandard.ZstdDecompressor().decompress(pack_episode(make_episode(has_decisions=has_decisions)))
        frames.append(compressor.compress(whole[: position % len(whole)]))
    for frame in frames:
        try:
            unpack_episode(frame)
        except ValueError:
            continue


def test_arrays_laid_out_otherwise_come_back_equal() -> None:
    strided = np.arange(60, dtype=np.float32).reshape(3, 20).T[::2]
    episode = EpisodeRecord(
        observations=strided, actions=np.arange(9)[::-1], rewards=np.zeros(9, np.float32), is_terminated=True
    )
    back = unpack_episode(pack_episode(episode))
    np.testing.assert_array_equal(back.observations, strided)
    np.testing.assert_array_equal(back.actions, np.arange(9)[::-1])


def test_arrays_that_come_back_can_be_written_to() -> None:
    back = unpack_episode(pack_episode(make_episode()))
    back.rewards[0] = 7.0
    assert back.rewards[0] == 7.0


def test_objects_are_refused() -> None:
    episode = make_episode()
    odd = EpisodeRecord(
        observations=episode.observations,
        actions=np.array(["left", None], dtype=object),
        rewards=episode.rewards,
        is_terminated=False,
    )
    with pytest.raises(ValueError, match="object"):
        pack_episode(odd)


def test_the_first_bytes_are_those_the_layout_documents() -> None:
    episode = EpisodeRecord(
        observations=np.array([[1.0, 2.0]], dtype=np.float32),
        actions=np.array([3], dtype=np.int64),
        rewards=np.array([], dtype=np.float32),
        is_terminated=True,
    )
    content = zstandard.ZstdDecompressor().decompress(pack_episode(episode))
    observations = b"\x03<f4\x02\x01\0\0\0\x02\0\0\0" + b"\0\0" + b"\0\0" + b"\x80\x00" + b"\x3f\x40"
    actions = b"\x03<i8\x01\x01\0\0\0" + b"\x03" + bytes(7)
    assert content == b"LEP1\x01\0\0\0" + observations + actions + b"\x03<f4\x01\0\0\0\0"


def test_the_fourth_array_is_the_decisions_and_a_bit_of_the_flags_announces_it() -> None:
    empty = np.array([], dtype=np.float32)
    episode = EpisodeRecord(
        observations=empty,
        actions=empty,
        rewards=empty,
        is_terminated=True,
        decisions=np.array([[1.0, -2.0]], dtype=np.float16),
    )
    content = zstandard.ZstdDecompressor().decompress(pack_episode(episode))
    decisions = b"\x03<f2\x02\x01\0\0\0\x02\0\0\0" + b"\0\0" + b"\x3c\xc0"
    assert content == b"LEP1\x03\0\0\0" + 3 * b"\x03<f4\x01\0\0\0\0" + decisions


def test_an_episode_of_an_older_store_has_no_decisions() -> None:
    older = b"LEP1\0\0\0\0" + b"\x03<f4\x02\x02\0\0\0\x01\0\0\0" + bytes(8)
    older += b"\x03<i8\x01\x01\0\0\0" + bytes(8) + b"\x03<f4\x01\x01\0\0\0" + bytes(4)
    back = unpack_episode(zstandard.ZstdCompressor().compress(older))
    assert (len(back.rewards), back.decisions) == (1, None)


def test_logits_that_exclude_a_choice_come_back_as_they_were() -> None:
    values = np.array([[0.1, -np.inf, 65504.0], [-0.0, 6e-8, np.inf]], dtype=np.float16)
    back = unpack_episode(pack_episode(replace(make_episode(steps=2), decisions=values)))
    assert back.decisions is not None
    assert back.decisions.dtype == np.float16
    assert back.decisions.tobytes() == values.tobytes()
