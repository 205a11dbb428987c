"""Steps written to and read from an in-trial memory of one trial."""

from __future__ import annotations

from typing import Any

import torch

from agent.learners.rl2.in_trial_memory.keys import Keys
from agent.learners.rl2.in_trial_memory.similarity import SimilarityMemory
from envs.spaces import SpacePair
from tests.agent.learners.rl2.scripted_tasks import VECTOR


def write(memory: Any, observation: Any, action: Any, reward: float, following: Any, **ends: Any) -> None:
    none = torch.zeros(1, dtype=torch.bool)
    active = ~none & ends.get("active", True)
    memory.write(
        observation=torch.tensor([observation]).float(),
        action=torch.tensor([action]),
        reward=torch.tensor([reward]),
        next_observation=torch.tensor([following]).float(),
        terminated=none | ends.get("terminated", False),
        active=active,
    )
    memory.end_episodes((none | ends.get("terminated", False) | ends.get("truncated", False)) & active)


def read(memory: Any, observation: Any) -> torch.Tensor:
    return memory.read(torch.tensor([observation]).float())[0]


def similarity(spaces: SpacePair = VECTOR, **settings: Any) -> SimilarityMemory:
    keys = Keys(projection=torch.eye(spaces.observation.width))
    return SimilarityMemory(1, spaces.action, keys=keys, **{"num_steps": 8, **settings})
