"""Context keys of practised trials: written with the slice, and embedded after it."""

from __future__ import annotations

import numpy as np

from memory.retrieval.key_upkeep import KeyUpkeep
from memory.store import Store
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, practise


def test_every_stored_trial_of_a_slice_has_a_key_and_after_it_an_embedding(
    store: Store, open_session: SessionMaker
) -> None:
    session, family = open_session(store), feed_bandits(store)
    for _ in range(3):
        practise(session, store.families.get(family.name), reason="test")
    stored = store.trials.of_family(family.name, limit=100)
    keys = store.contexts.of_family(family.name)
    assert [key.trial_id for key in keys] == sorted(trial.id for trial in stored)
    assert {key.key.digest for key in keys} == {keys[0].key.digest}, "a bandit's observation says nothing"
    encoder = KeyUpkeep.of(store).encoder(store.families.get(family.name))
    assert encoder is not None
    assert {key.key.generation for key in keys} == {encoder.generation}
    assert all(key.key.embedding is not None and np.isfinite(key.key.embedding).all() for key in keys)
