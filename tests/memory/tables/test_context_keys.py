from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from memory.records import ContextKey
from memory.store import Store
from tests.memory.making import add_active_family, make_step, make_tensors, prune_only


def key(number: int, *, generation: int = 1) -> ContextKey:
    embedding = np.full(4, number, np.float32) if generation else None
    return ContextKey(digest=bytes([number]) * 16, embedding=embedding, generation=generation)


def commit(store: Store, *, seed: int = 0, with_keys: bool = True, family: str = "cartpole") -> None:
    step = make_step(family, seed=seed, trials=2)
    trials = tuple(
        replace(trial, context=key(10 * seed + number) if with_keys else None)
        for number, trial in enumerate(step.trials)
    )
    store.learner_steps.commit(replace(step, trials=trials), make_tensors(seed), {})


@pytest.fixture(autouse=True)
def families(store: Store) -> None:
    add_active_family(store, "cartpole")
    add_active_family(store, "other")


def digests(store: Store, family: str = "cartpole") -> dict[int, int]:
    return {stored.trial_id: stored.key.digest[0] for stored in store.contexts.of_family(family)}


def test_a_slice_records_its_trials_with_their_keys(store: Store) -> None:
    commit(store, seed=1)
    commit(store, seed=2, family="other")
    loaded = store.trials.load(2).context
    assert loaded is not None
    assert loaded.embedding is not None
    assert (loaded.digest, loaded.generation) == (bytes([11]) * 16, 1)
    assert loaded.embedding.tolist() == [11.0] * 4
    assert digests(store) == {1: 10, 2: 11}
    assert digests(store, "other") == {3: 20, 4: 21}


def test_keys_are_read_in_parts(store: Store) -> None:
    for seed in range(3):
        commit(store, seed=seed)
    first = store.contexts.of_family("cartpole", limit=4)
    rest = store.contexts.of_family("cartpole", after=first[-1].trial_id)
    assert [stored.trial_id for stored in first + rest] == [1, 2, 3, 4, 5, 6]


def test_a_slice_with_a_key_of_a_wrong_size_records_nothing(store: Store) -> None:
    step = make_step(trials=1)
    wrong = replace(step.trials[0], context=ContextKey(digest=b"short"))
    with pytest.raises(ValueError, match="16 bytes"):
        store.learner_steps.commit(replace(step, trials=(wrong,)), make_tensors(), {})
    assert store.trials.of_family("cartpole", limit=9) == []
    assert store.checkpoints.num_learner_steps() == 0


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"embedding": np.zeros(65, np.float32)}, "64"),
        ({"embedding": None}, "generation"),
        ({"generation": 0}, "generation"),
    ],
)
def test_a_key_that_does_not_fit_is_refused(store: Store, changed: dict[str, object], found: str) -> None:
    commit(store)
    with pytest.raises(ValueError, match=found):
        store.contexts.put({1: replace(key(1), **changed)})


def test_trials_of_another_generation_or_without_a_key_are_outdated(store: Store) -> None:
    commit(store, seed=0, with_keys=False)
    commit(store, seed=1)
    assert store.contexts.outdated("cartpole", generation=1, limit=9) == [2, 1]
    assert store.contexts.outdated("cartpole", generation=2, limit=3) == [4, 3, 2]
    assert store.contexts.put({4: key(5, generation=2), 2: key(6, generation=2), 999: key(7)}) == 2
    assert store.contexts.outdated("cartpole", generation=2, limit=9) == [3, 1]
    assert digests(store) == {2: 6, 3: 10, 4: 5}


def test_prune_removes_the_keys_with_their_trials(store: Store) -> None:
    for seed in range(4):
        commit(store, seed=seed)
    store.prune(prune_only(max_episode_bytes=0, min_trials_per_family=3))
    assert list(digests(store)) == [6, 7, 8]
    assert store.check() == []


def test_an_unreadable_embedding_counts_as_absent_and_is_computed_again(store: Store) -> None:
    commit(store)
    connection = store._connection
    with connection.transaction("damaging keys"):
        connection.execute("UPDATE context_keys SET embedding = x'0000c07f' WHERE trial_id = 1")
        connection.execute("UPDATE context_keys SET embedding = x'00' WHERE trial_id = 2")
    for trial_id in (1, 2):
        damaged = store.contexts.get(trial_id)
        assert damaged is not None
        assert (damaged.embedding, damaged.generation) == (None, 0)
