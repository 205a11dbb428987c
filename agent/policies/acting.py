"""Acting with a published initialization: load the file and begin a trial in a task; the policy adapts as it acts.

    policy = load_policy("cartpole.safetensors")
    trial = policy.begin_trial(env)
    for _ in range(trial.episodes_per_trial):
        observation, _ = env.reset()
        is_over = False
        while not is_over:
            observation, reward, terminated, truncated, _ = env.step(trial.act(observation))
            trial.observe(observation, reward, terminated=terminated, truncated=truncated)
            is_over = terminated or truncated

The file is self-contained: no store and no daemon are needed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from agent.errors import AgentError
from agent.learners.config_json import config_from_json
from agent.learners.registry import RL2
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.policy import RL2Policy, policy_from_initialization
from envs.gymnasium.host import checked_index, describe_action, describe_observation, flattener
from envs.spaces import ActionKind, ObservationKind, SpacePair


class PolicyFileError(AgentError):
    """An error: a file is not an initialization, or its policy does not know the environment's spaces."""


@dataclass(frozen=True, kw_only=True)
class KnownFamily:
    """A family on which an initialization was learned.

    Attributes:
        spaces: its pair of spaces.
        episodes_per_trial: number of episodes in one task in training.
    """

    spaces: SpacePair
    episodes_per_trial: int


class LoadedPolicy:
    """A published policy, loaded from a file.

    Args:
        policy: the policy.
        families: the families on which it was learned, by name.
    """

    def __init__(self, policy: RL2Policy, families: dict[str, KnownFamily]) -> None:
        self._policy = policy
        self.families = families

    def begin_trial(
        self,
        env: gym.Env[Any, Any],
        *,
        episodes_per_trial: int | None = None,
        seed: int = 0,
        is_greedy: bool = False,
    ) -> Trial:
        """Begin a trial in one task. Later episodes use the experience of earlier ones.

        Args:
            env: the task, or another environment with the same spaces.
            episodes_per_trial: planned number of episodes; None takes the number used in training. If more are played,
                the policy's input describes each additional episode as the last one.
            seed: seed of the actions drawn.
            is_greedy: always take the most likely action.

        Raises:
            PolicyFileError: the policy was not trained in these spaces.
        """
        found = {
            "observation": describe_observation(env.observation_space),
            "action": describe_action(env.action_space),
        }
        spaces = SpacePair.from_json(found)
        known = [family for family in self.families.values() if family.spaces == spaces]
        if not known:
            raise PolicyFileError(
                operation="beginning a trial in",
                subject=str(env),
                found=f"nothing was learned in its spaces ({spaces.key}).",
                hint=f"This initialization knows: {self._listed()}.",
            )
        return Trial(
            self._policy,
            env,
            spaces,
            episodes_per_trial=episodes_per_trial or known[0].episodes_per_trial,
            seed=seed,
            is_greedy=is_greedy,
        )

    def _listed(self) -> str:
        return ", ".join(f"{name} ({family.spaces.key})" for name, family in self.families.items()) or "nothing"


class Trial:
    """A trial: consecutive episodes in one task, over which the hidden state and the in-trial memory are kept.

    :meth:`LoadedPolicy.begin_trial` creates it.
    """

    def __init__(
        self,
        policy: RL2Policy,
        env: gym.Env[Any, Any],
        spaces: SpacePair,
        *,
        episodes_per_trial: int,
        seed: int,
        is_greedy: bool,
    ) -> None:
        self.episodes_per_trial = episodes_per_trial
        self._policy, self._spaces, self._is_greedy = policy, spaces, is_greedy
        self._observation_space = env.observation_space
        self._generator = torch.Generator().manual_seed(seed)
        self._active = torch.ones(1, dtype=torch.bool)
        self._state = policy.begin(
            spaces, num_trials=1, episodes_per_trial=episodes_per_trial, device=torch.device("cpu")
        )
        self._acted_on: torch.Tensor | None = None

    @torch.no_grad()
    def act(self, observation: Any) -> Any:
        """Choose an action at an observation, in the environment's own format.

        Raises:
            RuntimeError: the outcome of the last action was not passed to :meth:`observe`.
        """
        if self._acted_on is not None:
            raise RuntimeError("tell the trial what its last action led to (observe) before it acts again")
        self._acted_on = self._vector(observation)
        inputs = self._policy.look(self._spaces, self._state, self._acted_on)
        output = self._policy.step(self._spaces, inputs, self._state.hidden, self._state.constants)
        distribution = output.distribution
        self._action = distribution.mode() if self._is_greedy else distribution.sample(self._generator)
        self._hidden = output.hidden
        return self._in_environment(self._action)

    @torch.no_grad()
    def observe(self, observation: Any, reward: float, *, terminated: bool, truncated: bool) -> None:
        """Record the outcome of the last action.

        Args:
            observation: the observation that ``env.step`` returned; at an episode's end, the true final observation.
            reward: the reward that ``env.step`` returned.
            terminated: whether the episode terminated.
            truncated: whether the episode was truncated.

        Raises:
            RuntimeError: there was no action before.
        """
        if self._acted_on is None:
            raise RuntimeError("there is no action whose outcome could be told: act first")
        is_terminated = torch.tensor([bool(terminated)])
        is_truncated = torch.tensor([bool(truncated and not terminated)])
        self._policy.take(
            self._spaces,
            self._state,
            hidden=self._hidden,
            observation=self._acted_on,
            action=self._action,
            reward=torch.tensor([float(reward)]),
            final_observation=self._vector(observation),
            terminated=is_terminated,
            active=self._active,
        )
        self._policy.end_episodes(self._state, terminated=is_terminated, truncated=is_truncated, active=self._active)
        # After the last planned episode, the policy's input always says that one episode is left.
        self._state.episode_index.clamp_(max=self.episodes_per_trial)
        self._acted_on = None

    def _vector(self, observation: Any) -> torch.Tensor:
        values = np.zeros((1, self._spaces.observation.width), dtype=np.float32)
        space = self._observation_space
        if self._spaces.observation.kind is ObservationKind.DISCRETE and isinstance(space, gym.spaces.Discrete):
            values[0, 0] = checked_index(observation, int(space.start), int(space.n), "observation")
        else:
            flattener(space)(observation, values[0])
        return torch.from_numpy(values)

    def _in_environment(self, action: torch.Tensor) -> Any:
        values = self._spaces.action.to_environment(action[0].numpy())
        return int(values.item()) if self._spaces.action.kind is ActionKind.DISCRETE else values


def load_policy(path: Path | str) -> LoadedPolicy:
    """Load a published initialization (written by `learnd policy export VERSION FILE`, or a file of the store).

    Raises:
        PolicyFileError: the file cannot be read or is not an initialization.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    except (OSError, SafetensorError) as error:
        raise PolicyFileError(
            operation="loading the policy",
            subject=str(path),
            found=f"{error}.",
            hint="Export one: learnd policy export.",
        ) from error
    if metadata.get("learner") != RL2:
        raise PolicyFileError(
            operation="loading the policy",
            subject=str(path),
            found=f"its header names the learner {metadata.get('learner')!r}, not 'rl2'.",
            hint="Only what `learnd policy export` writes can act.",
        )
    families = {
        name: KnownFamily(spaces=SpacePair.from_json(family["spaces"]), episodes_per_trial=family["episodes_per_trial"])
        for name, family in json.loads(metadata["families"]).items()
    }
    config = config_from_json(RL2Config, json.loads(metadata["config"]))
    policy = policy_from_initialization(config, tensors, [family.spaces for family in families.values()])
    return LoadedPolicy(policy.eval(), families)
