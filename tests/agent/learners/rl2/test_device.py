"""Properties of training on an accelerator that can be checked without one."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from agent.learners.rl2 import cuda_graphs as capture
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.cuda_graphs import NUM_EAGER_RUNS, CapturedMinibatchStep, CapturedRollout, CaptureSpace
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.minibatch import Minibatch
from agent.learners.rl2.rollout import Rollout
from agent.learners.rl2.training import RecordedTraining
from envs.default_families import BERNOULLI_BANDITS, TENSOR_FAMILIES, VARIED_CARTPOLE
from envs.family import Split
from envs.registry import open_tasks
from envs.spaces import SpacePair
from tests.agent.learners.rl2.device_training import (
    GROWING,
    NUM_TRIALS,
    assert_same_training,
    played_on,
    spec_of,
)
from tests.agent.learners.rl2.scripted_tasks import VECTOR, ScriptedTasks

META = torch.device("meta")
"""A device of shapes without numbers: whatever asks it for a number fails, as nothing else on this machine would."""


class NoCopiesFromTheHost(TorchFunctionMode):
    """Fails on tensors made of Python's numbers: on an accelerator each is a copy that is waited for."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        is_copy = func in {torch.tensor, torch.as_tensor, torch.from_numpy} and not isinstance(args[0], torch.Tensor)
        assert not is_copy, "a tensor was made of numbers of the host"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("entry", TENSOR_FAMILIES)
@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not_reading"])
def test_no_step_of_a_tensor_familys_rollout_asks_the_device_for_a_number(entry: str, reads: bool) -> None:
    play_without_numbers(entry, RL2Config(hidden_size=8, input_size=8, reads=reads))


def play_without_numbers(entry: str, config: RL2Config) -> None:
    tasks = open_tasks(spec_of(entry), None, num_trials=NUM_TRIALS, device=META)
    learner = RL2Learner(config, device="cpu", seed=0)
    learner.add_family("family", tasks.spaces)
    policy = learner.policy.to(META)
    with torch.no_grad(), NoCopiesFromTheHost():
        rollout = Rollout(policy, tasks, first_task=0, split=Split.TRAINING, generator=torch.Generator())
        for _step in range(8):
            rollout.step()
        reward = rollout.played().recorded.steps.reward
    assert reward.shape == (8, NUM_TRIALS)
    assert reward.device == META


def test_the_watch_sees_a_copy_from_the_host() -> None:
    with pytest.raises(AssertionError, match="numbers of the host"), NoCopiesFromTheHost():
        torch.tensor([1.0, 2.0], device=META)


@pytest.mark.parametrize("entry", TENSOR_FAMILIES)
def test_captured_training_is_training(entry: str) -> None:
    assert_same_training(spec_of(entry), "cpu")


def test_captured_training_is_training_where_trials_end_early_and_unlike() -> None:
    spec = replace(spec_of(VARIED_CARTPOLE), episodes_per_trial=1, max_episode_steps=60)
    played = assert_same_training(spec, "cpu")
    assert all(len(set(trials.lengths.tolist())) > 2 for trials in played)
    assert any(trials.num_steps < 60 for trials in played)


def test_captured_training_is_training_where_trials_grow() -> None:
    played = assert_same_training(spec_of(VARIED_CARTPOLE), "cpu", **GROWING)
    num_episodes = [trials.episodes_per_trial for trials in played]
    assert (num_episodes.count(1), num_episodes.count(2)) == (7, 6)  # each is recorded


def test_captured_training_is_training_where_more_shapes_come_than_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "MAX_PROGRAMS", 2)
    spec = replace(spec_of(VARIED_CARTPOLE), episodes_per_trial=1, max_episode_steps=40)
    played = assert_same_training(spec, "cpu")
    assert all(len(set(trials.lengths.tolist())) > 2 for trials in played)
    learner = RL2Learner(RL2Config(hidden_size=8, input_size=8), device="cpu", seed=0)
    learner.add_family("family", played[0].spaces)
    step = CapturedMinibatchStep(learner, num_steps=40, space=CaptureSpace(learner.device))
    for trials in played:
        learner.update("family", trials, minibatch_step=step)
        assert len(step._programs) <= 2


def test_what_was_recorded_is_let_go_of_at_once() -> None:
    learner = RL2Learner(RL2Config(hidden_size=8, input_size=8), device="cpu", seed=0)
    tasks = open_tasks(spec_of(BERNOULLI_BANDITS), None, num_trials=NUM_TRIALS, device="cpu")
    learner.add_family("family", tasks.spaces)
    training = RecordedTraining(learner, "family", tasks)
    gc.disable()  # what is held in rings shall not wait for it
    try:
        for run in range(NUM_EAGER_RUNS + 2):
            trials = training.play(run * NUM_TRIALS)
            training.learn(trials)
        assert training._recording is not None
        recorded = [weakref.ref(training._recording.rollout), weakref.ref(trials.inputs.context)]
        del trials
        training.close()
        assert [found() for found in recorded] == [None, None]
        assert all(parameter.grad is None for parameter in learner.policy.parameters())
    finally:
        gc.enable()


def test_a_captured_rollout_holds_until_the_next_and_no_longer() -> None:
    learner = RL2Learner(RL2Config(hidden_size=8, input_size=8), device="cpu", seed=0)
    tasks = open_tasks(spec_of(BERNOULLI_BANDITS), None, num_trials=NUM_TRIALS, device="cpu")
    learner.add_family("family", tasks.spaces)
    rollout = CapturedRollout(learner.policy, tasks, generator=learner.generator, space=CaptureSpace(learner.device))
    for first_task in range(NUM_EAGER_RUNS + 1):
        trials = rollout.collect(first_task)
    before = trials.log_prob.clone(), trials.inputs.context
    later = rollout.collect(99)
    assert later.inputs.context is before[1]
    assert not torch.equal(later.log_prob, before[0])


def test_a_family_of_unknown_length_cannot_be_captured() -> None:
    learner = RL2Learner(RL2Config(hidden_size=8, input_size=8), device="cpu", seed=0)
    learner.add_family("scripted", VECTOR)
    with pytest.raises(ValueError, match="max_episode_steps"):
        CapturedRollout(
            learner.policy,
            ScriptedTasks(VECTOR, [[2, 2]]),
            generator=learner.generator,
            space=CaptureSpace(learner.device),
        )


class NothingIsFetched(TorchDispatchMode):
    """Fails on whatever an accelerator is waited for: numbers, and shapes that depend on them."""

    FETCHING = (
        torch.ops.aten._local_scalar_dense.default,
        torch.ops.aten.nonzero.default,
        torch.ops.aten.masked_select.default,
        torch.ops.aten.is_nonzero.default,
        torch.ops.aten.equal.default,
    )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in self.FETCHING, f"{func} waits for the device"
        is_by_mask = func is torch.ops.aten.index.Tensor and any(
            index is not None and index.dtype is torch.bool for index in args[1]
        )
        assert not is_by_mask, "choosing by a mask waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "fetch", [lambda x: x.sum().item(), lambda x: x.nonzero(), lambda x: x[x > 0]], ids=["item", "nonzero", "mask"]
)
def test_the_watch_sees_what_is_fetched(fetch: Any) -> None:
    numbers = torch.ones(3)
    with pytest.raises(AssertionError, match="waits for the device"), NothingIsFetched():
        fetch(numbers)


@pytest.mark.parametrize("entry", TENSOR_FAMILIES)
@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not_reading"])
def test_no_minibatch_asks_the_device_for_a_number(entry: str, reads: bool) -> None:
    config = RL2Config(hidden_size=8, input_size=8, reads=reads, learned_keys=reads)
    learner = RL2Learner(config, device="cpu", seed=0)
    trials = played_on("cpu", learner, entry)
    watched: list[torch.Tensor] = []

    def step(name: str, spaces: SpacePair, minibatch: Minibatch) -> torch.Tensor:
        with NothingIsFetched(), NoCopiesFromTheHost():
            watched.append(learner.minibatch_step(name, spaces, minibatch))
        return watched[-1]

    learner.update("family", trials, minibatch_step=step)
    assert len(watched) >= learner.config.num_epochs
