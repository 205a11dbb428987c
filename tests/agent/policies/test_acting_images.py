"""Acting in environments that observe images, with a policy loaded from a version file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from agent.learners.config_json import config_to_json
from agent.learners.registry import RL2
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rollout import collect_trials
from agent.policies.acting import LoadedPolicy, load_policy
from agent.policies.trial_memory import ExactTrialMemory
from agent.policies.version_file import PolicyFileError, encode_version
from agent.policies.version_header import KnownFamily, VersionHeader
from envs.family import FamilySpec, Split
from envs.gymnasium.task_drawing import draw_tasks
from tests.envs.environments.image_environments import Camera, Robot
from tests.envs.families import family, opened

ROBOT = family("image_environments:Robot", image_size=20, episodes_per_trial=2)


def published(path: Path, spec: FamilySpec) -> tuple[RL2Learner, Path]:
    """Return a learner of a family and the version file of its policy."""
    tasks = opened(spec)
    try:
        learner = RL2Learner(RL2Config(hidden_size=16, input_size=12), device="cpu", seed=0)
        learner.add_family("robot", tasks.spaces)
        trials = collect_trials(learner.policy, tasks, first_task=0, split=Split.TRAINING, generator=learner.generator)
        learner.update("robot", trials)
    finally:
        tasks.close()
    known = KnownFamily(spaces=tasks.spaces, episodes_per_trial=spec.episodes_per_trial)
    header = VersionHeader(learner=RL2, config=config_to_json(learner.config), families={"robot": known})
    path.write_bytes(encode_version(header, learner.initialization()))
    return learner, path


def actions_of(policy: LoadedPolicy, env: Any, *, seed: int) -> list[int]:
    trial, actions = policy.begin_trial(env, is_greedy=True), []
    for episode in range(trial.episodes_per_trial):
        observation, _ = env.reset(seed=None if episode else seed)
        is_over = False
        while not is_over:
            actions.append(trial.act(observation))
            observation, reward, terminated, truncated, _ = env.step(actions[-1])
            trial.observe(observation, reward, terminated=terminated, truncated=truncated)
            is_over = terminated or truncated
    return actions


def test_a_loaded_policy_acts_on_images_of_the_declared_size_as_its_learner_does(tmp_path: Path) -> None:
    learner, path = published(tmp_path / "robot.safetensors", ROBOT)
    tasks = opened(ROBOT)
    try:
        trials = collect_trials(
            learner.policy,
            tasks,
            first_task=5,
            split=Split.HELD_OUT,
            generator=torch.Generator().manual_seed(0),
            is_greedy=True,
        )
    finally:
        tasks.close()
    [task] = draw_tasks(ROBOT, Split.HELD_OUT, 5, 1)
    memory = ExactTrialMemory()
    policy = load_policy(path, memory=memory)
    assert actions_of(policy, Robot(), seed=task.seed) == trials.action[:, 0].tolist()
    [known] = policy.families.values()
    assert len(memory.recall(known.spaces, trials.observation[0, 0].numpy()).trials) == 1


def test_an_environment_with_other_images_is_refused(tmp_path: Path) -> None:
    _learner, path = published(tmp_path / "robot.safetensors", ROBOT)
    with pytest.raises(PolicyFileError, match="an image of 40 x 30 x 3"):
        load_policy(path).begin_trial(Camera())


def test_a_policy_of_flattened_images_acts_on_them(tmp_path: Path) -> None:
    flat = family("image_environments:Camera", kwargs={"shape": [30, 30, 3]}, image_size=0)
    _learner, path = published(tmp_path / "flat.safetensors", flat)
    assert len(actions_of(load_policy(path), Camera((30, 30, 3)), seed=1)) == 12
