"""Building and restoring learners by the names of ``agent.learners.registry``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from agent.learners.registry import RL2, LearnerEntry, entry_of, few_shot_learners, names_where

if TYPE_CHECKING:
    from agent.learners.policy_gradient.protocol import PolicyLearner
    from agent.learners.protocol import FewShotLearner
    from envs.few_shot.tasks import FewShotShapes
    from envs.spaces import SpacePair

FEW_SHOT_LEARNERS = tuple(entry.name for entry in few_shot_learners())
POLICY_LEARNERS = names_where(lambda entry: entry.acts and entry.name != RL2)
"""The learners that adapt a policy by policy gradient."""


def build(
    name: str,
    shapes: FewShotShapes,
    config: Any = None,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> FewShotLearner:
    """Build a few-shot learner.

    Args:
        name: one of ``FEW_SHOT_LEARNERS``.
        shapes: shapes of the tasks it is for.
        config: an instance of its settings' class; None takes the defaults.
        generator: the source of its initial parameters.
        device: device of its parameters.

    Raises:
        UnknownLearnerError: no few-shot learner has that name.
    """
    entry = entry_of(name, operation="building few-shot learner", among=FEW_SHOT_LEARNERS)
    return cast("FewShotLearner", _build(entry, shapes, config, generator=generator, device=device))


def restore(
    tensors: Mapping[str, Tensor], meta: Mapping[str, Any], *, device: torch.device | str = "cpu"
) -> FewShotLearner:
    """Restore the few-shot learner that wrote these tensors, from its whole state or from an initialization alone.

    Args:
        tensors: the result of ``to_tensors()`` or ``initialization()``.
        meta: the result of ``to_meta()``.
        device: device of its parameters.

    Raises:
        UnknownLearnerError: no few-shot learner has the name in ``meta``.
    """
    entry = entry_of(str(meta.get("learner")), operation="restoring few-shot learner", among=FEW_SHOT_LEARNERS)
    learner, _ = entry.load()
    return cast("FewShotLearner", learner.from_tensors(tensors, meta, device=device))


def build_policy_learner(
    name: str,
    spaces: SpacePair,
    config: Any = None,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> PolicyLearner:
    """Build a learner that adapts a policy.

    Args:
        name: one of ``POLICY_LEARNERS``.
        spaces: spaces of the families it is for.
        config: an instance of its settings' class; None takes the defaults.
        generator: the source of its initial parameters.
        device: device of its parameters.

    Raises:
        UnknownLearnerError: no learner of policies has that name.
    """
    entry = entry_of(name, operation="building learner of policies", among=POLICY_LEARNERS)
    return cast("PolicyLearner", _build(entry, spaces, config, generator=generator, device=device))


def restore_policy_learner(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> PolicyLearner:
    """Restore the learner of policies that wrote these tensors, from its whole state or an initialization alone.

    Args:
        tensors: the result of ``to_tensors()`` or ``initialization()``.
        meta: the result of ``to_meta()``.

    Raises:
        UnknownLearnerError: no learner of policies has the name in ``meta``.
    """
    entry = entry_of(str(meta.get("learner")), operation="restoring learner of policies", among=POLICY_LEARNERS)
    learner, _ = entry.load()
    return cast("PolicyLearner", learner.from_tensors(tensors, meta))


def _build(
    entry: LearnerEntry, subject: Any, config: Any, *, generator: torch.Generator, device: torch.device | str
) -> Any:
    learner, config_class = entry.load()
    settings = config_class() if config is None else config
    return learner(subject, settings, generator=generator, device=device)
