from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from envs.spaces import ActionKind, ActionSpec, ImageShape, ObservationKind, ObservationSpec, SpacePair
from memory.records import ContextKey, Family, FamilyState, FamilyTotals, TrialRecord
from memory.retrieval.digests import observation_digests
from memory.retrieval.key_upkeep import KeyUpkeep
from memory.store import Store
from tests.memory.damage import damage_episode
from tests.memory.making import PRUNE_NOTHING, make_spec, make_step, make_tensors

SPACES = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.VECTOR, size=4),
    action=ActionSpec(kind=ActionKind.DISCRETE, choices=(2,), start=(0,)),
)


@pytest.fixture(autouse=True)
def family(store: Store) -> None:
    store.families.add(make_spec())
    store.families.admit("cartpole", spaces=SPACES.to_json(), random_return=0.0, reference_return=None)


def commit(store: Store, *, seed: int, trials: int = 4, context: ContextKey | None = None) -> Family:
    """Commit a slice of as many trials of one task as it stores; return the family."""
    step = make_step(seed=seed, trials=trials)
    totals = FamilyTotals(env_steps=1, episodes=1, trials=trials, meta_updates=1)
    stored = tuple(replace(trial, task={"gravity": 9.0 + seed}, context=context) for trial in step.trials)
    store.learner_steps.commit(replace(step, trials=stored, practised=totals), make_tensors(seed), {})
    return store.families.get("cartpole")


def generations(store: Store) -> dict[int, int]:
    return {stored.trial_id: stored.key.generation for stored in store.contexts.of_family("cartpole")}


def test_the_first_trials_of_a_family_fit_its_encoder_and_get_embeddings(store: Store) -> None:
    upkeep = KeyUpkeep.of(store)
    assert upkeep.refresh(commit(store, seed=0, trials=2)) == 0
    assert upkeep.refresh(commit(store, seed=1, trials=2)) == 4
    assert generations(store) == {1: 1, 2: 1, 3: 1, 4: 1}
    assert upkeep.refresh(store.families.get("cartpole")) == 0


def test_a_digest_that_is_missing_is_of_the_first_observation_and_a_present_one_stays(store: Store) -> None:
    upkeep, given = KeyUpkeep.of(store), ContextKey(digest=b"c" * 16)
    commit(store, seed=0, context=given)
    upkeep.refresh(commit(store, seed=1))
    kept, computed = store.contexts.get(1), store.contexts.get(5)
    assert kept is not None
    assert kept.embedding is not None
    assert kept.digest == given.digest
    assert computed is not None
    assert [computed.digest] == observation_digests(store.trials.load(5).episodes[0].observations[:1])


def test_a_family_that_has_grown_gets_another_generation_in_portions(store: Store) -> None:
    upkeep = KeyUpkeep.of(store)
    upkeep.refresh(commit(store, seed=0))
    for seed in range(1, 4):
        grown = commit(store, seed=seed)
    assert upkeep.refresh(grown, limit=6) == 6
    assert sorted(generations(store).values()) == [1] * 4 + [2] * 6
    assert upkeep.refresh(grown, limit=100) == 10
    assert set(generations(store).values()) == {2}


def test_a_restart_continues_with_the_same_encoder(store: Store) -> None:
    present = commit(store, seed=0)
    KeyUpkeep.of(store).refresh(present)
    before, again = store.contexts.get(1), KeyUpkeep.of(store)
    assert again.refresh(present) == 0
    encoder = again.encoder(present)
    assert encoder is not None
    assert before is not None
    assert encoder.generation == before.generation


def test_a_damaged_encoder_is_fitted_again_with_a_generation_of_its_own(store: Store) -> None:
    present = commit(store, seed=0)
    KeyUpkeep.of(store).refresh(present)
    with store._connection.transaction("damaging an encoder"):
        store._connection.execute("UPDATE context_encoders SET parameters = zeroblob(length(parameters))")
    assert KeyUpkeep.of(store).refresh(present) == 4
    assert set(generations(store).values()) == {2}


def test_a_damaged_trial_has_no_embedding_and_stops_no_other(store: Store) -> None:
    present = commit(store, seed=0, trials=6)
    damage_episode(store, 1)
    assert KeyUpkeep.of(store).refresh(present) == 5
    assert 1 not in generations(store)


def test_a_family_that_was_removed_has_no_keys_and_loses_its_encoder(store: Store) -> None:
    present = commit(store, seed=0)
    upkeep = KeyUpkeep.of(store)
    upkeep.refresh(present)
    store.families.set_state("cartpole", FamilyState.REMOVED)
    assert upkeep.refresh(present) == 0
    store.prune(replace(PRUNE_NOTHING, max_episode_bytes=0))
    for table in ("context_keys", "context_encoders"):
        assert store._connection.value(f"SELECT count(*) FROM {table}") == 0


def test_embeddings_are_the_same_whatever_portions_they_are_computed_in(store: Store) -> None:
    for seed in range(3):
        present = commit(store, seed=seed)
    upkeep = KeyUpkeep.of(store)
    while upkeep.refresh(present, limit=5):
        pass
    small = [store.contexts.get(trial_id) for trial_id in range(1, 13)]
    store.contexts.put({trial_id: ContextKey(digest=bytes(16)) for trial_id in range(1, 13)})
    upkeep.refresh(present)
    for before, trial_id in zip(small, range(1, 13), strict=True):
        after = store.contexts.get(trial_id)
        assert before is not None
        assert after is not None
        np.testing.assert_allclose(before.embedding, after.embedding, atol=1e-6)


def test_the_newest_trials_of_a_family_are_recalled_with_embeddings_of_the_present_generation(store: Store) -> None:
    upkeep, context = KeyUpkeep.of(store), b"c" * 16
    commit(store, seed=0)
    upkeep.refresh(commit(store, seed=1, context=ContextKey(digest=context)))
    family = store.families.get("cartpole")
    recall = upkeep.recall(family)
    assert len(recall) == 8
    found = recall.find(np.zeros(4, np.float32), context=context)
    assert {trial.context and trial.context.digest for trial in found.trials} == {context}
    unknown = {"first_observation": np.zeros(4, np.float32), "context": b"d" * 16}
    assert recall.find(**unknown).likeness == 0
    assert recall.find(**unknown, begun=store.trials.load(1)).likeness > 0


def test_the_training_tasks_that_were_met_are_listed_newest_first(store: Store) -> None:
    tasks = [{"split": "training", "index": 3}, {"split": "held_out", "index": 9}, {"split": "training", "index": 4}]
    step = make_step(seed=0, trials=4)
    trials = [replace(trial, task=task) for trial, task in zip(step.trials, [*tasks, tasks[0]], strict=True)]
    store.learner_steps.commit(replace(step, trials=tuple(trials)), make_tensors(0), {})
    assert KeyUpkeep.of(store).met_tasks(store.families.get("cartpole")) == [3, 4]


def test_trials_with_images_get_keys_of_their_bytes_and_of_a_few_colours(store: Store) -> None:
    image = ImageShape(height=20, width=30, channels=3)
    observation = ObservationSpec(kind=ObservationKind.IMAGE, size=1, images=(image,))
    store.families.add(make_spec("film"))
    spaces = replace(SPACES, observation=observation)
    store.families.admit("film", spaces=spaces.to_json(), random_return=0.0, reference_return=None)
    draw = np.random.default_rng(0)

    def filmed(trial: TrialRecord) -> TrialRecord:
        episodes = []
        for episode in trial.episodes:
            seen = draw.integers(0, 256, (len(episode.rewards) + 1, observation.width), np.uint8)
            seen[:, :4] = draw.normal(size=(len(seen), 1)).astype(np.float32).view(np.uint8)
            episodes.append(replace(episode, observations=seen))
        return replace(trial, episodes=tuple(episodes), context=None)

    step = make_step("film", seed=0, trials=4)
    totals = FamilyTotals(env_steps=1, episodes=1, trials=4, meta_updates=1)
    stored = tuple(map(filmed, step.trials))
    store.learner_steps.commit(replace(step, trials=stored, practised=totals), make_tensors(0), {})
    assert KeyUpkeep.of(store).refresh(store.families.get("film")) == 4
    [key] = [found.key for found in store.contexts.of_family("film") if found.trial_id == 1]
    trial = store.trials.load(1)
    assert [key.digest] == observation_digests(trial.episodes[0].observations[:1])
    parameters = store.encoders.get("film")
    assert parameters is not None
    assert parameters.parameters["observation_mean"].shape == (1 + 8 * 8 * 3,)
    assert key.embedding is not None
    assert np.isfinite(key.embedding).all()


def test_of_equal_training_tasks_the_newest_was_met(store: Store) -> None:
    places = [(0, "a"), (1, "b"), (2, "a")]
    for seed, (index, name) in enumerate(places):
        step = make_step(seed=seed, trials=1)
        task = {"split": "training", "index": index, "kwargs": {"map": name}}
        stored = tuple(replace(trial, task=task) for trial in step.trials)
        store.learner_steps.commit(replace(step, trials=stored), make_tensors(seed), {})
    assert KeyUpkeep.of(store).met_tasks(store.families.get("cartpole")) == [2, 1]
