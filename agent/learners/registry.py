"""The few-shot learners by name: how a name in a settings file or an exported initialization becomes a learner.

:class:`LearnerTable` is how; the learners of policies have one of their own (``policy_gradient.registry``).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from agent.errors import AgentError

if TYPE_CHECKING:  # names are listed without torch
    import torch
    from torch import Tensor

    from agent.learners.protocol import FewShotLearner
    from envs.few_shot.tasks import FewShotShapes


class UnknownLearnerError(AgentError):
    """No learner of that name."""


@dataclass(frozen=True, kw_only=True)
class LearnerEntry:
    """Where a learner stands.

    Attributes:
        module: its module in this package.
        learner: its class.
        config: its settings' class.
    """

    module: str
    learner: str
    config: str

    def load(self) -> tuple[Any, Any]:
        """The learner's class and its settings' class."""
        module = importlib.import_module(f"agent.learners.{self.module}")
        return getattr(module, self.learner), getattr(module, self.config)


@dataclass(frozen=True, kw_only=True)
class LearnerTable:
    """Learners of one kind, by name.

    Attributes:
        kind: what they are, for errors.
        entries: where each stands.
    """

    kind: str
    entries: Mapping[str, LearnerEntry]

    def build(
        self, name: str, subject: Any, config: Any, *, generator: torch.Generator, device: torch.device | str
    ) -> Any:
        """A new learner.

        Args:
            name: a key of ``entries``.
            subject: what it is for: shapes, or spaces.
            config: an instance of its settings' class; None takes the defaults.
            generator: draws its initial parameters.
            device: where they live.

        Raises:
            UnknownLearnerError: there is none of that name.
        """
        learner, config_class = self._entry(name, "building learner").load()
        settings = config_class() if config is None else config
        return learner(subject, settings, generator=generator, device=device)

    def class_of(self, meta: Mapping[str, Any]) -> Any:
        """The class of the learner that a ``to_meta()`` told of.

        Raises:
            UnknownLearnerError: there is none of the name in ``meta``.
        """
        learner, _ = self._entry(str(meta.get("learner")), "restoring learner").load()
        return learner

    def _entry(self, name: str, operation: str) -> LearnerEntry:
        if name not in self.entries:
            raise UnknownLearnerError(
                operation=operation,
                subject=name,
                found=f"there is no {self.kind} of that name.",
                hint=f"Learners are: {', '.join(sorted(self.entries))}.",
            )
        return self.entries[name]


LEARNERS: dict[str, LearnerEntry] = {
    "maml": LearnerEntry(module="maml", learner="MAML", config="MAMLConfig"),
    "reptile": LearnerEntry(module="reptile", learner="Reptile", config="ReptileConfig"),
    "meta-sgd": LearnerEntry(module="meta_sgd", learner="MetaSGD", config="MetaSGDConfig"),
    "platipus": LearnerEntry(module="platipus", learner="Platipus", config="PlatipusConfig"),
    "matching": LearnerEntry(module="matching", learner="MatchingLearner", config="MatchingConfig"),
    "prototypical": LearnerEntry(module="prototypical", learner="PrototypicalLearner", config="PrototypicalConfig"),
    "versa": LearnerEntry(module="versa", learner="VersaLearner", config="VersaConfig"),
}
_TABLE = LearnerTable(kind="few-shot learner", entries=LEARNERS)

CLASSIFIERS = frozenset({"prototypical", "matching"})
"""Learners that learn no regression."""

ALIASES = {"protonet": "prototypical"}
"""Other names that people know a learner by."""


def canonical_name(name: str) -> str:
    """The name that a learner is registered by; a name that is none is returned as it is."""
    return ALIASES.get(name, name)


def build(
    name: str,
    shapes: FewShotShapes,
    config: Any = None,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> FewShotLearner:
    """A new learner.

    Args:
        name: a key of ``LEARNERS``.
        shapes: of the tasks it is for.
        config: an instance of its settings' class; None takes the defaults.
        generator: draws its initial parameters.
        device: where they live.

    Raises:
        UnknownLearnerError: there is none of that name.
    """
    return cast("FewShotLearner", _TABLE.build(name, shapes, config, generator=generator, device=device))


def restore(
    tensors: Mapping[str, Tensor], meta: Mapping[str, Any], *, device: torch.device | str = "cpu"
) -> FewShotLearner:
    """The learner that wrote these tensors: its whole state, or an initialization alone.

    Args:
        tensors: of ``to_tensors()`` or ``initialization()``.
        meta: of ``to_meta()``.
        device: where its parameters shall live.

    Raises:
        UnknownLearnerError: there is none of the name in ``meta``.
    """
    return cast("FewShotLearner", _TABLE.class_of(meta).from_tensors(tensors, meta, device=device))
