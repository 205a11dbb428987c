"""The settings of RL². This module does not import torch, so the daemon can check settings without loading it."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, fields
from typing import Any

FINAL_LEARNING_RATE_SCALE = 0.1
"""The learning rate after ``anneal_updates``, as a share of ``learning_rate``: a family that is always practised keeps
learning. No measurement used another share."""

CORE_ANNEAL_UPDATES = 60
"""Updates of a family over which its core's share of the learning rate falls. CartPole is learned sooner at the full
rate, but MDPs end at 160.7 with it after 120 updates, and at 161.7 if it falls (docs/lab/transfer.md)."""

_MAY_BE_ZERO = frozenset({"gae_lambda", "entropy_coefficient", "curriculum_start"})
_AT_MOST_ONE = frozenset({"discount", "gae_lambda", "curriculum_start", "look_ahead_discounts"})


def _upper_limit(name: str) -> str:
    return "at most 1" if name in _AT_MOST_ONE else "finite"


@dataclass(frozen=True, kw_only=True)
class RL2Config:
    """Settings of the RL² learner and its policy.

    Settings that are None are derived from the length of the family's trials. One configuration therefore serves all
    families.

    Attributes:
        hidden_size: H, width of the recurrent state.
        input_size: X, width of the recurrent core's input.
        scorer_size: P, width of the scorer that all actions share.
        critic_size: width of the critic's hidden layer.
        reads: whether the policy reads its in-trial memory; if False, the policy is the paper's agent.
        memory_size: number of a trial's most recent steps that a similarity memory (vector observations) holds.
        learned_keys: whether a similarity memory learns its keys, by gradients through every read.
        look_ahead_discounts: discounts at which an exact-match memory plans over the steps it holds; each adds features
            to the read.
        max_table_size: largest number of entries per trial of an exact-match memory; larger spaces use a similarity
            memory.
        num_trials_tensor: B for tensor-native families.
        num_trials_gymnasium: B for families that a worker steps.
        discount: γ; None derives max(.99, 1 - .2/T) from the trial's length T in steps.
        gae_lambda: λ of generalised advantage estimation; None derives it from the trial's length.
        segment_steps: steps of each row between two updates of a family whose trials are long
            (:mod:`agent.learners.rl2.segment`); None always plays whole trials.
        num_epochs: passes over each trial batch.
        num_epochs_gymnasium: passes over each trial batch of a family that a worker steps; more, because its steps cost
            more than passes.
        minibatch_steps: target number of steps in a minibatch; a minibatch consists of whole trials.
        min_minibatch_trials: least number of trials in a minibatch; steps of one trial carry less information than as
            many steps of several.
        max_minibatches: largest number of minibatches per epoch.
        learning_rate: α, Adam's rate at the start of a family's training.
        anneal_updates: updates of a family over which its rate and entropy bonus fall linearly.
        curriculum_episodes: least number of episodes in a family's first trials; the number grows to the family's own
            by a constant factor per update.
        curriculum_steps: least number of steps in a family's first trials.
        curriculum_start: share of ``anneal_updates`` after which trials begin to grow; they reach the family's own
            number at the end. With 1, trials take their own number once the rate has fallen completely.
        core_learning_rate_scale: learning rate of the recurrent core in the long run, as a share of ``learning_rate``
            (:meth:`core_scale_at`).
        entropy_coefficient: weight of the entropy bonus at the start of a family's training; it falls to 0.
        max_gradient_norm: norm to which a minibatch's gradient is clipped.
    """

    hidden_size: int = 64
    input_size: int = 64
    scorer_size: int = 32
    critic_size: int = 64
    reads: bool = True
    memory_size: int = 256
    learned_keys: bool = False
    look_ahead_discounts: tuple[float, ...] = (0.5, 0.8, 0.95)
    max_table_size: int = 1 << 16
    num_trials_tensor: int = 256
    num_trials_gymnasium: int = 32
    discount: float | None = None
    gae_lambda: float | None = None
    segment_steps: int | None = 128
    num_epochs: int = 2
    num_epochs_gymnasium: int = 4
    minibatch_steps: int = 1536
    min_minibatch_trials: int = 8
    max_minibatches: int = 16
    learning_rate: float = 5e-3
    anneal_updates: int = 1000
    curriculum_episodes: int = 10
    curriculum_steps: int = 30
    curriculum_start: float = 1.0
    core_learning_rate_scale: float = 0.5
    entropy_coefficient: float = 0.01
    max_gradient_norm: float = 0.5

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if value is None or isinstance(value, bool):
                continue
            for number in value if isinstance(value, tuple) else (value,):
                if not (number > 0 or (number == 0 and setting.name in _MAY_BE_ZERO)):
                    raise ValueError(f"{setting.name} must be more than 0, not {value}")
                if number > (1.0 if setting.name in _AT_MOST_ONE else sys.float_info.max):
                    raise ValueError(f"{setting.name} must be {_upper_limit(setting.name)}, not {value}")

    def num_trials_for(self, *, is_tensor_native: bool) -> int:
        """Return B, the number of parallel trials, for a tensor-native or a worker-stepped family."""
        return self.num_trials_tensor if is_tensor_native else self.num_trials_gymnasium

    def num_epochs_for(self, *, is_tensor_native: bool) -> int:
        """Return the number of passes over each trial batch, for a tensor-native or a worker-stepped family."""
        return self.num_epochs if is_tensor_native else self.num_epochs_gymnasium

    def discount_for(self, horizon_steps: float) -> float:
        """Return γ for trials of this horizon in steps (:func:`agent.learners.rl2.trials.horizon_steps`)."""
        return self.discount if self.discount is not None else max(0.99, 1.0 - 0.2 / max(horizon_steps, 1.0))

    def gae_lambda_for(self, trial_steps: float) -> float:
        """Return λ for trials of this mean length in steps: .9 at 10 steps, .95 from 20 steps on.

        Exploration pays off many steps later, and the critic predicts that benefit poorly. A low λ relies on the critic
        and therefore leads to too little exploration.
        """
        if self.gae_lambda is not None:
            return self.gae_lambda
        return min(0.95, 1.0 - 1.0 / max(trial_steps, 2.0))

    def episodes_at(self, num_updates: int, episodes_per_trial: int, *, episode_steps: float) -> int:
        """Return E, the number of episodes in a family's trials after ``num_updates``.

        Training starts with short trials: what they teach also holds for long trials, and they cost less.

        Args:
            num_updates: updates of the family so far.
            episodes_per_trial: the family's own number of episodes per trial.
            episode_steps: mean number of steps in the family's episodes.
        """
        wanted = max(self.curriculum_episodes, round(self.curriculum_steps / max(episode_steps, 1.0)))
        first = min(wanted, episodes_per_trial)
        elapsed = num_updates / self.anneal_updates - self.curriculum_start
        grown = min(1.0, max(0.0, elapsed / max(1.0 - self.curriculum_start, 1e-9)))
        return round(first * math.pow(episodes_per_trial / first, grown))

    def anneal(self, num_updates: int) -> float:
        """Return the remaining share of the entropy bonus after ``num_updates`` of a family: it falls from 1 to 0."""
        return max(0.0, 1.0 - num_updates / self.anneal_updates)

    def learning_rate_at(self, num_updates: int) -> float:
        """Return Adam's rate after ``num_updates`` of a family."""
        floor = FINAL_LEARNING_RATE_SCALE
        return self.learning_rate * (floor + (1.0 - floor) * self.anneal(num_updates))

    def core_scale_at(self, num_updates: int) -> float:
        """Return the share of the learning rate with which a core learns after ``num_updates`` of its only family.

        It falls linearly from 1.
        """
        left = max(0.0, 1.0 - num_updates / CORE_ANNEAL_UPDATES)
        return self.core_learning_rate_scale + (1.0 - self.core_learning_rate_scale) * left

    @classmethod
    def paper(cls, **overrides: Any) -> RL2Config:
        """Return the settings of the paper's agent (Duan et al. 2016): GRU of 256, no memory reads, γ .99, λ .3.

        Departure: this agent is optimised by PPO, not by TRPO. Trials have their own length from the start.
        """
        settings: dict[str, Any] = {
            "hidden_size": 256,
            "input_size": 256,
            "critic_size": 256,
            "reads": False,
            "discount": 0.99,
            "gae_lambda": 0.3,
            "learning_rate": 1e-3,
            "core_learning_rate_scale": 1.0,
            "max_gradient_norm": 1.0,
            "curriculum_episodes": 1_000_000,
        }
        return cls(**{**settings, **overrides})
