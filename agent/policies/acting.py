"""Acting with a version file: load it and begin a trial in a task; the policy adapts as it acts.

    policy = load_policy("cartpole.safetensors")
    trial = policy.begin_trial(env)
    for _ in range(trial.episodes_per_trial):
        observation, info = env.reset()
        is_over = False
        while not is_over:
            observation, reward, terminated, truncated, info = env.step(trial.act(observation, info))
            trial.observe(observation, reward, terminated=terminated, truncated=truncated)
            is_over = terminated or truncated

Every learner of environments acts so: RL² adapts at every step, and policies that adapt by gradient take a step after
each round of episodes. The file is self-contained: no store and no daemon are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from agent.learners.factory import POLICY_LEARNERS, restore_policy_learner
from agent.learners.registry import RL2
from agent.learners.rl2.parameters import policy_from_initialization
from agent.learners.rl2.removed_settings import RemovedSettingError, stored_config
from agent.policies.gradient_acting import GradientPolicy
from agent.policies.recurrent_acting import RecurrentPolicy
from agent.policies.trial_memory import TrialMemory, trial_memory
from agent.policies.version_file import PolicyFileError, VersionFile, read_version_file, refusal, understanding
from agent.policies.version_header import KnownFamily
from envs.family import DEFAULT_IMAGE_SIZE
from envs.gymnasium.host.actions import action_builder, describe_action
from envs.gymnasium.host.contexts import context_digest
from envs.gymnasium.host.faults import UnsupportedError
from envs.gymnasium.host.masks import MaskReader
from envs.gymnasium.host.observations import form_of
from envs.space_text import spaces_text
from envs.spaces import SpacePair


@runtime_checkable
class Actor(Protocol):
    """A policy in one trial: actions and outcomes as tensors of one row, in the policy's own units."""

    def act(
        self, observation: Shaped[Tensor, "1 D"], *, allowed: Bool[Tensor, "1 C"] | None = None
    ) -> Shaped[Tensor, "1 ..."]:
        """Choose an action, of those that are allowed."""
        ...

    def observe(
        self,
        *,
        reward: Float[Tensor, "1"],
        final_observation: Shaped[Tensor, "1 D"],
        terminated: Bool[Tensor, "1"],
        truncated: Bool[Tensor, "1"],
    ) -> None:
        """Record the outcome of the last action."""
        ...


@runtime_checkable
class ActingPolicy(Protocol):
    """A policy that begins trials."""

    def begin(
        self,
        spaces: SpacePair,
        *,
        episodes_per_trial: int,
        seed: int,
        is_greedy: bool,
        context: bytes | None = None,
    ) -> Actor:
        """Begin a trial in a task of these spaces."""
        ...


class LoadedPolicy:
    """A policy, loaded from a version file.

    Args:
        policy: the policy.
        families: the families on which it was learned, by name.
    """

    def __init__(self, policy: ActingPolicy, families: Mapping[str, KnownFamily]) -> None:
        self._policy = policy
        self.families = dict(families)

    def begin_trial(
        self,
        env: gym.Env[Any, Any],
        *,
        episodes_per_trial: int | None = None,
        seed: int = 0,
        is_greedy: bool = False,
        context: Any = None,
    ) -> Trial:
        """Begin a trial in one task. Later episodes use the experience of earlier ones.

        Args:
            env: the task, or another environment with the same spaces.
            episodes_per_trial: planned number of episodes; None takes the number used in training. If more are played,
                the input of an RL² policy describes each additional episode as the last one. A policy that adapts by
                gradient takes its steps after the same episodes whatever the number.
            seed: seed of the actions drawn.
            is_greedy: always take the most likely action; a policy that adapts by gradient does so after its last step.
            context: ``info["context"]`` of the task's first reset, by which a memory of trials finds the task; None
                without one.

        Raises:
            PolicyFileError: the policy was not trained in these spaces.
        """
        known = [family for family in self.families.values() if _are_equal(family.spaces, _spaces_as(family, env))]
        if not known:
            found = _spaces_of(env, image_size=DEFAULT_IMAGE_SIZE)
            raise PolicyFileError(
                operation="beginning a trial in",
                subject=str(env),
                found=f"nothing was learned in its spaces ({spaces_text(found.to_json())}).",
                hint=f"This policy knows: {self._listed()}.",
            )
        planned = episodes_per_trial or known[0].episodes_per_trial
        digest = context_digest({"context": context})
        actor = self._policy.begin(
            known[0].spaces,
            episodes_per_trial=planned,
            seed=seed,
            is_greedy=is_greedy,
            context=None if digest is None else bytes.fromhex(digest),
        )
        return Trial(actor, env, known[0].spaces, episodes_per_trial=planned)

    def _listed(self) -> str:
        return (
            ", ".join(f"{name} ({spaces_text(family.spaces.to_json())})" for name, family in self.families.items())
            or "nothing"
        )


class Trial:
    """A trial: consecutive episodes in one task, over which what the policy has adapted is kept.

    :meth:`LoadedPolicy.begin_trial` creates it.
    """

    def __init__(self, actor: Actor, env: gym.Env[Any, Any], spaces: SpacePair, *, episodes_per_trial: int) -> None:
        self.episodes_per_trial = episodes_per_trial
        self._actor, self._spaces = actor, spaces
        self._form = form_of(env.observation_space, image_size=_image_size(spaces))
        self._build_action = action_builder(env.action_space)
        self._masks = MaskReader(env.observation_space, env.action_space)
        self._is_waiting = False

    def act(self, observation: Any, info: Mapping[str, Any] | None = None) -> Any:
        """Choose an action at an observation, in the environment's own format.

        Args:
            observation: the observation that ``env.reset`` or ``env.step`` returned.
            info: what they returned with it. It is needed if the environment gives action masks in it; the policy then
                takes allowed actions only. A mask that is a part of the observation is found without it.

        Raises:
            RuntimeError: the outcome of the last action was not passed to :meth:`observe`.
        """
        if self._is_waiting:
            raise RuntimeError("tell the trial what its last action led to (observe) before it acts again")
        action = self._actor.act(self._vector(observation), allowed=self._allowed(observation, info))
        self._is_waiting = True
        return self._build_action(np.atleast_1d(self._spaces.action.to_environment(action[0].numpy())))

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
        if not self._is_waiting:
            raise RuntimeError("there is no action whose outcome could be told: act first")
        self._actor.observe(
            reward=torch.tensor([float(reward)]),
            final_observation=self._vector(observation),
            terminated=torch.tensor([bool(terminated)]),
            truncated=torch.tensor([bool(truncated and not terminated)]),
        )
        self._is_waiting = False

    def _vector(self, observation: Any) -> Shaped[Tensor, "1 D"]:
        values = np.zeros((1, self._form.width), dtype=self._form.dtype)
        self._form.write(observation, values[0])
        return torch.from_numpy(values)

    def _allowed(self, observation: Any, info: Mapping[str, Any] | None) -> Bool[Tensor, "1 C"] | None:
        """Return which choices are allowed; None if no mask is given."""
        mask = self._masks.find(observation, info)
        if mask is None:
            return None
        allowed = np.ones((1, self._masks.num_choices), np.bool_)
        self._masks.write(mask, allowed[0])
        return torch.from_numpy(allowed)


def load_policy(path: Path | str, *, memory: TrialMemory | Path | str | None = None) -> LoadedPolicy:
    """Load a policy that acts, after verifying the file.

    `learnd policy export` and, of families of environments, `learnd learn --output` write such files; a file of the
    store is one too.

    Args:
        path: the file.
        memory: a memory of trials for an RL² policy, or the path of an archive that `learnd memory export` wrote: a
            trial begins with what it holds of the task, and is stored in it after its last planned episode (an archive
            is not changed). None begins every trial empty. Policies that adapt by gradient ignore it.

    Raises:
        ArchiveError: the archive cannot be read or is damaged.
        PolicyFileError: the file cannot be read, is damaged, or contains no policy that acts.
    """
    file = read_version_file(path)
    held = None if memory is None else trial_memory(memory)
    try:
        with understanding(str(path)):
            policy = _acting_policy(file, held)
    except RemovedSettingError as error:
        raise refusal(str(path), error.found, error.hint) from error
    if policy is None:
        raise refusal(
            str(path),
            f"its learner {file.header.learner!r} does not act in environments.",
            f"Learners that act are {', '.join((RL2, *POLICY_LEARNERS))}.",
        )
    return LoadedPolicy(policy, file.header.families)


def _acting_policy(file: VersionFile, memory: TrialMemory | None) -> ActingPolicy | None:
    """Return the policy in a file; None if its learner does not act."""
    header, tensors = file.header, file.tensors
    families = list(header.families.values())
    if header.config is None:
        return None
    if header.learner == RL2:
        config = stored_config(header.config)
        policy = policy_from_initialization(config, tensors, [family.spaces for family in families])
        return RecurrentPolicy(policy, memory)
    if header.learner in POLICY_LEARNERS:
        # Adapting does not depend on the number of updates taken.
        meta = {"spaces": families[0].spaces.to_json(), "config": header.config, "num_updates": 0}
        return GradientPolicy(restore_policy_learner(tensors, {"learner": header.learner, **meta}))
    return None


def _spaces_of(env: gym.Env[Any, Any], *, image_size: int) -> SpacePair:
    form = form_of(env.observation_space, image_size=image_size)
    return SpacePair.from_json({"observation": form.described, "action": describe_action(env.action_space)})


def _spaces_as(family: KnownFamily, env: gym.Env[Any, Any]) -> SpacePair | None:
    """Return the spaces of an environment with images of the family's size; None if they are not supported so."""
    try:
        return _spaces_of(env, image_size=_image_size(family.spaces))
    except UnsupportedError:
        return None


def _image_size(spaces: SpacePair) -> int:
    """Return the largest side of the images of a family; 0 if it has none."""
    return max((max(image.height, image.width) for image in spaces.observation.images), default=0)


def _are_equal(known: SpacePair, found: SpacePair | None) -> bool:
    """Return whether two pairs are equal, with bounds of actions compared as float32, the precision of most spaces."""
    return found is not None and _with_float32_bounds(known) == _with_float32_bounds(found.described_as(known))


def _with_float32_bounds(spaces: SpacePair) -> SpacePair:
    values = spaces.to_json()
    with np.errstate(over="ignore"):
        bounds = {name: np.asarray(values["action"][name], np.float32).tolist() for name in ("low", "high")}
    return SpacePair.from_json({**values, "action": {**values["action"], **bounds}})
