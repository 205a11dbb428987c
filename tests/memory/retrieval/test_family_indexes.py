from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from memory.records import ContextKey, FamilyState
from memory.retrieval.family_indexes import FamilyIndexes
from memory.store import Store
from tests.memory.making import add_active_family, make_step, make_tensors, prune_only

WIDTH = 4


def key(number: int, *, generation: int = 1) -> ContextKey:
    return ContextKey(digest=bytes([number]) * 16, embedding=np.full(WIDTH, number, np.float32), generation=generation)


def commit(store: Store, *numbers: int, generation: int = 1) -> None:
    step = make_step(trials=len(numbers))
    trials = tuple(
        replace(trial, context=key(number, generation=generation))
        for trial, number in zip(step.trials, numbers, strict=True)
    )
    store.learner_steps.commit(replace(step, trials=trials), make_tensors(), {})


@pytest.fixture
def indexes(store: Store) -> FamilyIndexes:
    add_active_family(store)
    return FamilyIndexes(store.contexts, width=WIDTH, generation=1)


def nearest(indexes: FamilyIndexes, number: int) -> int:
    ids, _ = indexes.of("cartpole").nearest(np.full((1, WIDTH), number, np.float32), 1)
    return int(ids[0, 0])


def test_the_index_follows_commits_and_prunes(store: Store, indexes: FamilyIndexes) -> None:
    assert len(indexes.of("cartpole")) == 0
    commit(store, 10, 20)
    assert nearest(indexes, 19) == 2
    commit(store, 30)
    assert nearest(indexes, 29) == 3
    store.prune(prune_only(max_episode_bytes=0, min_trials_per_family=1))
    assert indexes.of("cartpole").trial_ids.tolist() == [3]
    commit(store, 40)
    store.prune(prune_only(max_episode_bytes=0, min_trials_per_family=1))
    assert indexes.of("cartpole").trial_ids.tolist() == [4]


def test_embeddings_of_another_generation_are_not_neighbours(store: Store, indexes: FamilyIndexes) -> None:
    commit(store, 10, generation=2)
    commit(store, 20, generation=1)
    assert nearest(indexes, 10) == 2
    assert indexes.of("cartpole").exact(key(10).digest).tolist() == [1]


def test_keys_that_are_put_are_in_the_store_and_in_the_index(store: Store, indexes: FamilyIndexes) -> None:
    commit(store, 10, 20)
    assert nearest(indexes, 10) == 1
    indexes.put("cartpole", {1: key(50), 999: key(60)})
    assert nearest(indexes, 49) == 1
    assert nearest(indexes, 60) == 1
    stored = store.contexts.get(1)
    assert stored is not None
    assert stored.digest == key(50).digest


def test_keys_that_were_computed_later_for_earlier_trials_are_found(store: Store, indexes: FamilyIndexes) -> None:
    store.learner_steps.commit(make_step(trials=2), make_tensors(), {})
    commit(store, 30)
    assert indexes.of("cartpole").trial_ids.tolist() == [3]
    store.contexts.put({1: key(10)})
    assert indexes.of("cartpole").trial_ids.tolist() == [1, 3]


def test_a_new_family_of_an_old_name_starts_with_an_empty_index(store: Store, indexes: FamilyIndexes) -> None:
    commit(store, 10)
    assert len(indexes.of("cartpole")) == 1
    store.families.set_state("cartpole", FamilyState.REMOVED)
    add_active_family(store)
    assert len(indexes.of("cartpole")) == 0
