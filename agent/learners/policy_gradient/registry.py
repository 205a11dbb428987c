"""The learners of policies by name: how a name in a settings file or an exported initialization becomes a learner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from agent.learners.registry import LearnerEntry, LearnerTable

if TYPE_CHECKING:  # names are listed without torch
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
    """A new learner.

    Args:
        name: a key of ``POLICY_LEARNERS``.
        spaces: of the families it is for.
        config: an instance of its settings' class; None takes the defaults.
        generator: draws its initial parameters.
        device: where they live.

    Raises:
        UnknownLearnerError: there is none of that name.
    """
    return cast("PolicyLearner", _TABLE.build(name, spaces, config, generator=generator, device=device))


def restore(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> PolicyLearner:
    """The learner that wrote these tensors: its whole state, or an initialization alone.

    Args:
        tensors: of ``to_tensors()`` or ``initialization()``.
        meta: of ``to_meta()``.

    Raises:
        UnknownLearnerError: there is none of the name in ``meta``.
    """
    return cast("PolicyLearner", _TABLE.class_of(meta).from_tensors(tensors, meta))
