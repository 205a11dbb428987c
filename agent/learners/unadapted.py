"""Few-shot learners without adaptation: the baseline for measuring adaptation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agent.learners.factory import restore
from agent.learners.protocol import FewShotLearner

PRIOR_RATES = "parameters.prior_rates."
"""Prefix of the rates at which PLATIPUS moves its prior by one step on the support set, before any inner step."""


def without_adaptation(learner: FewShotLearner) -> FewShotLearner | None:
    """Return a learner whose ``adapt`` takes no step, so that it predicts with its initial parameters.

    Args:
        learner: the learner to copy; it is not changed.

    Returns:
        None for learners that cannot predict without a support set (they compare with it, or infer the head from it).
    """
    meta: dict[str, Any] = learner.to_meta()
    if "num_adapt_steps" not in meta["config"]:
        return None
    meta = {**meta, "config": {**meta["config"], "num_adapt_steps": 0}}
    return restore({name: _still(name, tensor) for name, tensor in learner.initialization().items()}, meta)


def _still(name: str, tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if name.startswith(PRIOR_RATES) else tensor
