"""A memory makes, reads and writes all of its tensors on the device, so that a rollout can be captured in a CUDA graph.

The device is ``meta``, whose tensors have no values: an operation whose shapes or results depend on values fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.in_trial_memory.protocol import empty_memory
from agent.learners.rl2.pair import PairModule, observed_width
from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair
from tests.agent.learners.rl2.scripted_tasks import CHOICES, DISCRETE, VECTOR, WIDE

B = 3
META = torch.device("meta")
MANY = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.DISCRETE, size=100),
    action=ActionSpec(kind=ActionKind.DISCRETE, choices=(5,), start=(0,)),
)
SPACES = {"discrete": DISCRETE, "many discrete": MANY, "choices": CHOICES, "vector": VECTOR, "multi_discrete": WIDE}


class OnDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode in which every operation must return tensors of the device ``meta``."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        assert all(leaf.device == META for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)), func
        return result


@pytest.mark.parametrize("spaces", SPACES.values(), ids=SPACES)
def test_a_memory_begins_reads_and_writes_without_the_host(spaces: SpacePair) -> None:
    config = RL2Config()
    pair = PairModule(config, spaces, generator=torch.Generator().manual_seed(0)).to(META)
    num_dimensions = len(spaces.action.choices)
    with OnDevice():  # type: ignore[no-untyped-call]
        memory = empty_memory(spaces, config, num_trials=B, episodes_per_trial=2, keys=pair.keys, device=META)
        assert memory is not None
        observation = torch.zeros(B, observed_width(spaces.observation), device=META)
        shape = (B,) if spaces.action.kind is ActionKind.DISCRETE else (B, num_dimensions)
        false = torch.zeros(B, dtype=torch.bool, device=META)
        for _ in range(2):
            memory.read(observation)
            memory.write(
                observation=observation,
                action=torch.zeros(shape, dtype=torch.int64, device=META),
                reward=torch.zeros(B, device=META),
                next_observation=observation,
                terminated=false,
                active=~false,
            )
            memory.end_episodes(false)
