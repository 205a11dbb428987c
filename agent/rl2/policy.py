"""The RL² policy: one recurrent core for all families, and an encoder and a scorer for each pair of spaces.

x_t = encode(o_t, a_{t-1}, r_{t-1}, d_{t-1}, time, pooled read),  h_t = GRU(x_t, h_{t-1}),  z_t = LayerNorm(h_t)
score_t(k) = W_k z_t + w · relu(U relu(V m_t(k)) + C [z_t, x_t])        for every slot k with its read m_t(k)

The paper's agent (Duan et al. 2016, section 2.2) is the first line and the term W_k z_t. Departure: the second term is
one scorer shared over slots, so that what is learned about one action applies to all actions.

Shapes: T steps, B trials, ``*N`` either of [B] and [T, B], D observation width, W action width, K slots, F features of
a read, X core input, H hidden, P scorer, C context features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import cast

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from agent.rl2.config import RL2Config
from agent.rl2.distributions import MAX_LOG_STD, MIN_LOG_STD, ActionDistribution, num_slots, slots_of
from agent.rl2.gru import GRUCore
from agent.rl2.held_steps import HeldTrials
from agent.rl2.in_trial_memory import InTrialMemory, empty_memory, has_learned_keys, likeness_of, read_size
from agent.rl2.keys import KeyEmbedding, Keys
from agent.rl2.layers import linear, table
from agent.rl2.normalisation import Normaliser, symlog
from agent.rl2.scorer import pool_reads, score_slots
from agent.rl2.similarity_memory import read_trials
from agent.rl2.stretches import Stretches, lay_out
from envs.spaces import ActionKind, ObservationKind, SpacePair

NUM_CONTEXT = 9
"""C, the number of context features (:meth:`PolicyState.context`).

- reward, terminated and truncated of the previous step, and whether there was a previous step;
- five features of the time.
"""


MAX_OBSERVATION = 5.0
"""Bound of a normalised observation in the policy and its memory, in units of the running standard deviation."""

MAX_REWARD = 10.0
"""Bound of a reward in the policy and its memory, in units of the running scale. The critic uses unbounded rewards."""


@dataclass(frozen=True, kw_only=True)
class PolicyInput:
    """All inputs of one decision, except the hidden state.

    Attributes:
        observation: [*N, D] in the environment's units.
        previous_action: [*N, W] slots of the previous action (int64), or its values if continuous.
        context: [*N, C] previous reward, previous ends, and the time.
        read: [*N, K, F] the read of the in-trial memory; None for a policy without memory.
    """

    observation: Tensor
    previous_action: Tensor
    context: Tensor
    read: Tensor | None

    def select(self, trials: Tensor, num_steps: int) -> PolicyInput:
        """Return the first steps of some trials, from [T, B] inputs."""
        return self.each(lambda values: values[:num_steps].index_select(1, trials))

    def laid_out(self, trials: Tensor, stretches: Stretches) -> PolicyInput:
        """Return some trials of [T, B] inputs laid out in stretches, [N]."""
        return self.each(lambda values: lay_out(values, trials, stretches))

    def rows(self, rows: Tensor) -> PolicyInput:
        """Return some rows, from [B] inputs."""
        return self.each(lambda values: values.index_select(0, rows))

    def each(self, take: Callable[[Tensor], Tensor]) -> PolicyInput:
        """Return a copy with ``take`` applied to every tensor."""
        return PolicyInput(
            observation=take(self.observation),
            previous_action=take(self.previous_action),
            context=take(self.context),
            read=None if self.read is None else take(self.read),
        )


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


@dataclass(frozen=True, kw_only=True)
class PairConstants:
    """Derived constants of one space pair (joined weights and biases), computed once for many steps.

    They are invalid after any update of the parameters or scales.

    Attributes:
        weight: [X, ...] weights of all linear layers that contribute to x, side by side.
        bias: [X] sum of the biases of those layers.
        observation_mean: [D]; of width 0 where observations are indices.
        observation_rate: [D] one over the standard deviation of observations.
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
        previous_action: [B, W] slots, or values if continuous.
        previous_reward: [B] in the environment's units.
        previous_terminated: [B] whether the previous step ended its episode in a terminal state.
        previous_truncated: [B] whether the previous step's episode was truncated.
        episode_step: [B] steps taken in the current episode.
        episode_index: [B] int64, number of finished episodes.
        episodes_per_trial: E.
        episodes_left: [E + 1, 3] context features of the remaining episodes, indexed by ``episode_index``: a quarter of
            the logarithm of their number, one over their number, and their share of all episodes.
        constants: derived constants of the pair of spaces.
        num_steps: steps taken.
    """

    hidden: Tensor
    memory: InTrialMemory | None
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

    def keep(self, rows: Shaped[Tensor, " R"]) -> None:
        """Keep only these trials, in this order."""
        for name in (
            "hidden", "previous_action", "previous_reward", "previous_terminated", "previous_truncated",
            "episode_step", "episode_index",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name).index_select(0, rows))
        if self.memory is not None:
            self.memory.keep(rows)

    def context(self, reward: Float[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Return the context features of the next decision.

        They are the previous reward (symlog), whether it ended an episode and how, whether there was a previous step,
        two features of the step within the episode, and the features of the remaining episodes.

        Args:
            reward: the previous reward in units of the pair's scale.
        """
        of_step = [
            symlog(reward),
            self.previous_terminated.to(self.hidden.dtype),
            self.previous_truncated.to(self.hidden.dtype),
            torch.full_like(self.episode_step, float(self.num_steps > 0)),
            self.episode_step.log1p().mul_(0.25),
            (self.episode_step + 1.0).reciprocal_(),
        ]
        return torch.cat([torch.stack(of_step, dim=-1), self.episodes_left.index_select(0, self.episode_index)], dim=-1)


def _episodes_left(episodes_per_trial: int, device: torch.device) -> Float[Tensor, "E1 3"]:
    """Return the features of the remaining episodes after 0 … E episodes; zero remaining episodes count as one."""
    left = (episodes_per_trial - torch.arange(episodes_per_trial + 1.0, device=device)).clamp_(min=1.0)
    return torch.stack([left.log() * 0.25, left.reciprocal(), left / episodes_per_trial], dim=-1)


class PairModule(nn.Module):
    """The encoder and heads of one pair of spaces, and the running scales of its inputs.

    Args:
        config: the settings.
        spaces: the pair.
        generator: the source of the initial parameters.
    """

    def __init__(self, config: RL2Config, spaces: SpacePair, *, generator: torch.Generator) -> None:
        super().__init__()
        self.spaces = spaces
        slots, features = num_slots(spaces.action), read_size(spaces, config)
        self.has_reads = features > 0
        width, is_discrete = spaces.observation.width, spaces.observation.kind is ObservationKind.DISCRETE
        is_continuous = spaces.action.kind is ActionKind.CONTINUOUS
        encode_observation = table if is_discrete else linear
        encode_action = linear if is_continuous else table
        self.encode_observation = encode_observation(spaces.observation.size, config.input_size, generator=generator)
        self.encode_action = encode_action(slots, config.input_size, generator=generator)
        self.encode_context = linear(NUM_CONTEXT, config.input_size, generator=generator)
        self.head = linear(config.hidden_size, slots, generator=generator, gain=0.01)
        if self.has_reads:
            self.embed_read = linear(features, config.scorer_size, generator=generator)
            self.encode_pooled = linear(2 * config.scorer_size, config.input_size, generator=generator)
            score_read = linear(config.scorer_size, config.scorer_size, generator=generator)
            self.score_read = nn.Parameter(score_read.weight.detach())
            self.score_context = linear(config.hidden_size + config.input_size, config.scorer_size, generator=generator)
            score = linear(config.scorer_size, 1, generator=generator, gain=0.01)
            self.score = nn.Parameter(score.weight.detach().flatten())
        if is_continuous:
            self.log_std = nn.Parameter(torch.full((slots,), -0.5))
        self.observation_scale = Normaliser(0 if is_discrete else width)
        self.reward_scale = Normaliser(1)
        key_size = width if is_discrete else min(width, config.memory_key_size)
        projection = torch.eye(width) if key_size == width else torch.empty(width, key_size)
        if key_size != width:
            projection.normal_(std=width**-0.5, generator=generator)
        self.register_buffer("key_projection", projection)
        self.key_embedding: KeyEmbedding | None = None
        if has_learned_keys(spaces, config):
            self.key_embedding = KeyEmbedding(width, key_size, generator=generator)

    @property
    def keys(self) -> Keys:
        """The keys by which a memory for vectors matches observations."""
        return Keys(projection=cast("Tensor", self.key_projection), embedding=self.key_embedding)

    def constants(self) -> PairConstants:
        """Return the derived constants, with weights in the order in which :meth:`encode` joins its inputs."""
        layers = [self.encode_context]
        if self.spaces.observation.kind is ObservationKind.VECTOR:
            layers.append(cast("nn.Linear", self.encode_observation))
        if self.has_reads:
            layers.append(self.encode_pooled)
        # Biases are added one by one. Gradients of stacked biases would share memory, which gradient clipping scales in
        # place.
        biases: list[Tensor] = [layer.bias for layer in layers]
        return PairConstants(
            weight=torch.cat([layer.weight for layer in layers], dim=1),
            bias=reduce(torch.add, biases),
            observation_mean=self.observation_scale.mean,
            observation_rate=self.observation_scale.spread.reciprocal(),
            reward_rate=self.reward_scale.spread.reciprocal(),
        )

    def observe(
        self, observation: Float[Tensor, "*N D"], constants: PairConstants | None = None
    ) -> Float[Tensor, "*N D"]:
        """Return vectors in units of their running standard deviation, and indices unchanged."""
        if self.spaces.observation.kind is ObservationKind.DISCRETE:
            return observation
        constants = constants or self.constants()
        centred = observation - constants.observation_mean
        return centred.mul_(constants.observation_rate).clamp_(-MAX_OBSERVATION, MAX_OBSERVATION)

    def scale_reward(self, reward: Float[Tensor, "*N"], constants: PairConstants | None = None) -> Float[Tensor, "*N"]:
        """Return rewards in units of their running root mean square, bounded.

        The bound matters for the first reward that is not 0: the scale does not include it yet.
        """
        constants = constants or self.constants()
        return (reward * constants.reward_rate).clamp_(-MAX_REWARD, MAX_REWARD)

    def encode(self, inputs: PolicyInput, constants: PairConstants | None = None) -> Float[Tensor, "*N X"]:
        """Return x: one matrix product for all inputs of linear layers, and look-ups for the others."""
        constants = constants or self.constants()
        values = [inputs.context]
        if self.spaces.observation.kind is ObservationKind.VECTOR:
            values.append(self.observe(inputs.observation, constants))
        if inputs.read is not None:
            pooled = pool_reads(inputs.read.flatten(0, -3), self.embed_read.weight, self.embed_read.bias)
            values.append(pooled.view(*inputs.context.shape[:-1], -1))
        entered = torch.cat(values, dim=-1) if len(values) > 1 else inputs.context
        encoded = functional.linear(entered, constants.weight, constants.bias)
        if self.spaces.observation.kind is ObservationKind.DISCRETE and self.spaces.observation.size > 1:
            encoded = encoded + self.encode_observation(inputs.observation[..., 0].long())
        encoded = torch.addcmul(encoded, self._encode_action(inputs.previous_action), inputs.context[..., 3:4])
        return functional.relu(encoded)

    def decide(
        self,
        features: Float[Tensor, "*N Y"],
        normalised: Float[Tensor, "*N H"],
        read: Float[Tensor, "*N K F"] | None,
    ) -> ActionDistribution:
        """Return the distribution over actions, computed from [z, x], z and the read."""
        scores = self.head(normalised)
        if read is not None:
            context = self.score_context(features).flatten(0, -2)
            weights = self.embed_read.weight, self.embed_read.bias, self.score_read, self.score
            scores = scores + score_slots(read.flatten(0, -3), context, *weights).view_as(scores)
        if self.spaces.action.kind is not ActionKind.CONTINUOUS:
            return ActionDistribution(action=self.spaces.action, scores=scores)
        log_std = self.log_std.clamp(MIN_LOG_STD, MAX_LOG_STD)
        return ActionDistribution(action=self.spaces.action, scores=scores, log_std=log_std)

    def _encode_action(self, previous: Tensor) -> Tensor:
        if self.spaces.action.kind is ActionKind.CONTINUOUS:
            return cast("Tensor", self.encode_action(previous.clamp(-1.0, 1.0)))
        if self.spaces.action.kind is ActionKind.DISCRETE:
            return cast("Tensor", self.encode_action(previous[..., 0]))
        return cast("Tensor", self.encode_action(previous)).sum(-2)


class IncompatibleParametersError(ValueError):
    """An error: published parameters have other shapes than a policy of this learnd version or of these settings."""


class RL2Policy(nn.Module):
    """A recurrent policy that acts in every pair of spaces that was added to it.

    Args:
        config: the settings.
        generator: the source of the core's initial parameters.
    """

    def __init__(self, config: RL2Config, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.core = GRUCore(config.input_size, config.hidden_size, generator=generator)
        self.core_norm = nn.LayerNorm(config.hidden_size)
        self.pairs = nn.ModuleDict()

    def add_pair(self, spaces: SpacePair, *, generator: torch.Generator) -> None:
        """Add an encoder and heads for a pair of spaces, unless the policy has them."""
        if not self.knows(spaces):
            device = self.core.weight_hidden.device
            self.pairs[spaces.key] = PairModule(self.config, spaces, generator=generator).to(device)

    def knows(self, spaces: SpacePair) -> bool:
        """Return whether the policy can act in these spaces."""
        return spaces.key in self.pairs

    def pair(self, spaces: SpacePair) -> PairModule:
        """Return the encoder and heads of a pair of spaces.

        Raises:
            KeyError: the pair was never added.
        """
        return cast("PairModule", self.pairs[spaces.key])

    @torch.no_grad()
    def begin(
        self, spaces: SpacePair, *, num_trials: int, episodes_per_trial: int, device: torch.device
    ) -> PolicyState:
        """Create the state of trials that are about to begin: zero hidden state, empty in-trial memory.

        The state is valid while parameters and scales do not change.
        """
        is_continuous = spaces.action.kind is ActionKind.CONTINUOUS
        return PolicyState(
            hidden=torch.zeros(num_trials, self.config.hidden_size, device=device),
            memory=empty_memory(
                spaces,
                self.config,
                num_trials=num_trials,
                episodes_per_trial=episodes_per_trial,
                keys=self.pair(spaces).keys,
                device=device,
            ),
            previous_action=torch.zeros(
                num_trials, spaces.action.width, dtype=torch.float32 if is_continuous else torch.int64, device=device
            ),
            previous_reward=torch.zeros(num_trials, device=device),
            previous_terminated=torch.zeros(num_trials, dtype=torch.bool, device=device),
            previous_truncated=torch.zeros(num_trials, dtype=torch.bool, device=device),
            episode_step=torch.zeros(num_trials, device=device),
            episode_index=torch.zeros(num_trials, dtype=torch.int64, device=device),
            episodes_per_trial=episodes_per_trial,
            episodes_left=_episodes_left(episodes_per_trial, device),
            constants=self.pair(spaces).constants(),
        )

    def look(self, spaces: SpacePair, state: PolicyState, observation: Float[Tensor, "B D"]) -> PolicyInput:
        """Return the policy's inputs at an observation. The state is not changed."""
        pair = self.pair(spaces)
        return PolicyInput(
            observation=observation,
            previous_action=state.previous_action,
            context=state.context(pair.scale_reward(state.previous_reward, state.constants)),
            read=None if state.memory is None else state.memory.read(pair.observe(observation, state.constants)),
        )

    def read_again(self, spaces: SpacePair, held: HeldTrials, stretches: Stretches) -> Float[Tensor, "N K F"]:
        """Return the reads of whole trials with the current keys, with gradients to the learned part of the keys."""
        return read_trials(
            self.pair(spaces).keys.of(held.observation),
            held,
            stretches,
            num_steps=self.config.memory_size,
            likeness=likeness_of(self.config),
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
        encoded = pair.encode(inputs, constants)
        return self._output(pair, inputs, encoded, self.core.step(encoded, hidden))

    def unroll(self, spaces: SpacePair, inputs: PolicyInput) -> PolicyOutput:
        """Compute every decision of whole trials, [T, B]. The numbers equal those of T calls of ``step``."""
        pair = self.pair(spaces)
        encoded = pair.encode(inputs)
        initial = encoded.new_zeros(encoded.shape[1], self.config.hidden_size)
        return self._output(pair, inputs, encoded, self.core(encoded, initial))

    def unroll_stretches(self, spaces: SpacePair, inputs: PolicyInput, stretches: Stretches) -> PolicyOutput:
        """Compute every decision of trials that are laid out in stretches (:mod:`agent.rl2.stretches`): [N]."""
        pair = self.pair(spaces)
        encoded = pair.encode(inputs)
        hidden = encoded.new_zeros(stretches[0][1], self.config.hidden_size)
        if len(stretches) == 1:
            walked = self.core(encoded.view(*stretches[0], -1), hidden)
            return self._output(pair, inputs, encoded, walked.flatten(0, 1))
        parts: list[Tensor] = []
        by_stretch = torch.split(encoded, [num_steps * width for num_steps, width in stretches])
        for part, (num_steps, width) in zip(by_stretch, stretches, strict=True):
            walked = self.core(part.view(num_steps, width, -1), hidden[:width])
            parts.append(walked.flatten(0, 1))
            hidden = walked[-1]
        return self._output(pair, inputs, encoded, torch.cat(parts))

    def take(
        self,
        spaces: SpacePair,
        state: PolicyState,
        *,
        hidden: Float[Tensor, "B H"],
        observation: Float[Tensor, "B D"],
        action: Shaped[Tensor, "B ..."],
        reward: Float[Tensor, " B"],
        final_observation: Float[Tensor, "B D"],
        terminated: Bool[Tensor, " B"],
        active: Bool[Tensor, " B"],
    ) -> None:
        """Update the state with one step, as if no episode ended; :meth:`end_episodes` handles those that did."""
        pair = self.pair(spaces)
        is_continuous = spaces.action.kind is ActionKind.CONTINUOUS
        state.hidden = hidden
        state.previous_action = action if is_continuous else slots_of(spaces.action, action)
        state.previous_reward = reward
        state.previous_terminated = state.previous_truncated = torch.zeros_like(terminated)
        state.episode_step = state.episode_step + 1.0
        state.num_steps += 1
        if state.memory is not None:
            state.memory.write(
                observation=pair.observe(observation, state.constants),
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
        if state.memory is not None:
            state.memory.end_episodes(ended)
        state.previous_terminated, state.previous_truncated = terminated, truncated
        state.episode_step = state.episode_step.masked_fill(ended, 0.0)
        state.episode_index = state.episode_index + ended

    def _output(self, pair: PairModule, inputs: PolicyInput, encoded: Tensor, hidden: Tensor) -> PolicyOutput:
        normalised = self.core_norm(hidden)
        features = torch.cat([normalised, encoded], dim=-1)
        return PolicyOutput(
            distribution=pair.decide(features, normalised, inputs.read), hidden=hidden, features=features
        )


def policy_from_initialization(
    config: RL2Config,
    tensors: Mapping[str, Tensor],
    spaces: Sequence[SpacePair],
    *,
    device: torch.device | str = "cpu",
) -> RL2Policy:
    """Create a policy that acts with published parameters.

    Pairs of spaces that the parameters do not cover are left out; see :meth:`RL2Policy.knows`.

    Args:
        config: the settings with which the parameters were learned.
        tensors: the result of :meth:`agent.rl2.learner.RL2Learner.initialization`.
        spaces: the pairs in which the policy may have to act.
        device: device of the policy.

    Raises:
        IncompatibleParametersError: the parameters do not fit the settings.
    """
    generator = torch.Generator().manual_seed(0)
    policy = RL2Policy(config, generator=generator)
    for pair in spaces:
        if any(name.startswith(f"pairs.{pair.key}.") for name in tensors):
            policy.add_pair(pair, generator=generator)
    wanted = policy.state_dict()
    try:
        policy.load_state_dict({name: tensor for name, tensor in tensors.items() if name in wanted})
    except RuntimeError as error:
        raise IncompatibleParametersError(
            f"making a policy of published parameters: they do not fit; another version of learnd wrote them, or "
            f"settings under [rl2] changed since: {error}"
        ) from error
    return policy.to(device)
