"""A published file is all that a user needs to act and adapt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from agent.learners.rl2.pair import PairModule
from agent.learners.rl2.policy_state import PairConstants
from agent.policies.acting import LoadedPolicy, load_policy
from agent.policies.recurrent_acting import RecurrentActor, RecurrentPolicy
from agent.policies.trial_memory import ExactTrialMemory, StoredTrialMemory
from agent.policies.version_file import PolicyFileError
from agent.trainer.jobs.consolidate import consolidate
from envs.gymnasium.host.contexts import context_digest
from envs.spaces import SpacePair
from memory.exchange.exporting import export_trials
from memory.folder import DataFolder
from memory.records import TrialRecord
from memory.retrieval.recall import RecalledTrials
from memory.store import Store
from tests.agent.conftest import LEARNED_GROUP
from tests.agent.trainer.conftest import feed_bandits, practise, sessions

pytestmark = LEARNED_GROUP


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


def published_file(store: Store) -> Path:
    version = store.initializations.current()
    assert version is not None
    return store.folder.parameters_path / f"{version.file.sha256}.safetensors"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file of a policy after one update."""
    folder = DataFolder(tmp_path_factory.mktemp("published") / "store")
    with Store.open(folder) as store, sessions() as open_session:
        session, family = open_session(store), feed_bandits(store)
        practise(session, family, reason="test")
        consolidate(session)
        yield published_file(store)


@pytest.fixture(scope="module")
def store_of_learned(
    learned_bandits: Callable[[Path], DataFolder], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """The store of a published policy that learned three arms."""
    folder = learned_bandits(tmp_path_factory.mktemp("published") / "store")
    with Store.open(folder) as store, sessions() as open_session:
        consolidate(open_session(store))
        yield store


@pytest.fixture
def learned(store_of_learned: Store) -> Path:
    """The file of a policy that learned three arms."""
    return published_file(store_of_learned)


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


def test_a_trial_begins_with_what_a_memory_holds_of_the_task(learned: Path) -> None:
    first_pulls = {}
    for memory in (None, ExactTrialMemory()):
        policy, env = load_policy(learned, memory=memory), OneArmPays(2)
        _play_trial(policy, env, seed=0)
        returns = [_play_trial(policy, env, seed=1 + number)[0] for number in range(30)]
        first_pulls[memory is None] = sum(returns) / len(returns)
    assert first_pulls[False] > first_pulls[True] + 0.3


def test_a_memory_of_other_tasks_leaves_an_empty_start(learned: Path) -> None:
    memory = ExactTrialMemory()
    policy = load_policy(learned, memory=memory)
    _play_trial(policy, OneArmPays(2), seed=0)
    [family] = policy.families.values()
    assert len(memory.recall(family.spaces, np.zeros(1, np.float32)).trials) == 1
    assert memory.recall(family.spaces, np.ones(1, np.float32)).trials == ()
    other, none = ExactTrialMemory(), None
    actions = [_play_trial(load_policy(learned, memory=held), OneArmPays(1), seed=5) for held in (other, none)]
    assert actions[0] == actions[1]


def test_a_memory_is_given_the_planned_episodes_of_a_trial_once(learned: Path) -> None:
    memory = ExactTrialMemory()
    env = OneArmPays(1)
    policy = load_policy(learned, memory=memory)
    trial = policy.begin_trial(env, episodes_per_trial=2)
    for number in range(4):
        observation, reward, terminated, truncated, _ = env.step(trial.act(env.reset()[0]))
        trial.observe(observation, reward, terminated=terminated, truncated=truncated)
        [family] = policy.families.values()
        found = memory.recall(family.spaces, np.zeros(1, np.float32)).trials
        assert [len(stored.episodes) for stored in found] == ([2] if number else [])


class AskedAgain(ExactTrialMemory):
    """A memory that recalls nothing at the start of a trial, and asked again, what it holds."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._asked_after = steps
        self.begun: list[TrialRecord] = []

    def is_asked_again(self, spaces: SpacePair, num_steps: int, *, has_ended: bool) -> bool:
        return num_steps == self._asked_after

    def recall(
        self,
        spaces: SpacePair,
        first_observation: NDArray[np.float32],
        *,
        context: bytes | None = None,
        begun: TrialRecord | None = None,
    ) -> RecalledTrials:
        if begun is None:
            return RecalledTrials()
        self.begun.append(begun)
        return super().recall(spaces, first_observation, context=context)


def test_a_trial_whose_memory_is_asked_again_goes_on_as_if_it_had_begun_with_the_recall(learned: Path) -> None:
    plain, asked = ExactTrialMemory(), AskedAgain(steps=2)
    [family] = load_policy(learned).families.values()
    [stored] = _stored_trials(load_policy(learned, memory=plain), plain)
    asked.store(family.spaces, stored)
    states = []
    for memory in (plain, asked):
        policy = load_policy(learned, memory=memory)
        actor = policy._policy.begin(family.spaces, episodes_per_trial=5, seed=0, is_greedy=False)
        assert isinstance(actor, RecurrentActor)
        for reward in (0.0, 1.0, 1.0):
            actor.act(torch.zeros(1, 1))
            actor._action = torch.tensor([1])  # the same steps, whatever was chosen
            actor.observe(
                reward=torch.tensor([reward]),
                final_observation=torch.zeros(1, 1),
                terminated=torch.tensor([True]),
                truncated=torch.tensor([False]),
            )
        states.append(actor._state)
    [begun] = asked.begun
    assert [float(episode.rewards[0]) for episode in begun.episodes] == [0.0, 1.0]
    one, other = states
    assert one is not None
    assert other is not None
    torch.testing.assert_close(one.hidden, other.hidden)
    assert int(one.episode_index) == int(other.episode_index) == 3
    for left, right in zip(one.memories, other.memories, strict=True):
        read = [memory.read(torch.zeros(1, 1)) for memory in (left, right)]
        torch.testing.assert_close(*read)


def _stored_trials(policy: LoadedPolicy, memory: ExactTrialMemory) -> tuple[TrialRecord, ...]:
    _play_trial(policy, OneArmPays(2), seed=0)
    [family] = policy.families.values()
    return memory.recall(family.spaces, np.zeros(1, np.float32)).trials


def test_a_memory_that_is_asked_again_amid_an_episode_gets_its_steps_so_far(learned: Path) -> None:
    memory = AskedAgain(steps=1)
    [family] = load_policy(learned).families.values()
    actor = load_policy(learned, memory=memory)._policy.begin(
        family.spaces, episodes_per_trial=5, seed=0, is_greedy=False
    )
    assert isinstance(actor, RecurrentActor)
    actor.act(torch.zeros(1, 1))
    never = torch.tensor([False])
    actor.observe(reward=torch.ones(1), final_observation=torch.zeros(1, 1), terminated=never, truncated=never)
    assert actor._state is not None
    assert int(actor._state.episode_index) == 0
    assert bool(actor._state.is_within_episode)
    [begun] = memory.begun
    assert [len(episode.rewards) for episode in begun.episodes] == [1]


def test_a_trial_recalls_by_the_context_that_it_is_given(learned: Path) -> None:
    memory = ExactTrialMemory()
    policy = load_policy(learned, memory=memory)
    trial = policy.begin_trial(OneArmPays(1), context="the first machine")
    for _ in range(trial.episodes_per_trial):
        trial.act(0)
        trial.observe(0, 1.0, terminated=True, truncated=False)
    [family] = policy.families.values()
    digest = context_digest({"context": "the first machine"})
    assert digest is not None
    first = np.zeros(1, np.float32)
    assert len(memory.recall(family.spaces, first, context=bytes.fromhex(digest)).trials) == 1
    assert memory.recall(family.spaces, first).trials == ()


def test_a_policy_recalls_from_an_exported_archive(learned: Path, store_of_learned: Store, tmp_path: Path) -> None:
    archive = tmp_path / "trials.learnd"
    export_trials(store_of_learned, archive, now=1.0)
    policy = load_policy(learned, memory=archive)
    assert isinstance(policy._policy, RecurrentPolicy)
    memory = policy._policy._memory
    assert isinstance(memory, StoredTrialMemory)
    [family] = policy.families.values()
    num_stored = store_of_learned.stats.memory_stats().trials
    assert len(memory._recalls[family.spaces.key]) == num_stored > 0
    _play_trial(policy, OneArmPays(1), seed=0)
    assert len(memory._recalls[family.spaces.key]) == num_stored + 1
    assert store_of_learned.stats.memory_stats().trials == num_stored


def _play_trial(policy: LoadedPolicy, env: gym.Env[Any, Any], *, seed: int) -> list[float]:
    trial = policy.begin_trial(env, seed=seed)
    rewards = []
    for _ in range(trial.episodes_per_trial):
        observation, reward, terminated, truncated, _ = env.step(trial.act(env.reset()[0]))
        trial.observe(observation, float(reward), terminated=terminated, truncated=truncated)
        rewards.append(float(reward))
    return rewards


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_a_file_that_is_no_initialization_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policy.safetensors"
    path.write_bytes(content)
    with pytest.raises(PolicyFileError, match=r"policy\.safetensors"):
        load_policy(path)
