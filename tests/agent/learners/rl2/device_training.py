"""Training with and without captured programs, on any device."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.cuda_graphs import NUM_EAGER_RUNS
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.training import EagerTraining, RecordedTraining
from agent.learners.rl2.trials import TrialBatch
from envs.default_families import TABULAR_MDPS
from envs.family import FamilySource, FamilySpec, Split
from envs.registry import open_tasks

NUM_TRIALS = 8
GROWING: dict[str, Any] = {
    "num_updates": 13,
    "curriculum_episodes": 1,
    "curriculum_steps": 1,
    "curriculum_start": 0.5,
    "anneal_updates": 8,
}
"""Training whose trials have one episode at first and two later, each for more updates than are run unrecorded."""


def spec_of(entry: str) -> FamilySpec:
    return FamilySpec(
        name="family",
        source=FamilySource.TENSOR,
        entry=entry,
        kwargs={"horizon": 4} if entry == TABULAR_MDPS else {},
        episodes_per_trial=2,
        max_episode_steps=4,
    )


def trained(
    spec: FamilySpec, device: str, *, is_captured: bool, num_updates: int, **settings: Any
) -> tuple[RL2Learner, list[TrialBatch]]:
    """A learner after more updates than are run before the recording, and the trials that it played.

    Recorded rollouts go on drawing after the last trial is over, so each rollout and each update begins anew from a
    random state of its own.
    """
    config = RL2Config(
        hidden_size=8, input_size=8, minibatch_steps=8, min_minibatch_trials=2, learned_keys=True, **settings
    )
    learner = RL2Learner(config, device=device, seed=0)
    tasks = open_tasks(spec, None, num_trials=NUM_TRIALS, device=learner.device)
    learner.add_family("family", tasks.spaces)
    training = (RecordedTraining if is_captured else EagerTraining)(learner, "family", tasks)
    played = []
    for update in range(num_updates):
        learner.generator.manual_seed(update)
        trials = training.play(update * NUM_TRIALS)
        learner.generator.manual_seed(update)
        training.learn(trials)
        played.append(deepcopy(trials))
    return learner, played


def assert_same_training(
    spec: FamilySpec, device: str, *, num_updates: int = NUM_EAGER_RUNS + 3, **settings: Any
) -> list[TrialBatch]:
    (eager, played), (captured, replayed) = (
        trained(spec, device, is_captured=flag, num_updates=num_updates, **settings) for flag in (False, True)
    )
    for trials, again in zip(played, replayed, strict=True):
        valid = trials.is_valid
        assert torch.equal(trials.action[valid], again.action[: trials.num_steps][valid])
        torch.testing.assert_close(trials.log_prob[valid], again.log_prob[: trials.num_steps][valid])
    expected, found = eager.to_tensors(), captured.to_tensors()
    for name in expected:
        if expected[name].is_floating_point():
            torch.testing.assert_close(expected[name], found[name], rtol=1e-3, atol=1e-5, msg=name)
    return played


def played_on(device: str, learner: RL2Learner, entry: str) -> TrialBatch:
    tasks = open_tasks(spec_of(entry), None, num_trials=NUM_TRIALS, device=device)
    learner.add_family("family", tasks.spaces)
    return collect_trials(
        learner.policy, tasks, first_task=0, split=Split.TRAINING, generator=learner.generator, is_greedy=True
    )
