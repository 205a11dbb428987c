"""What must hold on an accelerator, and what of it can be told without one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from agent.rl2.config import RL2Config
from agent.rl2.learner import RL2Learner
from agent.rl2.rollout import Rollout
from envs.default_stream import TENSOR_FAMILIES
from envs.family import FamilySource, FamilySpec, Split
from envs.registry import open_tasks

NUM_TRIALS = 8
META = torch.device("meta")
"""A device of shapes without numbers: whatever asks it for a number fails, as nothing else on this machine would."""


class NoCopiesFromTheHost(TorchFunctionMode):
    """Fails on tensors made of Python's numbers: on an accelerator each is a copy that is waited for."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        is_copy = func in {torch.tensor, torch.as_tensor, torch.from_numpy} and not isinstance(args[0], torch.Tensor)
        assert not is_copy, "a tensor was made of numbers of the host"
        return func(*args, **(kwargs or {}))


def spec_of(entry: str) -> FamilySpec:
    return FamilySpec(name="family", source=FamilySource.TENSOR, entry=entry, episodes_per_trial=3, max_episode_steps=5)


@pytest.mark.parametrize("entry", TENSOR_FAMILIES)
@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not_reading"])
def test_no_step_of_a_tensor_familys_rollout_asks_the_device_for_a_number(entry: str, reads: bool) -> None:
    tasks = open_tasks(spec_of(entry), None, num_trials=NUM_TRIALS, device=META)
    learner = RL2Learner(RL2Config(hidden_size=8, input_size=8, reads=reads), device="cpu", seed=0)
    learner.add_family("family", tasks.spaces)
    policy = learner.policy.to(META)
    with torch.no_grad(), NoCopiesFromTheHost():
        rollout = Rollout(policy, tasks, first_task=0, split=Split.TRAINING, generator=torch.Generator())
        for _step in range(12):
            rollout.step()
        played = rollout.played()
    assert played.reward.shape == (12, NUM_TRIALS)
    assert played.reward.device == META


def test_the_watch_sees_a_copy_from_the_host() -> None:
    with pytest.raises(AssertionError, match="numbers of the host"), NoCopiesFromTheHost():
        torch.tensor([1.0, 2.0], device=META)
