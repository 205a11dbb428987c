"""An exported policy that adapts by gradient acts and adapts in a Gymnasium environment as its learner does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from agent.experiments.policy_gradient import PolicyCase, TrainablePolicyLearner
from agent.learners.policy_gradient.episodes import Play
from agent.learners.policy_gradient.loops import returns_of_adapting
from agent.policies.acting import LoadedPolicy, Trial, load_policy
from agent.policies.version_file import write_version_file
from envs.family import FamilySource, FamilySpec, Split
from envs.limits import WorkerLimits
from envs.tensor.navigation import MAX_VELOCITY, Navigation

pytestmark = pytest.mark.xdist_group("gradient acting")  # the learners are trained once

LEARNERS = ("maml", "reptile", "meta-sgd")
NUM_EPISODES = 20
NUM_UPDATES = 10
"""Enough for the return to rise in each of four tasks by a third of its distance to 0 or more as the policy adapts."""

SPEC = FamilySpec(
    name="navigation", source=FamilySource.TENSOR, entry="navigation", episodes_per_trial=1, max_episode_steps=10
)


class NavigationEnv(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """One held-out task of the navigation family."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Box(-MAX_VELOCITY, MAX_VELOCITY, (2,), np.float32)

    def __init__(self, task: int) -> None:
        self._tasks = Navigation(SPEC, num_trials=1, device="cpu")
        self._observation = self._tasks.begin(task, split=Split.HELD_OUT)

    def reset(self, **_: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:  # type: ignore[override]
        return self._observation[0].numpy(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        velocity = torch.from_numpy(action).unsqueeze(0) / MAX_VELOCITY
        stepped = self._tasks.step(velocity, torch.ones(1, dtype=torch.bool))
        self._observation = stepped.observation
        ends = bool(stepped.terminated), bool(stepped.truncated)
        return stepped.final_observation[0].numpy(), float(stepped.reward), *ends, {}


def play_episode(trial: Trial, env: NavigationEnv) -> float:
    observation, _ = env.reset()
    total, is_over = 0.0, False
    while not is_over:
        observation, reward, terminated, truncated, _ = env.step(trial.act(observation))
        trial.observe(observation, reward, terminated=terminated, truncated=truncated)
        total, is_over = total + reward, terminated or truncated
    return total


def play_trial(policy: LoadedPolicy, *, task: int, seed: int) -> NDArray[np.float64]:
    """Return the mean return of an episode in each round."""
    env = NavigationEnv(task)
    trial = policy.begin_trial(env, seed=seed)
    returns = [play_episode(trial, env) for _ in range(trial.episodes_per_trial)]
    return np.reshape(returns, (-1, NUM_EPISODES)).mean(1)


@pytest.fixture(scope="module", params=LEARNERS)
def trained(request: pytest.FixtureRequest) -> TrainablePolicyLearner:
    trainee = PolicyCase(learner=request.param, spec=SPEC, limits=WorkerLimits()).begin(NUM_UPDATES)
    for _ in range(NUM_UPDATES):
        trainee.update()
    trainee.close()
    return trainee


@pytest.fixture
def exported(trained: TrainablePolicyLearner, tmp_path: Path) -> Path:
    path = tmp_path / "policy.safetensors"
    write_version_file(path, trained.export({"updates": trained.num_updates}))
    return path


def test_a_loaded_policy_gets_the_returns_of_its_learners_own_evaluation(
    trained: TrainablePolicyLearner, exported: Path
) -> None:
    policy, learner = load_policy(exported), trained.learner
    for task in range(2):
        play = Play(
            Navigation(SPEC, num_trials=1, device="cpu"),
            first_task=task,
            split=Split.HELD_OUT,
            num_episodes=NUM_EPISODES,
        )
        generator = torch.Generator().manual_seed(7)
        before, after = returns_of_adapting(learner, play, generator=generator)
        rounds = play_trial(policy, task=task, seed=7)
        assert len(rounds) == learner.config.steps_to_adapt + 1
        assert rounds[[0, -1]] == pytest.approx([before.item(), after.item()], rel=1e-3)


def test_a_loaded_policy_adapts_within_a_trial(exported: Path) -> None:
    policy = load_policy(exported)
    rounds = np.stack([play_trial(policy, task=task, seed=task) for task in range(4)])
    assert rounds[:, -1].mean() > rounds[:, 0].mean()


def test_trials_do_not_change_the_loaded_policy(exported: Path) -> None:
    policy = load_policy(exported)
    first = play_trial(policy, task=0, seed=0)
    play_trial(policy, task=1, seed=1)
    assert (play_trial(policy, task=0, seed=0) == first).all()


def test_more_episodes_than_planned_are_played_without_further_steps(exported: Path) -> None:
    env = NavigationEnv(0)
    trial = load_policy(exported).begin_trial(env, is_greedy=True)
    for _ in range(trial.episodes_per_trial - NUM_EPISODES):
        play_episode(trial, env)
    # The policy no longer changes and takes its most likely action, so all episodes are equal.
    assert len({play_episode(trial, env) for _ in range(NUM_EPISODES + 3)}) == 1
