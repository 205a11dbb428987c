"""Tests of the features of images for the agent that measures a reference."""

from __future__ import annotations

import numpy as np
import torch

from agent.learners.rl2.image_encoder import NUM_FEATURES
from agent.reference.image_features import ImageFeatures
from agent.reference.training import NUM_ENVIRONMENTS, Training
from agent.reference.vec_env import observation_space
from tests.agent.learners.rl2.scripted_tasks import IMAGES
from tests.envs.families import family, opened


def test_the_numbers_beside_the_images_are_features_as_they_are() -> None:
    spec = IMAGES.observation
    space = observation_space(spec)
    features = ImageFeatures(space, spec=spec, seed=0)  # type: ignore[arg-type]
    rows = np.zeros((2, spec.width), np.uint8)
    rows[1, :12] = np.array([1.5, -2.0, 1e9], np.float32).view(np.uint8)
    found = features(torch.from_numpy(rows).float())
    assert found.shape == (2, features.features_dim) == (2, 3 + 2 * NUM_FEATURES)
    assert found[1, :3].tolist() == [1.5, -2.0, 1e9]


def test_an_agent_trains_on_a_family_with_images(update_steps: int) -> None:
    tasks = opened(family("image_environments:Robot", image_size=16), NUM_ENVIRONMENTS)
    try:
        training = Training(num_steps=1, seed=0, report=lambda _steps: None)
        agent, _normaliser = training.run(tasks)
    finally:
        tasks.close()
    assert training.steps_done == update_steps
    assert isinstance(agent.policy.features_extractor, ImageFeatures)
