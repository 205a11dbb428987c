"""The RL² policy: a network for each space pair, and an encoder that all pairs with images share.

x_t = encode(o_t, a_{t-1}, r_{t-1}, d_{t-1}, time, pooled read),  h_t = GRU(x_t, h_{t-1}),  z_t = LayerNorm(h_t)
score_t(k) = W_k z_t + w · relu(U relu(V m_t(k)) + C [z_t, x_t])        for every slot k with its read m_t(k)

The paper's agent (Duan et al. 2016, section 2.2) is the first line and the term W_k z_t. Departure: the second term is
one scorer shared over slots, so that what is learned about one action applies to all actions.

Shapes: T steps, B trials, N steps of a minibatch's stretches, ``*N`` either of [B] and [T, B], D observation width, K
slots, C slots of choices, F features of a read, X core input, H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from agent.learners.distributions import ActionDistribution, as_previous
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.image_encoder import ImageEncoder
from agent.learners.rl2.in_trial_memory.protocol import empty_memory
from agent.learners.rl2.in_trial_memory.ring import HeldTrials
from agent.learners.rl2.in_trial_memory.similarity import read_trials
from agent.learners.rl2.packing import Stretches
from agent.learners.rl2.pair import PairModule
from agent.learners.rl2.policy_state import PairConstants, PolicyInput, PolicyState, episodes_left
from agent.learners.rl2.reinstatement import Reinstated
from envs.spaces import SpacePair


@dataclass(frozen=True, kw_only=True)
class PolicyOutput:
    """The outputs of the policy for its inputs.

    Attributes:
        distribution: the distribution over actions, [*N].
        hidden: [*N, H] the hidden state after each step.
        features: [*N, H + X] the inputs of a critic: z and x.
    """

    distribution: ActionDistribution
    hidden: Tensor
    features: Tensor


class RL2Policy(nn.Module):
    """A recurrent policy that acts in every space pair that was added to it.

    Args:
        config: the settings.
        device: the device of its parameters.
    """

    def __init__(self, config: RL2Config, *, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.config = config
        self.device = torch.device(device)
        self.pairs = nn.ModuleDict()
        self.images: ImageEncoder | None = None
        """The encoder of images, which all pairs with images share; None before the first of them."""

    def add_pair(self, spaces: SpacePair, *, generator: torch.Generator) -> None:
        """Add a network of new parameters for a space pair, unless the policy has one."""
        if not self.knows(spaces):
            if spaces.observation.images and self.images is None:
                self.images = ImageEncoder(generator=generator).to(self.device)
            self.pairs[spaces.key] = PairModule(self.config, spaces, generator=generator).to(self.device)

    def knows(self, spaces: SpacePair) -> bool:
        """Return whether the policy can act in these spaces."""
        return spaces.key in self.pairs

    def pair(self, spaces: SpacePair) -> PairModule:
        """Return the network of a space pair.

        Raises:
            KeyError: the pair was never added.
        """
        return cast("PairModule", self.pairs[spaces.key])

    def of_images(self) -> list[nn.Module]:
        """Return the encoder of images and the networks of the space pairs with images, which share it."""
        pairs = [pair for pair in self.pairs.values() if cast("PairModule", pair).spaces.observation.images]
        return pairs if self.images is None else [self.images, *pairs]

    @torch.no_grad()
    def begin(
        self,
        spaces: SpacePair,
        *,
        num_trials: int,
        episodes_per_trial: int,
        device: torch.device,
        constants: PairConstants | None = None,
        reinstated: Reinstated | None = None,
    ) -> PolicyState:
        """Create the state of trials that are about to begin: zero hidden state, empty in-trial memory.

        The state is valid while parameters and scales do not change.

        Args:
            spaces: the trials' space pair.
            num_trials: B.
            episodes_per_trial: E.
            device: device of the state.
            constants: the derived constants of the pair; None computes them.
            reinstated: what memory holds of the tasks; None begins empty. It is not changed.
        """
        pair = self.pair(spaces)
        action_type = torch.float32 if spaces.action.has_numbers else torch.int64
        hidden = torch.zeros(num_trials, self.config.hidden_size, device=device)
        return PolicyState(
            hidden=hidden if reinstated is None else pair.recall.hidden(reinstated.features, reinstated.hidden),
            memory=empty_memory(
                spaces,
                self.config,
                num_trials=num_trials,
                episodes_per_trial=episodes_per_trial,
                keys=pair.keys,
                device=device,
            ),
            previous_observation=torch.zeros(
                num_trials, spaces.observation.width, dtype=getattr(torch, spaces.observation.dtype), device=device
            ),
            previous_action=torch.zeros(num_trials, spaces.action.width, dtype=action_type, device=device),
            previous_reward=torch.zeros(num_trials, device=device),
            previous_terminated=torch.zeros(num_trials, dtype=torch.bool, device=device),
            previous_truncated=torch.zeros(num_trials, dtype=torch.bool, device=device),
            episode_step=torch.zeros(num_trials, device=device),
            episode_index=torch.zeros(num_trials, dtype=torch.int64, device=device),
            episodes_per_trial=episodes_per_trial,
            episodes_left=episodes_left(episodes_per_trial, device),
            constants=pair.constants() if constants is None else constants,
            recalled_memory=None if reinstated is None else reinstated.begin_memory(episodes_per_trial),
            recall=None if reinstated is None else reinstated.features,
        )

    def look(
        self,
        spaces: SpacePair,
        state: PolicyState,
        observation: Shaped[Tensor, "B D"],
        *,
        allowed: Bool[Tensor, "B C"] | None = None,
    ) -> PolicyInput:
        """Return the policy's inputs at an observation. The state is not changed.

        Args:
            spaces: the trials' space pair.
            state: the state of the trials.
            observation: the observation.
            allowed: which choices may be taken; None allows all.
        """
        pair = self.pair(spaces)
        reads = [memory.read(pair.remembered(observation, state.constants)) for memory in state.memories]
        return PolicyInput(
            observation=observation,
            previous_action=state.previous_action,
            change=pair.changes(
                observation,
                previous=state.previous_observation,
                action=state.previous_action,
                is_within_episode=state.is_within_episode,
                constants=state.constants,
            ),
            context=state.context(pair.scale_reward(state.previous_reward, state.constants)),
            read=reads[0] if reads else None,
            recalled=reads[1] if len(reads) > 1 else None,
            recall=state.recall,
            allowed=allowed,
        )

    def read_again(self, spaces: SpacePair, held: HeldTrials, stretches: Stretches) -> Float[Tensor, "N K F"]:
        """Return the reads of whole trials with the current keys, with gradients to the learned part of the keys."""
        return read_trials(
            self.pair(spaces).keys.of(held.observation),
            held,
            stretches,
            num_steps=self.config.memory_size,
        )

    def step(
        self,
        spaces: SpacePair,
        inputs: PolicyInput,
        hidden: Float[Tensor, "B H"],
        constants: PairConstants | None = None,
    ) -> PolicyOutput:
        """Compute one decision of every trial. The state is not changed; the caller stores the new hidden state."""
        pair = self.pair(spaces)
        inputs = _with_recall(pair, inputs)
        encoded = self._encode(pair, inputs, constants)
        return _output(pair, inputs, encoded, pair.core.step(encoded, hidden))

    def unroll(
        self, spaces: SpacePair, inputs: PolicyInput, *, left: Float[Tensor, "B H"] | None = None
    ) -> PolicyOutput:
        """Compute every decision of whole trials, [T, B]. The numbers equal those of T calls of ``step``.

        Args:
            spaces: the trials' space pair.
            inputs: the inputs of the decisions.
            left: the hidden states that earlier trials of the tasks left, or earlier segments of the trials; None if
                the trials began empty.
        """
        pair = self.pair(spaces)
        inputs = _with_recall(pair, inputs)
        encoded = self._encode(pair, inputs)
        hidden = _first_hidden(pair, encoded.shape[1], None if inputs.recall is None else inputs.recall[0], left)
        return _output(pair, inputs, encoded, pair.core(encoded, hidden))

    def unroll_stretches(
        self,
        spaces: SpacePair,
        inputs: PolicyInput,
        stretches: Stretches,
        *,
        left: Float[Tensor, "B H"] | None = None,
    ) -> PolicyOutput:
        """Compute every decision of trials that are laid out in stretches (:mod:`agent.learners.rl2.packing`): [N].

        Args:
            spaces: the trials' space pair.
            inputs: the inputs of the decisions.
            stretches: the layout.
            left: see :meth:`unroll`.
        """
        pair = self.pair(spaces)
        inputs = _with_recall(pair, inputs)
        encoded = self._encode(pair, inputs)
        num_trials = stretches[0][1]
        hidden = _first_hidden(pair, num_trials, None if inputs.recall is None else inputs.recall[:num_trials], left)
        if len(stretches) == 1:
            walked = pair.core(encoded.view(*stretches[0], -1), hidden)
            return _output(pair, inputs, encoded, walked.flatten(0, 1))
        parts: list[Tensor] = []
        by_stretch = torch.split(encoded, [num_steps * width for num_steps, width in stretches])
        for part, (num_steps, width) in zip(by_stretch, stretches, strict=True):
            walked = pair.core(part.view(num_steps, width, -1), hidden[:width])
            parts.append(walked.flatten(0, 1))
            hidden = walked[-1]
        return _output(pair, inputs, encoded, torch.cat(parts))

    def take(
        self,
        spaces: SpacePair,
        state: PolicyState,
        *,
        hidden: Float[Tensor, "B H"],
        observation: Shaped[Tensor, "B D"],
        action: Shaped[Tensor, "B ..."],
        reward: Float[Tensor, " B"],
        final_observation: Shaped[Tensor, "B D"],
        terminated: Bool[Tensor, " B"],
        active: Bool[Tensor, " B"],
    ) -> None:
        """Update the state with one step, as if no episode ended; :meth:`end_episodes` handles those that did."""
        pair = self.pair(spaces)
        state.hidden = hidden
        state.previous_observation = observation
        state.previous_action = as_previous(spaces.action, action)
        state.previous_reward = reward
        state.previous_terminated = state.previous_truncated = torch.zeros_like(terminated)
        state.episode_step = state.episode_step + 1.0
        state.num_steps += 1
        for memory in state.memories:
            memory.write(
                observation=pair.remembered(observation, state.constants),
                action=action,
                reward=pair.scale_reward(reward, state.constants),
                next_observation=final_observation,
                terminated=terminated,
                active=active,
            )

    @staticmethod
    def end_episodes(
        state: PolicyState, *, terminated: Bool[Tensor, " B"], truncated: Bool[Tensor, " B"], active: Bool[Tensor, " B"]
    ) -> None:
        """Start the next episode where one ended. Hidden state and in-trial memory are kept."""
        ended = (terminated | truncated) & active
        for memory in state.memories:
            memory.end_episodes(ended)
        state.previous_terminated, state.previous_truncated = terminated, truncated
        state.episode_step = state.episode_step.masked_fill(ended, 0.0)
        state.episode_index = state.episode_index + ended

    def _encode(
        self, pair: PairModule, inputs: PolicyInput, constants: PairConstants | None = None
    ) -> Float[Tensor, "*N X"]:
        recall = None if inputs.recall is None else pair.recall.encode(inputs.recall)
        images = self.images if pair.spaces.observation.images else None
        return pair.encode(inputs, constants, recall=recall, images=images)


def _first_hidden(
    pair: PairModule, num_trials: int, recall: Tensor | None, left: Tensor | None
) -> Float[Tensor, "B H"]:
    """Return h_0 of B trials: 0 if they began empty, and the stored hidden states of pieces of a segment."""
    if left is None:
        weight = pair.core.weight_hidden
        return weight.new_zeros(num_trials, weight.shape[1])
    return left if recall is None else pair.recall.hidden(recall, left)


def _with_recall(pair: PairModule, inputs: PolicyInput) -> PolicyInput:
    """Return the inputs with the read that the recall gate mixes; unchanged for trials that began empty."""
    if inputs.recall is None or inputs.read is None or inputs.recalled is None:
        return inputs
    return replace(inputs, read=pair.recall.read(inputs.recall, inputs.read, inputs.recalled))


def _output(pair: PairModule, inputs: PolicyInput, encoded: Tensor, hidden: Tensor) -> PolicyOutput:
    normalised = pair.core_norm(hidden)
    features = torch.cat([normalised, encoded], dim=-1)
    return PolicyOutput(
        distribution=pair.decide(features, normalised, inputs.read, inputs.allowed),
        hidden=hidden,
        features=features,
    )
