"""The registry of few-shot learners by name, for settings files and exported initializations.

:class:`LearnerTable` builds and restores learners by name. Learners that adapt policies have their own table
(``policy_gradient.registry``).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from agent.errors import AgentError

if TYPE_CHECKING:  # names can be listed without loading torch
    import torch
    from torch import Tensor

    from agent.learners.protocol import FewShotLearner
    from envs.few_shot.tasks import FewShotShapes


class UnknownLearnerError(AgentError):
    """An error: no learner has that name."""


@dataclass(frozen=True, kw_only=True)
class LearnerEntry:
    """The location of a learner's code.

    Attributes:
        module: its module in this package.
        learner: the name of its class.
        config: the name of its settings' class.
    """

    module: str
    learner: str
    config: str

    def load(self) -> tuple[Any, Any]:
        """Import and return the learner's class and its settings' class."""
        module = importlib.import_module(f"agent.learners.{self.module}")
        return getattr(module, self.learner), getattr(module, self.config)


@dataclass(frozen=True, kw_only=True)
class LearnerTable:
    """A table of learners of one kind, by name.

    Attributes:
        kind: the kind of learner, for error messages.
        entries: the location of each learner.
    """

    kind: str
    entries: Mapping[str, LearnerEntry]

    def build(
        self, name: str, subject: Any, config: Any, *, generator: torch.Generator, device: torch.device | str
    ) -> Any:
        """Build a new learner.

        Args:
            name: a key of ``entries``.
            subject: the shapes, or spaces, that the learner is for.
            config: an instance of its settings' class; None takes the defaults.
            generator: the source of its initial parameters.
            device: device of its parameters.

        Raises:
            UnknownLearnerError: no learner has that name.
        """
        learner, config_class = self._entry(name, "building learner").load()
        settings = config_class() if config is None else config
        return learner(subject, settings, generator=generator, device=device)

    def class_of(self, meta: Mapping[str, Any]) -> Any:
        """Return the class of the learner that wrote ``meta`` by ``to_meta()``.

        Raises:
            UnknownLearnerError: no learner has the name in ``meta``.
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
"""Learners without regression."""

ALIASES = {"protonet": "prototypical"}
"""Alternative names of learners."""


def canonical_name(name: str) -> str:
    """Return the name under which a learner is registered; an unknown name is returned unchanged."""
    return ALIASES.get(name, name)


def build(
    name: str,
    shapes: FewShotShapes,
    config: Any = None,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> FewShotLearner:
    """Build a new learner.

    Args:
        name: a key of ``LEARNERS``.
        shapes: shapes of the tasks it is for.
        config: an instance of its settings' class; None takes the defaults.
        generator: the source of its initial parameters.
        device: device of its parameters.

    Raises:
        UnknownLearnerError: no learner has that name.
    """
    return cast("FewShotLearner", _TABLE.build(name, shapes, config, generator=generator, device=device))


def restore(
    tensors: Mapping[str, Tensor], meta: Mapping[str, Any], *, device: torch.device | str = "cpu"
) -> FewShotLearner:
    """Restore the learner that wrote these tensors, from its whole state or from an initialization alone.

    Args:
        tensors: the result of ``to_tensors()`` or ``initialization()``.
        meta: the result of ``to_meta()``.
        device: device of its parameters.

    Raises:
        UnknownLearnerError: no learner has the name in ``meta``.
    """
    return cast("FewShotLearner", _TABLE.class_of(meta).from_tensors(tensors, meta, device=device))
