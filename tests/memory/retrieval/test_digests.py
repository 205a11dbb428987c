from __future__ import annotations

import numpy as np
import pytest

from memory.records import DIGEST_BYTES
from memory.retrieval.digests import context_digests, observation_digests


def one(*values: float) -> bytes:
    [digest] = observation_digests(np.array([values], np.float32))
    return digest


def test_equal_observations_have_equal_digests_and_others_do_not() -> None:
    observations = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    digests = observation_digests(observations)
    assert digests == observation_digests(observations[:, :].copy())
    assert len(set(digests)) == 500
    assert {len(digest) for digest in digests} == {DIGEST_BYTES}


def test_the_last_bits_of_a_number_do_not_matter() -> None:
    assert one(0.3, -7.25) == one(float(np.nextafter(np.float32(0.3), np.float32(1.0))), -7.25)
    assert one(0.3) != one(0.3001)


@pytest.mark.parametrize("nothing", [-0.0, 1e-12, -1e-12])
def test_a_negligible_number_counts_as_zero(nothing: float) -> None:
    assert one(1.0, 0.0) == one(1.0, nothing)


def test_a_small_number_alone_is_not_negligible() -> None:
    assert one(1e-12) != one(2e-12)
    assert one(0.0) == one(-0.0)


def test_every_index_of_a_discrete_space_has_its_own_digest() -> None:
    indices = np.arange(65_536, dtype=np.float32)[:, None]
    assert len(set(observation_digests(indices))) == 65_536


def test_the_context_that_an_environment_gives_comes_before_the_observation() -> None:
    observations = np.zeros((2, 1), np.float32)
    [_, seen] = observation_digests(observations)
    assert context_digests(observations, [b"c" * DIGEST_BYTES, None]) == [b"c" * DIGEST_BYTES, seen]
    assert context_digests(observations) == [seen, seen]


def test_the_bytes_of_images_are_told_apart_by_each_bit() -> None:
    pixels = np.full((3, 5000), 200, np.uint8)
    pixels[1, 4999] = 201
    first, second, third = observation_digests(pixels)
    assert first == third != second
