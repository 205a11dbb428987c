"""The in-trial memory: what a trial has met so far, read at an observation, slot by slot.

A policy that must squeeze all it has seen through a recurrent state stalls long before it runs out of steps. So it is
given, beside its hidden state, a read of its own trial: what each action led to at observations like the present one.
It is attention over the trial's steps as in Matching Networks (Vinyals et al. 2016, arXiv:1606.04080) with the values
of neural episodic control (Pritzel et al. 2017, arXiv:1703.01988): keys are observations, values hold action, reward,
what followed and the return to go. A read is an input like any other, computed once in the rollout and kept with the
trial; only where keys are learned does an update read again.

Three memories behind one protocol:

- :class:`agent.rl2.table_memory.TableMemory`, for discrete observations: equal observations match and no others do, so
  sums by observation and action are all there is to hold. O(1) a step. It also holds where each action led, and plans
  over that.
- :class:`agent.rl2.similarity_memory.SimilarityMemory`, for vectors: the last M steps, weighed by a Gaussian kernel of
  the distance between keys, or by matching attention. O(M) a step, whatever the length of the trial.
- :class:`agent.rl2.prototype_memory.PrototypeMemory`, for vectors too: the last M steps, read by two prototypes a slot.

Shapes: B trials, S observations, D observation width, K slots (a choice of a discrete dimension, or a continuous
dimension), W action width, F features of a read, G discounts, M remembered steps, Q key width.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from agent.rl2 import similarity_memory
from agent.rl2.config import MemoryReader, RL2Config
from agent.rl2.distributions import num_slots
from agent.rl2.keys import Keys
from agent.rl2.prototype_memory import PrototypeMemory
from agent.rl2.similarity_memory import Likeness, SimilarityMemory
from agent.rl2.table_memory import TableMemory
from envs.spaces import ActionKind, ObservationKind, SpacePair


@runtime_checkable
class InTrialMemory(Protocol):
    """B trials' memories side by side, empty when made."""

    def read(self, observation: Float[Tensor, "B D"]) -> Float[Tensor, "B K F"]:
        """What the trial has met at observations like these, slot by slot."""
        ...

    def write(
        self,
        *,
        observation: Float[Tensor, "B D"],
        action: Shaped[Tensor, "B ..."],
        reward: Float[Tensor, " B"],
        next_observation: Float[Tensor, "B D"],
        terminated: Bool[Tensor, " B"],
        active: Bool[Tensor, " B"],
    ) -> None:
        """Add one step of every active trial, as if its episode went on: :meth:`end_episodes` ends those that do not.

        Args:
            observation: what was acted on, as the policy sees it (vectors normalised).
            action: what was done.
            reward: what it gave, in units of the pair's reward scale.
            next_observation: what followed in the same episode, the true final observation where it ended; as the
                environment gave it, for discrete ones alone are looked at.
            terminated: nothing follows.
            active: rows whose trial goes on.
        """
        ...

    def end_episodes(self, ended: Bool[Tensor, " B"]) -> None:
        """Take it that these rows' episodes ended with the step just added."""
        ...

    def keep(self, rows: Shaped[Tensor, " R"]) -> None:
        """Remember these trials alone, in this order."""
        ...


def has_table(spaces: SpacePair, config: RL2Config) -> bool:
    """Whether the pair's observations are matched exactly."""
    is_discrete = (
        spaces.observation.kind is ObservationKind.DISCRETE and spaces.action.kind is not ActionKind.CONTINUOUS
    )
    return is_discrete and spaces.observation.size * num_slots(spaces.action) <= config.max_table_size


def look_aheads(spaces: SpacePair, config: RL2Config) -> tuple[float, ...]:
    """The discounts that the pair's memory plans at: none where there is nothing to plan."""
    size, action = spaces.observation.size, spaces.action
    is_plannable = size > 1 and action.kind is ActionKind.DISCRETE
    return config.look_ahead_discounts if is_plannable and size**2 * num_slots(action) <= config.max_table_size else ()


def read_size(spaces: SpacePair, config: RL2Config) -> int:
    """F, the number of features of a slot's read."""
    if not config.reads:
        return 0
    if has_table(spaces, config):
        return TableMemory.num_features(len(look_aheads(spaces, config)))
    is_by_prototypes = config.memory_reader is MemoryReader.PROTOTYPES
    return PrototypeMemory.NUM_FEATURES if is_by_prototypes else similarity_memory.NUM_FEATURES


def has_learned_keys(spaces: SpacePair, config: RL2Config) -> bool:
    """Whether the pair's memory matches observations by learned keys. Prototypes keep fixed ones."""
    return (
        config.reads
        and config.learned_keys
        and config.memory_reader is not MemoryReader.PROTOTYPES
        and spaces.observation.kind is ObservationKind.VECTOR
    )


def likeness_of(config: RL2Config) -> Likeness:
    """How a similarity memory weighs steps."""
    return Likeness(bandwidth=config.memory_bandwidth, is_matching=config.memory_reader is MemoryReader.MATCHING)


def empty_memory(
    spaces: SpacePair,
    config: RL2Config,
    *,
    num_trials: int,
    episodes_per_trial: int,
    keys: Keys,
    device: torch.device,
) -> InTrialMemory | None:
    """The memory of ``num_trials`` trials about to begin; None where the policy reads none.

    Args:
        spaces: the pair of spaces.
        config: the settings.
        num_trials: B.
        episodes_per_trial: E.
        keys: what a memory for vectors matches observations by.
        device: where the tensors live.
    """
    if not config.reads:
        return None
    if has_table(spaces, config):
        return TableMemory(
            num_trials,
            spaces.observation.size,
            spaces.action,
            episodes_per_trial=episodes_per_trial,
            discounts=look_aheads(spaces, config),
            prior=config.transition_prior,
            device=device,
        )
    if config.memory_reader is MemoryReader.PROTOTYPES:
        return PrototypeMemory(
            num_trials,
            spaces.action,
            keys=keys,
            num_steps=config.memory_size,
            bandwidth=config.memory_bandwidth,
            device=device,
        )
    return SimilarityMemory(
        num_trials,
        spaces.action,
        keys=keys,
        num_steps=config.memory_size,
        likeness=likeness_of(config),
        device=device,
    )
