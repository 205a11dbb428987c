"""A published file is all that a user needs to act and adapt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agent.learners.rl2.pair import PairModule
from agent.learners.rl2.policy_state import PairConstants
from agent.policies.acting import LoadedPolicy, load_policy
from agent.policies.version_file import PolicyFileError
from agent.trainer.jobs.consolidate import consolidate
from memory.folder import DataFolder
from memory.store import Store
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, practise


class OneArmPays(gym.Env[np.int64, np.int64]):
    """Three arms, one of which always pays; an episode is a pull."""

    observation_space = gym.spaces.Discrete(1)
    action_space = gym.spaces.Discrete(3)

    def __init__(self, arm: int) -> None:
        self._arm = arm

    def reset(self, **_: Any) -> tuple[np.int64, dict[str, Any]]:  # type: ignore[override]
        return np.int64(0), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        return np.int64(0), float(action == self._arm), True, False, {}


def publish(store: Store, folder: DataFolder, open_session: SessionMaker, *, updates: int) -> Path:
    family = feed_bandits(store)
    session = open_session(store)
    for _ in range(updates):
        practise(session, family, reason="test")
    consolidate(session)
    version = store.initializations.current()
    assert version is not None
    return folder.parameters_path / f"{version.file.sha256}.safetensors"


@pytest.fixture
def published(store: Store, folder: DataFolder, open_session: SessionMaker) -> Path:
    return publish(store, folder, open_session, updates=1)


@pytest.fixture
def learned(store: Store, folder: DataFolder, open_session: SessionMaker) -> Path:
    return publish(store, folder, open_session, updates=40)


def _episode_returns(policy: LoadedPolicy, num_trials: int) -> np.ndarray[Any, Any]:
    returns = np.zeros((num_trials, 5))
    for index in range(num_trials):
        env = OneArmPays(arm=index % 3)
        trial = policy.begin_trial(env, seed=index)
        for episode in range(trial.episodes_per_trial):
            observation, _ = env.reset()
            observation, reward, terminated, truncated, _ = env.step(trial.act(observation))
            trial.observe(observation, reward, terminated=terminated, truncated=truncated)
            returns[index, episode] = reward
    return returns


def test_a_loaded_policy_adapts_within_a_trial(learned: Path) -> None:
    returns = _episode_returns(load_policy(learned), num_trials=90)
    assert returns[:, -1].mean() > returns[:, 0].mean() + 0.2


def test_acting_follows_the_seed(published: Path) -> None:
    policy = load_policy(published)
    assert (_episode_returns(policy, 10) == _episode_returns(policy, 10)).all()


def test_an_environment_of_other_spaces_is_refused_by_name(published: Path) -> None:
    with pytest.raises(PolicyFileError, match="knows: bandits"):
        load_policy(published).begin_trial(gym.make("CartPole-v1"))


def test_acting_twice_without_telling_the_outcome_is_an_error(published: Path) -> None:
    trial = load_policy(published).begin_trial(OneArmPays(0))
    trial.act(0)
    with pytest.raises(RuntimeError, match="observe"):
        trial.act(0)


def test_a_loaded_policy_derives_the_constants_of_its_spaces_once(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    derive, num_calls = PairModule.constants, 0

    def counted(pair: PairModule) -> PairConstants:
        nonlocal num_calls
        num_calls += 1
        return derive(pair)

    monkeypatch.setattr(PairModule, "constants", counted)
    _episode_returns(load_policy(published), num_trials=2)
    assert num_calls == 1


def test_more_episodes_may_be_played_than_a_trial_has(published: Path) -> None:
    env = OneArmPays(1)
    trial = load_policy(published).begin_trial(env, episodes_per_trial=2)
    for _ in range(2 + 4):
        observation, reward, terminated, truncated, _ = env.step(trial.act(env.reset()[0]))
        trial.observe(observation, reward, terminated=terminated, truncated=truncated)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_a_file_that_is_no_initialization_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policy.safetensors"
    path.write_bytes(content)
    with pytest.raises(PolicyFileError, match=r"policy\.safetensors"):
        load_policy(path)
