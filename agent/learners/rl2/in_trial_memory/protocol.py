"""The in-trial memory: the steps of the current trial, read at an observation, one result per slot.

A policy that must store everything about a trial in its recurrent state stops improving long before it runs out of
steps. The policy therefore gets a second input next to its hidden state: a read of its own trial, which summarises what
each action led to at observations like the current one.

A read is attention over the trial's steps as in Matching Networks (Vinyals et al. 2016, arXiv:1606.04080), with the
values of neural episodic control (Pritzel et al. 2017, arXiv:1703.01988). Keys are observations; values hold the
action, the reward, what followed and the return to go. Reads are computed once in the rollout and stored with the
trial. Only if keys are learned does an update compute the reads again.

Three memories implement one protocol:

- :class:`agent.learners.rl2.in_trial_memory.table.TableMemory`, for discrete observations: only equal observations
  match, so the memory holds sums by observation and action. O(1) a step. It also stores where each action led, and
  plans over these transitions.
- :class:`agent.learners.rl2.in_trial_memory.met.MetMemory`, for vectors of which few are different: the same for the
  observations that the trial met, in the order in which it met them.
- :class:`agent.learners.rl2.in_trial_memory.similarity.SimilarityMemory`, for other vectors: the last M steps,
  weighted by a Gaussian kernel of the distance between keys. O(M) a step, whatever the length of the trial.

Shapes: B trials, S observations, D observation width, K slots (a choice of a discrete dimension, or a continuous
dimension), W action width, F features of a read, G discounts, M remembered steps, Q key width.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from agent.learners.distributions import num_slots
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.in_trial_memory import similarity as similarity_memory
from agent.learners.rl2.in_trial_memory.keys import Keys
from agent.learners.rl2.in_trial_memory.met import MAX_SIZE, MetMemory
from agent.learners.rl2.in_trial_memory.similarity import SimilarityMemory
from agent.learners.rl2.in_trial_memory.table import TableMemory
from envs.spaces import ActionKind, ObservationKind, SpacePair


@runtime_checkable
class InTrialMemory(Protocol):
    """The memories of B parallel trials; empty when created."""

    def read(self, observation: Float[Tensor, "B D"]) -> Float[Tensor, "B K F"]:
        """Return what the trial has met at observations like these, one result per slot.

        Args:
            observation: observations as the memory takes them.
        """
        ...

    def write(
        self,
        *,
        observation: Float[Tensor, "B D"],
        action: Shaped[Tensor, "B ..."],
        reward: Float[Tensor, " B"],
        next_observation: Shaped[Tensor, "B _"],
        terminated: Bool[Tensor, " B"],
        active: Bool[Tensor, " B"],
    ) -> None:
        """Add one step of every active trial, as if its episode continued; :meth:`end_episodes` marks those that ended.

        Args:
            observation: the observation that was acted on (:meth:`agent.learners.rl2.pair.PairModule.remembered`).
            action: the action taken.
            reward: the reward, in units of the pair's reward scale.
            next_observation: the next observation of the same episode, or the true final observation if the episode
                ended. It is in the environment's units, because only memories that match exactly use it.
            terminated: whether the episode terminated with this step.
            active: rows whose trial has not ended.
        """
        ...

    def end_episodes(self, ended: Bool[Tensor, " B"]) -> None:
        """Record that the episodes of these rows ended with the step just added."""
        ...

    def keep(self, rows: Shaped[Tensor, " R"]) -> None:
        """Keep only these trials, in this order."""
        ...

    def select(self, rows: Shaped[Tensor, " R"]) -> InTrialMemory:
        """Return a copy that holds the steps of these trials, in this order; writing to it changes nothing else."""
        ...

    def forget(self, rows: Shaped[Tensor, " R"]) -> None:
        """Drop every step of these trials; the other trials go on."""
        ...

    def begin_again(self, episodes_per_trial: int) -> None:
        """Begin another trial in each of the tasks. The steps of the earlier trials are still held.

        Args:
            episodes_per_trial: E of the trials that begin.
        """
        ...


def meets_again(spaces: SpacePair, config: RL2Config) -> bool:
    """Return whether the pair's observations are vectors that are matched exactly: few are different."""
    return (
        spaces.observation.num_distinct > 1
        and spaces.action.kind is ActionKind.DISCRETE
        and bool(config.look_ahead_discounts)
        and MetMemory.size_of(spaces) <= MAX_SIZE
    )


def has_table(spaces: SpacePair, config: RL2Config) -> bool:
    """Return whether the pair's observations are matched exactly."""
    if meets_again(spaces, config):
        return True
    is_discrete = spaces.observation.kind is ObservationKind.DISCRETE and not spaces.action.has_numbers
    return is_discrete and spaces.observation.size * num_slots(spaces.action) <= config.max_table_size


def look_aheads(spaces: SpacePair, config: RL2Config) -> tuple[float, ...]:
    """Return the discounts at which the pair's memory plans; empty if there is nothing to plan."""
    if meets_again(spaces, config):
        return config.look_ahead_discounts
    size, action = spaces.observation.size, spaces.action
    is_plannable = size > 1 and action.kind is ActionKind.DISCRETE
    return config.look_ahead_discounts if is_plannable and size**2 * num_slots(action) <= config.max_table_size else ()


def read_size(spaces: SpacePair, config: RL2Config) -> int:
    """Return F, the number of features of a slot's read."""
    if not config.reads:
        return 0
    if has_table(spaces, config):
        return TableMemory.num_features(len(look_aheads(spaces, config)))
    return similarity_memory.num_features(spaces.action)


class ReadMeaning(StrEnum):
    """The meaning of a read's features. Parts that take in reads can be copied between spaces of equal meaning."""

    NOTHING = "nothing"
    STATISTICS = "statistics"
    PLANS = "plans"
    SIMILAR_CHOICES = "similar_choices"
    SIMILAR_VALUES = "similar_values"
    SIMILAR_CHOICES_AND_VALUES = "similar_choices_and_values"


def read_meaning(spaces: SpacePair, config: RL2Config) -> ReadMeaning:
    """Return the meaning of the pair's reads."""
    if not config.reads:
        return ReadMeaning.NOTHING
    if has_table(spaces, config):
        return ReadMeaning.PLANS if look_aheads(spaces, config) else ReadMeaning.STATISTICS
    if spaces.action.kind is ActionKind.MIXED:
        return ReadMeaning.SIMILAR_CHOICES_AND_VALUES
    return ReadMeaning.SIMILAR_VALUES if spaces.action.has_numbers else ReadMeaning.SIMILAR_CHOICES


def has_learned_keys(spaces: SpacePair, config: RL2Config) -> bool:
    """Return whether the pair's memory matches observations by learned keys."""
    is_vector = spaces.observation.kind is ObservationKind.VECTOR
    return config.reads and config.learned_keys and is_vector and not meets_again(spaces, config)


def empty_memory(
    spaces: SpacePair,
    config: RL2Config,
    *,
    num_trials: int,
    episodes_per_trial: int,
    keys: Keys,
    device: torch.device,
) -> InTrialMemory | None:
    """Create the memory of ``num_trials`` trials that are about to begin; None if the policy reads no memory.

    Args:
        spaces: the space pair.
        config: the settings.
        num_trials: B.
        episodes_per_trial: E.
        keys: the keys by which a memory for vectors matches observations.
        device: device of the tensors.
    """
    if not config.reads:
        return None
    if meets_again(spaces, config):
        return MetMemory(
            num_trials,
            spaces,
            episodes_per_trial=episodes_per_trial,
            discounts=look_aheads(spaces, config),
            device=device,
        )
    if has_table(spaces, config):
        return TableMemory(
            num_trials,
            spaces.observation.size,
            spaces.action,
            episodes_per_trial=episodes_per_trial,
            discounts=look_aheads(spaces, config),
            device=device,
        )
    return SimilarityMemory(
        num_trials,
        spaces.action,
        keys=keys,
        num_steps=config.memory_size,
        device=device,
    )
