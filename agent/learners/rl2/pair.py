"""The network of one space pair: its recurrent core, encoder and heads.

The equations are those of :mod:`agent.learners.rl2.policy`: the module computes x_t from the inputs of a decision, and
the scores from z_t, x_t and the reads. The policy walks the core over the steps.

Shapes: ``*N`` one of [B], [T, B] and [N], D observation width, G width of an observation in the policy's units, V
values of an observation that are not pixels, K slots, C slots of choices, F features of a read, X core input, H hidden,
Y critic features (H + X).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import cast

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from agent.learners.distributions import (
    MAX_LOG_STD,
    MIN_LOG_STD,
    ActionDistribution,
    num_slots,
    taken_slots,
    with_forbidden,
)
from agent.learners.observation_bytes import numbers_of, summaries, summary_size
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.core import GRUCore
from agent.learners.rl2.image_encoder import NUM_FEATURES, ImageEncoder, entry
from agent.learners.rl2.in_trial_memory.keys import KEY_SIZE, KeyEmbedding, Keys
from agent.learners.rl2.in_trial_memory.protocol import has_learned_keys, has_table, read_size
from agent.learners.rl2.layers import linear, table
from agent.learners.rl2.normalisation import SMALL_REWARDS, Normaliser
from agent.learners.rl2.policy_state import NUM_CONTEXT, PairConstants, PolicyInput
from agent.learners.rl2.reinstatement import RecallGate
from agent.learners.rl2.scorer import pool_reads, score_slots
from envs.spaces import ActionKind, ObservationKind, ObservationSpec, SpacePair

MAX_OBSERVATION = 5.0
"""Bound of a normalised observation in the policy and its memory, in units of the running standard deviation."""

MAX_REWARD = 10.0
"""Bound of a reward in the policy and its memory, in units of the running scale. The critic uses unbounded rewards."""

MAX_CHANGES = 256
"""Largest number of changes by action; with more, the policy does not get them."""

CHANGE_SCALE = 4.0
"""Changes of one step are small in units of the running standard deviation; this brings them to about 1."""

ENCODE_CHANGE = "encode_change"
"""Name of the weights of changes by action; they begin at 0."""

EMBED_READ = "embed_read"
"""Name of the layer that takes in the reads of the in-trial memory."""

CORE = frozenset({"core", "core_norm", "recall"})
"""Names of the recurrent core, its normalisation and the gate of what is reinstated."""

SIZE_FREE = CORE | {"encode_context", EMBED_READ, "encode_pooled", "score_read", "score_context", "score"}
"""Names of the parts that depend on no number of actions, observations or inputs: they fit every size."""


def num_changes(spaces: SpacePair) -> int:
    """Return J, the number of changes of the observation by slot; 0 where they are not computed."""
    if spaces.observation.kind is not ObservationKind.VECTOR:
        return 0
    slots = num_slots(spaces.action) + (spaces.action.kind is ActionKind.CONTINUOUS)
    count = slots * spaces.observation.width
    return count if count <= MAX_CHANGES else 0


def observed_width(observation: ObservationSpec) -> int:
    """Return the number of values that :meth:`PairModule.observe` returns of an observation."""
    return summary_size(observation) if observation.kind is ObservationKind.IMAGE else observation.width


def _scaled(
    values: Float[Tensor, "*N G"], mean: Float[Tensor, " G"], rate: Float[Tensor, " G"]
) -> Float[Tensor, "*N G"]:
    return (values - mean).mul_(rate).clamp_(-MAX_OBSERVATION, MAX_OBSERVATION)


class PairModule(nn.Module):
    """The network of one space pair, and the running scales of its inputs.

    Args:
        config: the settings.
        spaces: the pair.
        generator: the source of the initial parameters.
    """

    def __init__(self, config: RL2Config, spaces: SpacePair, *, generator: torch.Generator) -> None:
        super().__init__()
        self.spaces = spaces
        self._is_matched_exactly = has_table(spaces, config)
        self.core = GRUCore(config.input_size, config.hidden_size, generator=generator)
        self.core_norm = nn.LayerNorm(config.hidden_size)
        self.recall = RecallGate(config)
        slots, features = num_slots(spaces.action), read_size(spaces, config)
        self.has_reads = features > 0
        is_discrete = spaces.observation.kind is ObservationKind.DISCRETE
        width = observed_width(spaces.observation)
        encode_observation = table if is_discrete else linear
        encode_action = linear if spaces.action.has_numbers else table
        num_inputs = spaces.observation.size + NUM_FEATURES * len(spaces.observation.images)
        self.encode_observation = encode_observation(num_inputs, config.input_size, generator=generator)
        self.enter_images = nn.ModuleList(entry(image, generator=generator) for image in spaces.observation.images)
        self.encode_action = encode_action(slots, config.input_size, generator=generator)
        self.num_changes = num_changes(spaces)
        self.encode_change = nn.Parameter(torch.zeros(config.input_size, self.num_changes))
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
            self._begin_as_residual(has_index=is_discrete and has_table(spaces, config))
        if spaces.action.has_numbers:
            self.log_std = nn.Parameter(torch.full((spaces.action.num_numbers,), -0.5))
        self.observation_scale = Normaliser(0 if is_discrete else width)
        self.reward_scale = Normaliser(1, small_below=SMALL_REWARDS)
        key_size = width if is_discrete else min(width, KEY_SIZE)
        projection = torch.eye(width) if key_size == width else torch.empty(width, key_size)
        if key_size != width:
            projection.normal_(std=width**-0.5, generator=generator)
        self.register_buffer("key_projection", projection)
        self.key_embedding: KeyEmbedding | None = None
        if has_learned_keys(spaces, config):
            self.key_embedding = KeyEmbedding(width, key_size, generator=generator)

    @torch.no_grad()
    def _begin_as_residual(self, *, has_index: bool) -> None:
        """Set to 0 what only adds to the parts that depend on no size, so that copies of these act alone at first.

        Vectors keep their input layer, because the policy sees observations only through it.
        """
        added = [self.encode_action, self.head, *([self.encode_observation] if has_index else [])]
        for parameter in nn.ModuleList(added).parameters():
            parameter.zero_()

    def core_parameters(self) -> Iterator[nn.Parameter]:
        """Return the parameters of the core, its normalisation and the gate of what is reinstated."""
        for name, parameter in self.named_parameters():
            if name.partition(".")[0] in CORE:
                yield parameter

    @torch.no_grad()
    def copy_size_free(self, source: PairModule) -> None:
        """Copy the parts that depend on no number of actions, observations or inputs."""
        for name, parameter in self.named_parameters():
            if name.partition(".")[0] in SIZE_FREE:
                parameter.copy_(source.get_parameter(name))

    @property
    def keys(self) -> Keys:
        """The keys by which a memory for vectors matches observations."""
        return Keys(projection=cast("Tensor", self.key_projection), embedding=self.key_embedding)

    def constants(self) -> PairConstants:
        """Return the derived constants, with weights in the order in which :meth:`encode` joins its inputs."""
        layers: list[nn.Linear] = [self.encode_context]
        if self.spaces.observation.kind is not ObservationKind.DISCRETE:
            layers.append(cast("nn.Linear", self.encode_observation))
        if self.has_reads:
            layers.append(self.encode_pooled)
        # Biases are added one by one. Gradients of stacked biases would share memory, which gradient clipping scales in
        # place.
        biases: list[Tensor] = [layer.bias for layer in layers]
        return PairConstants(
            weight=torch.cat([self.encode_change, *(layer.weight for layer in layers)], dim=1),
            bias=reduce(torch.add, biases),
            observation_mean=self.observation_scale.mean,
            observation_rate=self.observation_scale.spread.reciprocal(),
            reward_rate=self.reward_scale.spread.reciprocal(),
        )

    def observe(
        self, observation: Shaped[Tensor, "*N D"], constants: PairConstants | None = None
    ) -> Float[Tensor, "*N G"]:
        """Return vectors and summaries of images in units of their running standard deviation; indices unchanged."""
        if self.spaces.observation.kind is ObservationKind.DISCRETE:
            return observation
        constants = constants or self.constants()
        return _scaled(self._summary(observation), constants.observation_mean, constants.observation_rate)

    def remembered(
        self, observation: Shaped[Tensor, "*N D"], constants: PairConstants | None = None
    ) -> Shaped[Tensor, "*N _"]:
        """Return observations as the in-trial memory takes them: as they are where it matches exactly, else observed.

        Units would change from trial to trial, and equal observations with them.
        """
        return observation if self._is_matched_exactly else self.observe(observation, constants)

    def follow_observations(self, observation: Shaped[Tensor, "R D"]) -> None:
        """Update the running scales of observations with R rows; indices have none."""
        if self.spaces.observation.kind is not ObservationKind.DISCRETE:
            self.observation_scale.update(self._summary(observation))

    def _summary(self, observation: Shaped[Tensor, "*N D"]) -> Float[Tensor, "*N G"]:
        """Return vectors as they are, and the summaries of observations with images."""
        spec = self.spaces.observation
        return summaries(observation, spec) if spec.kind is ObservationKind.IMAGE else observation

    def _numbers(self, observation: Shaped[Tensor, "*N D"], constants: PairConstants) -> Float[Tensor, "*N V"]:
        """Return the values of an observation that are not pixels, scaled; a summary begins with them."""
        spec = self.spaces.observation
        if spec.kind is not ObservationKind.IMAGE:
            return self.observe(observation, constants)
        mean, rate = constants.observation_mean[: spec.size], constants.observation_rate[: spec.size]
        return _scaled(numbers_of(observation, spec), mean, rate)

    def changes(
        self,
        observation: Shaped[Tensor, "*N D"],
        *,
        previous: Shaped[Tensor, "*N D"],
        action: Tensor,
        is_within_episode: Tensor,
        constants: PairConstants | None = None,
    ) -> Float[Tensor, "*N J"] | None:
        """Return the change of the observation by the previous action: the outer product of its slots and the change.

        It is 0 at the first step of an episode.

        Args:
            observation: the observation, in the environment's units.
            previous: the one before.
            action: [*N, W] the action between them (:func:`agent.learners.distributions.as_previous`).
            is_within_episode: [*N] whether both belong to the same episode.
            constants: the derived constants of the pair; None computes them.
        """
        if not self.num_changes:
            return None
        rate = (constants or self.constants()).observation_rate
        change = ((observation - previous) * rate).mul_(CHANGE_SCALE).clamp_(-MAX_OBSERVATION, MAX_OBSERVATION)
        change = change * is_within_episode.unsqueeze(-1)
        taken = taken_slots(self.spaces.action, action)
        if self.spaces.action.kind is ActionKind.CONTINUOUS:
            taken = torch.cat([taken, torch.ones_like(taken[..., :1])], dim=-1)
        return (taken.unsqueeze(-1) * change.unsqueeze(-2)).flatten(-2)

    def scale_reward(self, reward: Float[Tensor, "*N"], constants: PairConstants | None = None) -> Float[Tensor, "*N"]:
        """Return rewards in units of their running root mean square, bounded.

        The bound matters for the first reward that is not 0: the scale does not include it yet.
        """
        constants = constants or self.constants()
        return (reward * constants.reward_rate).clamp_(-MAX_REWARD, MAX_REWARD)

    def encode(
        self,
        inputs: PolicyInput,
        constants: PairConstants | None = None,
        *,
        recall: Float[Tensor, "*N X"] | None = None,
        images: ImageEncoder | None = None,
    ) -> Float[Tensor, "*N X"]:
        """Return x: one matrix product for all inputs of linear layers, and look-ups for the others.

        Args:
            inputs: the inputs.
            constants: the derived constants; None computes them.
            recall: the term of what was reinstated; None for trials that began empty.
            images: the encoder of images; None for observations without any.
        """
        constants = constants or self.constants()
        values = [inputs.context] if inputs.change is None else [inputs.change, inputs.context]
        spec = self.spaces.observation
        if spec.kind is not ObservationKind.DISCRETE:
            values.append(self._numbers(inputs.observation, constants))
        if images is not None:
            values.append(images.encode(inputs.observation, spec, self.enter_images))
        if inputs.read is not None:
            pooled = pool_reads(inputs.read.flatten(0, -3), self.embed_read.weight, self.embed_read.bias)
            values.append(pooled.view(*inputs.context.shape[:-1], -1))
        entered = torch.cat(values, dim=-1) if len(values) > 1 else inputs.context
        encoded = functional.linear(entered, constants.weight, constants.bias)
        if spec.kind is ObservationKind.DISCRETE and spec.size > 1:
            encoded = encoded + self.encode_observation(inputs.observation[..., 0].long())
        encoded = torch.addcmul(encoded, self._encode_action(inputs.previous_action), inputs.context[..., 3:4])
        return functional.relu(encoded if recall is None else encoded + recall)

    def decide(
        self,
        features: Float[Tensor, "*N Y"],
        normalised: Float[Tensor, "*N H"],
        read: Float[Tensor, "*N K F"] | None,
        allowed: Bool[Tensor, "*N C"] | None = None,
    ) -> ActionDistribution:
        """Return the distribution over actions, computed from [z, x], z and the read.

        Choices that are not allowed have probability 0; None allows all.
        """
        scores = self.head(normalised)
        if read is not None:
            context = self.score_context(features).flatten(0, -2)
            weights = self.embed_read.weight, self.embed_read.bias, self.score_read, self.score
            scores = scores + score_slots(read.flatten(0, -3), context, *weights).view_as(scores)
        if allowed is not None:
            scores = with_forbidden(self.spaces.action, scores, allowed)
        if not self.spaces.action.has_numbers:
            return ActionDistribution(action=self.spaces.action, scores=scores)
        log_std = self.log_std.clamp(MIN_LOG_STD, MAX_LOG_STD)
        return ActionDistribution(action=self.spaces.action, scores=scores, log_std=log_std)

    def _encode_action(self, previous: Tensor) -> Tensor:
        if self.spaces.action.has_numbers:
            return cast("Tensor", self.encode_action(taken_slots(self.spaces.action, previous)))
        if self.spaces.action.kind is ActionKind.DISCRETE:
            return cast("Tensor", self.encode_action(previous[..., 0]))
        return cast("Tensor", self.encode_action(previous)).sum(-2)
