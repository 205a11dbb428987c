"""The features of observations with images for the PPO agent: those of the encoder of RL², trained with the agent."""

from __future__ import annotations

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from agent.learners.observation_bytes import numbers_of
from agent.learners.rl2.image_encoder import NUM_FEATURES, ImageEncoder, entry
from envs.spaces import ObservationSpec


class ImageFeatures(BaseFeaturesExtractor):
    """Features of images, and the other values of an observation as they are.

    Args:
        observation_space: the bytes of observations (:func:`agent.reference.vec_env.observation_space`).
        spec: their description.
        seed: seed of the initial parameters.
    """

    def __init__(self, observation_space: spaces.Box, *, spec: ObservationSpec, seed: int) -> None:
        super().__init__(observation_space, spec.size + NUM_FEATURES * len(spec.images))
        generator = torch.Generator().manual_seed(seed)
        self._spec = spec
        self.encoder = ImageEncoder(generator=generator)
        self.entries = nn.ModuleList(entry(image, generator=generator) for image in spec.images)

    def forward(self, observations: Tensor) -> Tensor:
        """Return the features [B, ...] of bytes [B, D], which stable-baselines3 has converted to floats."""
        rows = observations.to(torch.uint8)
        return torch.cat([numbers_of(rows, self._spec), self.encoder.encode(rows, self._spec, self.entries)], dim=1)
