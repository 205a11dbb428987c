"""A family that observes images, from its practice to a published version and after a restart."""

from __future__ import annotations

import torch

from agent.policies.acting import load_policy
from agent.trainer.jobs.consolidate import consolidate
from agent.trainer.jobs.evaluate import evaluate
from memory.folder import DataFolder
from memory.records import Family
from memory.store import Store
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, practise
from tests.envs.environments.image_environments import Robot
from tests.envs.families import family, opened

ROBOT = family("image_environments:Robot", name="robot", image_size=20, episodes_per_trial=2)


def feed_robot(store: Store) -> Family:
    tasks = opened(ROBOT)
    tasks.close()
    store.families.add(ROBOT)
    return store.families.admit("robot", spaces=tasks.spaces.to_json(), random_return=20.0, reference_return=None)


def test_a_family_with_images_is_practised_scored_published_and_resumed(
    store: Store, folder: DataFolder, open_session: SessionMaker
) -> None:
    bandits, robot = feed_bandits(store), feed_robot(store)
    session = open_session(store)
    for of in (robot, bandits, robot, bandits, robot):
        practise(session, of, reason="test")
    evaluate(session, [store.families.get("robot")])
    consolidate(session)
    version = store.initializations.current()
    assert version is not None
    policy = load_policy(folder.parameters_path / f"{version.file.sha256}.safetensors")
    trial = policy.begin_trial(Robot())
    assert trial.act(Robot().reset(seed=0)[0]) in {0, 1, 2}
    [stored, *_] = [store.trials.load(row.id) for row in store.trials.of_family("robot", limit=3)]
    assert {episode.observations.dtype.name for episode in stored.episodes} == {"uint8"}
    before = session.learner.to_tensors()
    resumed = open_session(store)
    after = resumed.learner.to_tensors()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    practise(resumed, store.families.get("robot"), reason="test")
