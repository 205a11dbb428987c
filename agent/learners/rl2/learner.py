"""The RL² learner: proximal policy optimisation (PPO) over whole trials (Schulman et al. 2017, arXiv:1707.06347).

Departure: the paper optimises by TRPO with a separate value network. Here PPO has one critic per family that reads the
policy's features, which reaches the same with less work. ``docs/algorithms/rl2.md`` lists every departure.

One policy learns all families. Families of equal spaces share a network, and all families with images share an encoder
of images. Each family has its own critic with its scale, its own scale of advantages, and its own progress of the
learning rate.

Shapes: T steps, B trials.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agent.learners.family_parts import starting_with
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.family_progress import FamilyProgress
from agent.learners.rl2.in_trial_memory.ring import HeldTrials, held_trials
from agent.learners.rl2.minibatch import Minibatch, MinibatchStep, Targets, draw_minibatches, select_minibatch
from agent.learners.rl2.normalisation import PopArtCritic
from agent.learners.rl2.optimizer import ScaledAdam, moments_by_parameter
from agent.learners.rl2.packing import stretches_of
from agent.learners.rl2.pair import PairModule
from agent.learners.rl2.parameters import in_present_form, new_reward_bounds, with_added_parameters
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.targets import update_targets
from agent.learners.rl2.trials import TrialBatch
from agent.learners.rl2.warm_start import WarmStart, add_spaces, possible_starts, with_spaces
from envs.spaces import SpacePair

CLIP = 0.2
"""ε, the largest distance of a probability ratio from 1 that PPO rewards: the value of the PPO paper (section 6.1)."""

VALUE_COEFFICIENT = 0.5
"""Weight of the critic's loss: the usual value for a critic that shares the policy's features. It was never varied."""

IMAGE_LEARNING_RATE_SCALE = 0.1
"""Learning rate of the layers that encode images, as a share of ``learning_rate``."""

SETTLED_UPDATES = 20
"""Updates of a family after which its policy may be sure of what it does. Before, it still explores, so that a further
family of the same spaces can be practised together with it."""

SCALE_RATE = 0.05
"""Update rate of the running scales of values and advantages: a mean over about 20 updates. It was never varied."""


class RL2Learner:
    """The RL² learner: policy, critics, scales, optimiser and random state, for all families that it learns.

    Args:
        config: the settings.
        device: device on which it learns.
        seed: seed of the initial parameters, the actions and the minibatches.
    """

    def __init__(self, config: RL2Config, *, device: torch.device | str, seed: int) -> None:
        self.config = config
        self.device = torch.device(device)
        self.seed = seed
        self.generator = torch.Generator(device=self.device).manual_seed(seed)
        """Source of the actions' noise and of the order of minibatches."""
        self._initial = torch.Generator().manual_seed(seed)
        self.policy = RL2Policy(config, device=self.device)
        self.critics = nn.ModuleDict()
        self._families: dict[str, FamilyProgress] = {}
        self._optimizer = ScaledAdam(learning_rate=config.learning_rate, device=self.device)
        self._core_groups: dict[str, int] = {}
        """The optimiser's group of the core of each space pair, by the pair's key."""
        self._num_families: Counter[str] = Counter()
        """Number of families of each space pair, by the pair's key."""

    @property
    def families(self) -> tuple[str, ...]:
        """Names of the families added."""
        return tuple(self._families)

    def num_updates(self, name: str) -> int:
        """Return the number of updates of a family."""
        return self._families[name].num_updates

    def practised_spaces(self) -> tuple[SpacePair, ...]:
        """Return the spaces of the families that were practised, the most practised family first."""
        practised = sorted(self._families.values(), key=lambda family: -family.num_updates)
        return tuple(dict.fromkeys(family.spaces for family in practised if family.num_updates > 0))

    def possible_starts(self, spaces: SpacePair) -> tuple[WarmStart, ...]:
        """Return the ways in which the policy can begin in these spaces."""
        return possible_starts(self.policy, spaces, self.practised_spaces())

    def is_settled(self, spaces: SpacePair) -> bool:
        """Return whether the policy may be sure of what it does in these spaces, after long practice of a family."""
        families = self._families.values()
        return any(family.spaces == spaces and family.num_updates >= SETTLED_UPDATES for family in families)

    def policy_with(self, spaces: SpacePair, start: WarmStart) -> RL2Policy:
        """Return the policy as it would be after :meth:`add_family` with this start; change nothing."""
        practised = self.practised_spaces()
        return with_spaces(self.policy, spaces, start=start, practised=practised, generator=self._initial)

    def spaces_of(self, name: str) -> SpacePair:
        """Return a family's spaces."""
        return self._families[name].spaces

    def sharing_families(self) -> set[str]:
        """Return the families that share parameters with another one: equal spaces, or images in both.

        Practice of the others changes what the policy does in these.
        """
        spaces = {name: family.spaces for name, family in self._families.items()}
        with_images = {name for name, own in spaces.items() if own.observation.images}
        sharing = {name for name, own in spaces.items() if self._num_families[own.key] > 1}
        return sharing | with_images if len(with_images) > 1 else sharing

    def start_of(self, name: str) -> WarmStart:
        """Return what the policy began with in a family's spaces."""
        return self._families[name].start

    def add_family(self, name: str, spaces: SpacePair, *, start: WarmStart = WarmStart.FRESH) -> None:
        """Prepare the learner for a family, unless this was already done.

        Args:
            name: unique among the families ever added, without a full stop.
            spaces: the family's spaces.
            start: what the policy begins with in the spaces: one of :meth:`possible_starts`.
        """
        if name in self._families:
            return
        if not self.policy.knows(spaces):
            self._add_spaces(spaces, start)
        critic = PopArtCritic(
            self.config.hidden_size + self.config.input_size,
            self.config.critic_size,
            rate=SCALE_RATE,
            generator=self._initial,
        ).to(self.device)
        self.critics[name] = critic
        self._optimizer.add(critic.parameters())
        self._families[name] = FamilyProgress(spaces, start)
        self._num_families[spaces.key] += 1
        self._set_core_scale(self._families[name])

    # Learning

    def num_episodes(self, name: str, episodes_per_trial: int) -> int:
        """Return E of a family's next training trials, at most ``episodes_per_trial``: the first trials are short."""
        family = self._families[name]
        return self.config.episodes_at(family.num_updates, episodes_per_trial, episode_steps=family.episode_steps)

    def longest_trial(self, name: str) -> float | None:
        """Return the steps of a family's longest trial in its last update; None before the first."""
        family = self._families[name]
        return family.longest_trial if family.num_updates else None

    def update(
        self,
        name: str,
        trials: TrialBatch,
        *,
        num_epochs: int | None = None,
        minibatch_step: MinibatchStep | None = None,
        after_minibatch: Callable[[int], None] | None = None,
    ) -> dict[str, float]:
        """Improve the policy on one family with one trial batch.

        Args:
            name: the family's name, as it was added.
            trials: training trials played by the current policy.
            num_epochs: passes over the trials; None takes the setting.
            minibatch_step: the function that takes optimiser steps; None takes the learner's own.
            after_minibatch: called after each minibatch with its number of steps; it may take optimiser steps of its
                own.

        Returns:
            policy, value, entropy, kl (an estimate of KL(old ‖ new)), clip_fraction, gradient_norm, explained_variance
            (of the returns by the critic, before the update).

        Raises:
            ValueError: the trials are held out.
        """
        family, critic = self._families[name], self._critic(name)
        targets, explained_variance = update_targets(critic, trials, self.config)
        rate = self.config.learning_rate_at(family.num_updates)
        self.set_learning_rate(rate * family.rate_share_for(trials))
        entropy = self.config.entropy_coefficient * self.config.anneal(family.num_updates)
        take_step = minibatch_step or self.minibatch_step
        # A replacement of the step, and an accelerator, get minibatches of one stretch, so that shapes stay the same.
        may_narrow = minibatch_step is None and self.device.type == "cpu"
        sums = torch.zeros(6, device=self.device)
        num_minibatches = 0
        for minibatch in self._minibatches(
            trials, targets, num_epochs=num_epochs or self.config.num_epochs, entropy=entropy, may_narrow=may_narrow
        ):
            sums += take_step(name, trials.spaces, minibatch)
            num_minibatches += 1
            if after_minibatch is not None:
                after_minibatch(sum(length * width for length, width in minibatch.stretches))
        self.follow_inputs(trials)
        names = ("policy", "value", "entropy", "kl", "clip_fraction", "gradient_norm")
        means = dict(zip(names, (sums / num_minibatches).tolist(), strict=True))
        family.add_update(trials, kl=means["kl"])
        self._set_core_scale(family)
        return {**means, "explained_variance": float(explained_variance)}

    def _minibatches(
        self, trials: TrialBatch, targets: Targets, *, num_epochs: int, entropy: float, may_narrow: bool
    ) -> Iterator[Minibatch]:
        """Yield the minibatches of all epochs, each drawn when it is asked for."""
        steps, held, lengths = trials.steps, self._held(trials), trials.lengths
        entropy_coefficient = torch.full((), entropy, device=self.device)
        for _epoch in range(num_epochs):
            for rows, num_steps in draw_minibatches(lengths, self.config, generator=self.generator):
                yield select_minibatch(
                    steps,
                    targets,
                    held,
                    rows=rows,
                    stretches=stretches_of(lengths[rows].tolist()) if may_narrow else ((num_steps, len(rows)),),
                    entropy_coefficient=entropy_coefficient,
                    left=trials.left,
                )

    def is_finite(self, names: Collection[str] | None = None) -> bool:
        """Return whether parameters and running scales are finite: all, or those that steps of some families change.

        Args:
            names: the families that were practised or rehearsed; None looks at all parameters.
        """
        modules = (self.policy, self.critics) if names is None else self._changed_by(names)
        state = [values.detach() for module in modules for values in module.state_dict().values()]
        return not state or bool(torch.stack([values.sum() for values in state]).isfinite().all())

    def _changed_by(self, names: Collection[str]) -> list[nn.Module]:
        """Return the networks that practice or rehearsal of some families may change."""
        spaces = {own.key: own for own in map(self.spaces_of, names)}
        of_images = self.policy.of_images() if any(own.observation.images for own in spaces.values()) else []
        others = [self.policy.pair(own) for own in spaces.values() if not own.observation.images]
        return [*(self.critics[name] for name in names), *others, *of_images]

    @torch.no_grad()
    def _held(self, trials: TrialBatch) -> HeldTrials | None:
        """Return the steps that the trials' in-trial memories held; None if the pair's keys are not learned."""
        pair = self.policy.pair(trials.spaces)
        if pair.key_embedding is None:
            return None
        return held_trials(
            trials.spaces.action,
            observation=pair.observe(trials.observation),
            chosen=trials.action,
            reward=pair.scale_reward(trials.reward),
            ended=trials.terminated | trials.truncated,
            num_steps=self.config.memory_size,
        )

    def minibatch_step(self, name: str, spaces: SpacePair, minibatch: Minibatch) -> Tensor:
        """Take one optimiser step and return the parts of the losses, in the order of ``names`` in :meth:`update`.

        The step fetches nothing from an accelerator, so that it can be captured.
        """
        steps, targets, held = minibatch.steps, minibatch.targets, minibatch.held
        inputs, is_valid = steps.inputs, steps.is_valid
        share = is_valid.to(torch.float32) / is_valid.sum()
        if held is not None:
            inputs = replace(inputs, read=self.policy.read_again(spaces, held, minibatch.stretches))
        output = self.policy.unroll_stretches(spaces, inputs, minibatch.stretches, left=minibatch.left)
        log_prob, entropy = output.distribution.log_prob_and_entropy(steps.action)
        log_ratio = (log_prob - targets.log_prob) * is_valid
        ratio = log_ratio.exp()
        advantage = targets.advantage
        clipped = ratio.clamp(1.0 - CLIP, 1.0 + CLIP)
        policy_loss = -(torch.minimum(ratio * advantage, clipped * advantage) * share).sum()
        error = self._critic(name)(output.features) - targets.normalised_return
        value_loss = 0.5 * (error * error * share).sum()
        mean_entropy = (entropy * share).sum()
        loss = policy_loss + VALUE_COEFFICIENT * value_loss - minibatch.entropy_coefficient * mean_entropy
        gradient_norm = self.descend(loss)
        with torch.no_grad():
            kl = ((ratio - 1.0 - log_ratio) * share).sum()
            clip_fraction = (((ratio - 1.0).abs() > CLIP) * share).sum()
            return torch.stack([policy_loss, value_loss, mean_entropy, kl, clip_fraction, gradient_norm])

    def descend(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Take one optimiser step down a loss and return the norm of its gradient before clipping."""
        return self._optimizer.descend(loss, max_norm=self.config.max_gradient_norm)

    def forget_gradients(self) -> None:
        """Release the gradients of the last step and their memory."""
        self._optimizer.forget_gradients()

    def set_learning_rate(self, rate: float) -> None:
        """Set Adam's rate of the next optimiser steps. An update sets it by itself."""
        self._optimizer.set_rate(rate)

    def follow_inputs(self, trials: TrialBatch) -> None:
        """Update the scales of the policy's inputs.

        Called after the update, because rollout and update must use equal scales.
        """
        pair = self.policy.pair(trials.spaces)
        pair.follow_observations(trials.observation[trials.is_valid])
        pair.reward_scale.update(trials.reward[trials.is_valid].unsqueeze(-1), is_centred=False)

    # State

    def initialization(self) -> dict[str, Tensor]:
        """Return the tensors that a policy needs to act: parameters and input scales, without critics and optimiser."""
        return {name: tensor.detach().clone() for name, tensor in self.policy.state_dict().items()}

    def load_initialization(self, tensors: Mapping[str, Tensor]) -> None:
        """Load published parameters for the space pairs they cover, and reset the optimiser's state."""
        own = self.policy.state_dict()
        found = in_present_form(self.policy, tensors)
        self.policy.load_state_dict({**own, **{name: tensor for name, tensor in found.items() if name in own}})
        for parameter in self.policy.parameters():
            self._optimizer.forget_moments(parameter)

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the whole state.

        With :meth:`to_meta` they restore a learner that continues as if it had never been interrupted.
        """
        tensors = {f"policy/{name}": tensor for name, tensor in self.policy.state_dict().items()}
        tensors |= {f"critics/{name}": tensor for name, tensor in self.critics.state_dict().items()}
        for name, parameter in self._named_parameters():
            for part, value in self._optimizer.moments(parameter).items():
                tensors[f"optimizer/{name}/{part}"] = value
        tensors["generator"] = self.generator.get_state()
        tensors["initial_generator"] = self._initial.get_state()
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}

    def to_meta(self) -> dict[str, Any]:
        """Return the part of the state that is not tensors, as JSON values."""
        return {
            "seed": self.seed,
            "families": [{"name": name, **family.to_json()} for name, family in self._families.items()],
        }

    @classmethod
    def from_tensors(
        cls, config: RL2Config, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], *, device: torch.device | str
    ) -> RL2Learner:
        """Restore the learner that :meth:`to_tensors` and :meth:`to_meta` saved.

        Raises:
            RuntimeError: the tensors do not fit the settings.
            KeyError: a tensor is missing.
        """
        learner = cls(config, device=device, seed=meta["seed"])
        for family in meta["families"]:
            progress = FamilyProgress.from_json(family)
            learner.add_family(family["name"], progress.spaces, start=progress.start)
            learner._families[family["name"]] = progress
            learner._set_core_scale(progress)
        learner.policy.load_state_dict(with_added_parameters(learner.policy, starting_with("policy/", tensors)))
        learner.critics.load_state_dict(new_reward_bounds(learner.critics) | starting_with("critics/", tensors))
        moments_of_policy = starting_with("optimizer/policy.", tensors)
        of_policy = in_present_form(learner.policy, moments_of_policy, keys=learner.policy.pairs)
        saved = {f"policy.{name}": moment for name, moment in of_policy.items()}
        saved |= {f"critics.{name}": moment for name, moment in starting_with("optimizer/critics.", tensors).items()}
        moments = moments_by_parameter(saved, device=learner.device)
        for name, parameter in learner._named_parameters():
            if name in moments:
                learner._optimizer.set_moments(parameter, moments[name])
        learner.generator.set_state(tensors["generator"].cpu())
        learner._initial.set_state(tensors["initial_generator"].cpu())
        return learner

    def _critic(self, name: str) -> PopArtCritic:
        return cast("PopArtCritic", self.critics[name])

    def _set_core_scale(self, family: FamilyProgress) -> None:
        """Set the core's share of the learning rate in the spaces of a family that was added, learned or restored."""
        is_alone = self._num_families[family.spaces.key] == 1
        scale = self.config.core_scale_at(family.num_updates) if is_alone else self.config.core_learning_rate_scale
        self._optimizer.set_scale(self._core_groups[family.spaces.key], scale)

    def _add_spaces(self, spaces: SpacePair, start: WarmStart) -> None:
        """Add new spaces to the policy, and their parameters to the optimiser."""
        had_images = self.policy.images is not None
        add_spaces(self.policy, spaces, start=start, practised=self.practised_spaces(), generator=self._initial)
        if self.policy.images is not None and not had_images:
            self._optimizer.add(self.policy.images.parameters(), scale=IMAGE_LEARNING_RATE_SCALE)
        self._add_pair_to_optimizer(self.policy.pair(spaces))

    def _add_pair_to_optimizer(self, pair: PairModule) -> None:
        of_core, of_images = list(pair.core_parameters()), list(pair.enter_images.parameters())
        apart = {id(parameter) for parameter in (*of_core, *of_images)}
        self._core_groups[pair.spaces.key] = self._optimizer.add(of_core)
        self._optimizer.add(parameter for parameter in pair.parameters() if id(parameter) not in apart)
        if of_images:
            self._optimizer.add(of_images, scale=IMAGE_LEARNING_RATE_SCALE)

    def _named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for prefix, module in (("policy", self.policy), ("critics", self.critics)):
            for name, parameter in module.named_parameters():
                yield f"{prefix}.{name}", parameter
