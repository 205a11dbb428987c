"""The registry of learners of policies by name, for settings files and exported initializations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from agent.learners.registry import LearnerEntry, LearnerTable

if TYPE_CHECKING:  # names can be listed without loading torch
    import torch
    from torch import Tensor

    from agent.learners.policy_gradient.protocol import PolicyLearner
    from envs.spaces import SpacePair

POLICY_LEARNERS: dict[str, LearnerEntry] = {
    "maml-policy": LearnerEntry(module="policy_gradient.maml", learner="MAMLPolicy", config="MAMLPolicyConfig"),
    "reptile-policy": LearnerEntry(
        module="policy_gradient.reptile", learner="ReptilePolicy", config="ReptilePolicyConfig"
    ),
    "meta-sgd-policy": LearnerEntry(
        module="policy_gradient.meta_sgd", learner="MetaSGDPolicy", config="MetaSGDPolicyConfig"
    ),
}
_TABLE = LearnerTable(kind="learner of policies", entries=POLICY_LEARNERS)


def build(
    name: str,
    spaces: SpacePair,
    config: Any = None,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> PolicyLearner:
    """Build a new learner.

    Args:
        name: a key of ``POLICY_LEARNERS``.
        spaces: spaces of the families it is for.
        config: an instance of its settings' class; None takes the defaults.
        generator: the source of its initial parameters.
        device: device of its parameters.

    Raises:
        UnknownLearnerError: no learner has that name.
    """
    return cast("PolicyLearner", _TABLE.build(name, spaces, config, generator=generator, device=device))


def restore(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> PolicyLearner:
    """Restore the learner that wrote these tensors, from its whole state or from an initialization alone.

    Args:
        tensors: the result of ``to_tensors()`` or ``initialization()``.
        meta: the result of ``to_meta()``.

    Raises:
        UnknownLearnerError: no learner has the name in ``meta``.
    """
    return cast("PolicyLearner", _TABLE.class_of(meta).from_tensors(tensors, meta))
