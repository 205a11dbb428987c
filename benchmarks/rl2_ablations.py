"""Parts that ``rl2_bandits`` and ``rl2_mdps`` can leave out (``--without PART``), to measure their contribution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from torch import Tensor

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.normalisation import PopArtCritic
from agent.learners.rl2.pair import PairModule


def _change_nothing(learner: RL2Learner) -> None:
    """Change nothing, for parts that settings leave out."""


def _without_scorer(learner: RL2Learner) -> None:
    """Keep the reads' contribution to scores at 0. Pooled reads still reach the recurrent core."""
    for pair in learner.policy.pairs.values():
        score = cast("PairModule", pair).score
        score.requires_grad = False
        score.data.zero_()


def _without_popart(learner: RL2Learner) -> None:
    """Keep the scale of returns as the first batch set it; the scale of advantages continues to follow them."""
    for module in learner.critics.values():
        critic = cast("PopArtCritic", module)
        critic.follow = _following_advantages(critic)  # type: ignore[method-assign,assignment]


def _following_advantages(critic: PopArtCritic) -> Callable[[Tensor, Tensor], None]:
    follow = critic.follow

    def follow_once(returns: Tensor, advantages: Tensor) -> None:
        if not float(critic.num_updates):
            follow(returns, advantages)
        else:
            critic.advantage_square.copy_(advantages.square().mean())

    return follow_once


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """An ablation: one part left out.

    Attributes:
        settings: settings of RL2Config that leave the part out.
        change: a change to a learner, new or restored, that leaves the part out.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    change: Callable[[RL2Learner], None] = _change_nothing


ABLATIONS = {
    "reads": Ablation(settings={"reads": False}),
    "look-ahead": Ablation(settings={"look_ahead_discounts": ()}),
    "scorer": Ablation(change=_without_scorer),
    "popart": Ablation(change=_without_popart),
    "curriculum": Ablation(settings={"curriculum_episodes": 1_000_000}),
}
