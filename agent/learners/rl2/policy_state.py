"""The data that a policy decides from: its inputs, its state between two decisions, and the constants of a space pair.

Shapes: B trials, ``*N`` either of [B] and [T, B], D observation width, W action width, K slots, C slots of choices or
context features, F features of a read, X core input, H hidden, E episodes of a trial.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from optree.dataclasses import register_node
from torch import Tensor

from agent.learners.rl2.in_trial_memory.protocol import InTrialMemory
from agent.learners.rl2.normalisation import symlog

NUM_CONTEXT = 9
"""C, the number of context features (:meth:`PolicyState.context`).

- reward, terminated and truncated of the previous step, and whether there was a previous step;
- five features of the time.
"""


@register_node(namespace="")
@dataclass(frozen=True, kw_only=True)
class PolicyInput:
    """All inputs of one decision, except the hidden state.

    Attributes:
        observation: [*N, D] in the environment's units, or bytes with images (:mod:`envs.spaces`).
        previous_action: [*N, W] the previous action: its slots (int64) if it has choices only, its values if it has
            numbers only, else both (:func:`agent.learners.distributions.as_previous`).
        context: [*N, C] previous reward, previous ends, and the time.
        read: [*N, K, F] the read of the in-trial memory; None for a policy without memory.
        recalled: [*N, K, F] the read of the in-trial memory that begins with the steps of earlier trials; None if the
            trials begin empty.
        recall: [*N, Q] the features of what was reinstated (:mod:`agent.learners.rl2.reinstatement`); None if the
            trials begin empty.
        change: [*N, J] what the previous action changed in the observation, by slot; None where it is not computed
            (:meth:`agent.learners.rl2.pair.PairModule.changes`).
        allowed: [*N, C] bool, which choices may be taken; None if all may. It is not encoded: a policy does not see it
            except through the actions that it cannot take.
    """

    observation: Tensor
    previous_action: Tensor
    context: Tensor
    read: Tensor | None
    recalled: Tensor | None = None
    recall: Tensor | None = None
    change: Tensor | None = None
    allowed: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class PairConstants:
    """Derived constants of one space pair (joined weights and biases), computed once for many steps.

    They are invalid after any update of the parameters or scales.

    Attributes:
        weight: [X, ...] weights of all linear layers that contribute to x, side by side.
        bias: [X] sum of the biases of those layers.
        observation_mean: [G]; of width 0 where observations are indices.
        observation_rate: [G] one over the standard deviation of observations.
        reward_rate: [1] one over the root mean square of rewards.
    """

    weight: Tensor
    bias: Tensor
    observation_mean: Tensor
    observation_rate: Tensor
    reward_rate: Tensor


@dataclass(kw_only=True)
class PolicyState:
    """The state of B trials between two decisions: zero and empty at the start of a trial, carried over its episodes.

    Attributes:
        hidden: [B, H].
        memory: the in-trial memory.
        previous_observation: [B, D] in the environment's units.
        previous_action: [B, W] as in :class:`PolicyInput`.
        previous_reward: [B] in the environment's units.
        previous_terminated: [B] whether the previous step ended its episode in a terminal state.
        previous_truncated: [B] whether the previous step's episode was truncated.
        episode_step: [B] steps taken in the current episode.
        episode_index: [B] int64, number of finished episodes.
        episodes_per_trial: E.
        episodes_left: [E + 1, 3] context features of the remaining episodes, indexed by ``episode_index``: a quarter of
            the logarithm of their number, one over their number, and their share of all episodes.
        constants: derived constants of the space pair.
        num_steps: steps taken.
        recalled_memory: an in-trial memory that begins with the steps of earlier trials; None if trials begin empty.
        recall: [B, Q] the features of what was reinstated; None if trials begin empty.
        begins: [B] whether the next step is the first of its trial; None if all trials began together.
    """

    hidden: Tensor
    memory: InTrialMemory | None
    previous_observation: Tensor
    previous_action: Tensor
    previous_reward: Tensor
    previous_terminated: Tensor
    previous_truncated: Tensor
    episode_step: Tensor
    episode_index: Tensor
    episodes_per_trial: int
    episodes_left: Tensor
    constants: PairConstants
    num_steps: int = 0
    recalled_memory: InTrialMemory | None = None
    recall: Tensor | None = None
    begins: Tensor | None = None

    @property
    def memories(self) -> tuple[InTrialMemory, ...]:
        """The in-trial memories, to which every step is written."""
        return tuple(memory for memory in (self.memory, self.recalled_memory) if memory is not None)

    def keep(self, rows: Shaped[Tensor, " R"]) -> None:
        """Keep only these trials, in this order."""
        for name in (
            "hidden", "previous_observation", "previous_action", "previous_reward", "previous_terminated",
            "previous_truncated", "episode_step", "episode_index",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name).index_select(0, rows))
        if self.recall is not None:
            self.recall = self.recall.index_select(0, rows)
        for memory in self.memories:
            memory.keep(rows)

    def begin_again(self, begins: Bool[Tensor, " B"]) -> None:
        """Begin another trial, of another task, in some rows, while the trials of the other rows go on."""
        self.begins = begins
        self.hidden = self.hidden.masked_fill(begins.unsqueeze(1), 0.0)
        self.episode_step = self.episode_step.masked_fill(begins, 0.0)
        self.episode_index = self.episode_index.masked_fill(begins, 0)
        self.previous_observation = self.previous_observation.masked_fill(begins.unsqueeze(1), 0)
        self.previous_action = self.previous_action.masked_fill(begins.unsqueeze(1), 0)
        self.previous_reward = self.previous_reward.masked_fill(begins, 0.0)
        self.previous_terminated = self.previous_terminated & ~begins
        self.previous_truncated = self.previous_truncated & ~begins
        for memory in self.memories:
            memory.forget(begins.nonzero().squeeze(1))

    @property
    def is_within_episode(self) -> Tensor:
        """[B] whether the previous step belongs to the same episode."""
        if self.num_steps == 0:
            return torch.zeros_like(self.previous_terminated)
        is_within = ~(self.previous_terminated | self.previous_truncated)
        return is_within if self.begins is None else is_within & ~self.begins

    @property
    def has_previous(self) -> Float[Tensor, " B"]:
        """[B] 1 after the first step of a trial, else 0."""
        if self.begins is None:
            return torch.full_like(self.episode_step, float(self.num_steps > 0))
        return (~self.begins).to(self.episode_step.dtype)

    def context(self, reward: Float[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Return the context features of the next decision (:func:`context_features`).

        Args:
            reward: the previous reward in units of the pair's scale.
        """
        return context_features(
            previous_reward=reward,
            previous_terminated=self.previous_terminated.to(self.hidden.dtype),
            previous_truncated=self.previous_truncated.to(self.hidden.dtype),
            has_previous=self.has_previous,
            episode_step=self.episode_step,
            left=self.episodes_left.index_select(0, self.episode_index),
        )


def context_features(
    *,
    previous_reward: Float[Tensor, "*N"],
    previous_terminated: Float[Tensor, "*N"],
    previous_truncated: Float[Tensor, "*N"],
    has_previous: Float[Tensor, "*N"],
    episode_step: Float[Tensor, "*N"],
    left: Float[Tensor, "*N 3"],
) -> Float[Tensor, "*N C"]:
    """Return the context features of decisions.

    They are the previous reward (symlog), whether it ended an episode and how, whether there was a previous step, two
    features of the step within the episode, and the features of the remaining episodes.

    Args:
        previous_reward: the previous reward in units of the pair's scale.
        previous_terminated: 1 if the previous step ended its episode in a terminal state, else 0.
        previous_truncated: 1 if the previous step's episode was truncated, else 0.
        has_previous: 1 after the first step of the trial, else 0.
        episode_step: steps taken in the current episode.
        left: features of the remaining episodes (:func:`episodes_left`).
    """
    of_step = [
        symlog(previous_reward),
        previous_terminated,
        previous_truncated,
        has_previous,
        episode_step.log1p().mul_(0.25),
        (episode_step + 1.0).reciprocal_(),
    ]
    return torch.cat([torch.stack(of_step, dim=-1), left], dim=-1)


def episodes_left(episodes_per_trial: int, device: torch.device) -> Float[Tensor, "E1 3"]:
    """Return the features of the remaining episodes after 0 … E episodes; zero remaining episodes count as one."""
    left = (episodes_per_trial - torch.arange(episodes_per_trial + 1.0, device=device)).clamp_(min=1.0)
    return torch.stack([left.log() * 0.25, left.reciprocal(), left / episodes_per_trial], dim=-1)
