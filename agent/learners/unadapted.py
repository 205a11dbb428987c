"""A few-shot learner as it is before it has seen a support set: what adaptation is measured against."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agent.learners.protocol import FewShotLearner
from agent.learners.registry import restore

PRIOR_RATES = "parameters.prior_rates."
"""PLATIPUS moves its prior by a step on the support set, at these rates, before any inner step."""


def without_adaptation(learner: FewShotLearner) -> FewShotLearner | None:
    """A learner whose ``adapt`` takes no step: it predicts by its initial parameters, whatever the support set.

    Args:
        learner: left as it is.

    Returns:
        None for the learners that have no answer without a support set (they compare with it, or read the head off it).
    """
    meta: dict[str, Any] = learner.to_meta()
    if "num_adapt_steps" not in meta["config"]:
        return None
    meta = {**meta, "config": {**meta["config"], "num_adapt_steps": 0}}
    return restore({name: _still(name, tensor) for name, tensor in learner.initialization().items()}, meta)


def _still(name: str, tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if name.startswith(PRIOR_RATES) else tensor
