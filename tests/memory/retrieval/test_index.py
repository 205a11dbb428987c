from __future__ import annotations

import numpy as np
import pytest

from memory.retrieval.index import NO_TRIAL, ContextIndex, Floats

WIDTH = 8


def digest(number: int) -> bytes:
    return number.to_bytes(16, "little")


def drawn(count: int, *, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)


def filled(count: int, *, num_digests: int = 10) -> tuple[ContextIndex, Floats]:
    index, embeddings = ContextIndex(WIDTH), drawn(count)
    index.add(range(1, count + 1), [digest(number % num_digests) for number in range(count)], embeddings)
    return index, embeddings


def brute_force(keys: dict[int, Floats], query: Floats, count: int) -> list[int]:
    ids = np.array(sorted(keys))
    distances = np.linalg.norm(np.stack([keys[key] for key in ids]).astype(np.float64) - query, axis=1)
    return [int(key) for key in ids[np.argsort(distances, kind="stable")[:count]]]


def test_exact_matches_come_newest_first() -> None:
    index, _ = filled(25)
    assert index.exact(digest(3)).tolist() == [24, 14, 4]
    assert index.exact(digest(99)).tolist() == []


@pytest.mark.parametrize("size", [1, 5, 300, 40_000])
def test_neighbours_are_those_of_brute_force(size: int) -> None:
    index, embeddings = filled(size)
    queries = drawn(4, seed=1)
    ids, distances = index.nearest(queries, 5)
    keys = {number + 1: embeddings[number] for number in range(size)}
    for query, found, far in zip(queries, ids, distances, strict=True):
        expected = brute_force(keys, query, 5)
        assert [int(key) for key in found if key != NO_TRIAL] == expected
        reached = np.linalg.norm(np.stack([keys[key] for key in expected]) - query, axis=1)
        np.testing.assert_allclose(far[: len(expected)], reached, rtol=1e-5)
        assert np.isinf(far[len(expected) :]).all()


def test_a_key_far_from_the_origin_is_told_from_its_neighbour() -> None:
    index = ContextIndex(WIDTH)
    keys = np.full((50, WIDTH), 1_000.0, np.float32)
    keys[:, 0] += np.arange(50, dtype=np.float32) * 0.01
    index.add(range(1, 51), [digest(0)] * 50, keys)
    ids, distances = index.nearest(keys[:10], 1)
    assert ids[:, 0].tolist() == list(range(1, 11))
    assert distances[:, 0].tolist() == [0.0] * 10


def test_any_order_of_additions_leaves_the_same_content() -> None:
    draw = np.random.default_rng(7)
    index, keys, digests = ContextIndex(WIDTH), dict[int, Floats](), dict[int, int]()
    for _ in range(60):
        ids = draw.choice(3_000, size=40, replace=False) + 1
        values = draw.normal(size=(40, WIDTH)).astype(np.float32)
        numbers = draw.integers(0, 5, size=40)
        index.add(ids, [digest(int(number)) for number in numbers], values)
        keys.update(zip(ids.tolist(), values, strict=True))
        digests.update(zip(ids.tolist(), numbers.tolist(), strict=True))
        assert len(index) == len(keys)
        assert index.trial_ids.tolist() == sorted(keys)
        query = draw.normal(size=WIDTH).astype(np.float32)
        assert index.nearest(query[None], 6)[0][0].tolist() == brute_force(keys, query, 6)
        held = sorted((key for key, number in digests.items() if number == 2), reverse=True)
        assert index.exact(digest(2)).tolist() == held


def test_adding_a_trial_again_replaces_its_keys() -> None:
    index, _ = filled(20)
    moved = np.full((1, WIDTH), 50.0, np.float32)
    index.add([7], [digest(77)], moved)
    assert len(index) == 20
    assert index.exact(digest(77)).tolist() == [7]
    assert 7 not in index.exact(digest(6)).tolist()
    assert index.nearest(moved, 1)[0].tolist() == [[7]]


def test_a_trial_without_an_embedding_is_found_by_its_digest_alone() -> None:
    index = ContextIndex(WIDTH)
    index.add([1, 2], [digest(1), digest(1)])
    embeddings = drawn(2)
    embeddings[0] = np.nan
    index.add([3, 4], [digest(2), digest(1)], embeddings)
    assert index.exact(digest(1)).tolist() == [4, 2, 1]
    ids, distances = index.nearest(embeddings[1:], 3)
    assert ids.tolist() == [[4, NO_TRIAL, NO_TRIAL]]
    assert distances[0, 0] == 0.0
    found = index.find(digest(1), embeddings[1], 3)
    assert found.trial_ids.tolist() == [4, 2, 1]
    assert np.isnan(found.distances[1:]).all()


def test_an_exact_match_comes_before_a_nearer_key() -> None:
    index, embeddings = filled(40)
    found = index.find(digest(3), embeddings[0], 2)
    assert found.is_exact
    assert found.num_exact == 4
    assert set(found.trial_ids.tolist()) <= {4, 14, 24, 34}
    assert found.distances[0] <= found.distances[1]
    near = index.find(digest(1_000), embeddings[0], 2)
    assert not near.is_exact
    assert near.trial_ids[0] == 1


def test_without_an_embedding_exact_matches_are_ranked_by_age() -> None:
    index, _ = filled(40)
    found = index.find(digest(3), None, 2)
    assert found.trial_ids.tolist() == [34, 24]
    assert np.isnan(found.distances).all()
    assert len(index.find(None, None, 3).trial_ids) == 0


def test_an_empty_index_finds_nothing() -> None:
    index = ContextIndex(WIDTH)
    assert len(index.find(digest(1), drawn(1)[0], 3).trial_ids) == 0
    assert len(index) == 0
    assert index.trial_ids.tolist() == []
