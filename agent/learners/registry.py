"""The registry of learners: one entry per learner says where its code is and what it can do.

Nothing here imports torch, so that settings and the command line can name learners without loading it.
``agent.learners.factory`` builds and restores learners by name.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from agent.errors import AgentError
from envs.kinds import FamilyKind


class UnknownLearnerError(AgentError):
    """An error: no learner has that name."""


@dataclass(frozen=True, kw_only=True)
class LearnerEntry:
    """A learner's place in the code and its capabilities. No attribute has a default: each learner states them all.

    Attributes:
        name: the name under which checkpoints and exports store it.
        aliases: other names by which it may be chosen; the first of them is the one that is shown.
        form_of: the name of the few-shot learner whose form for environments this is, and by which it is chosen there;
            None if it is chosen by its own name.
        learner: its class, as ``module:Class``.
        config: its settings' class, as ``module:Class``.
        does_classification: whether it learns few-shot classification.
        does_regression: whether it learns few-shot regression.
        acts: whether it learns families of environments.
        takes_any_ways: whether a trained classifier adapts to tasks of any number of classes.
        is_amortised: whether a network infers the task's head in one pass, so that a learner trained on one family can
            lend its head to another.
    """

    name: str
    aliases: tuple[str, ...]
    form_of: str | None
    learner: str
    config: str
    does_classification: bool
    does_regression: bool
    acts: bool
    takes_any_ways: bool
    is_amortised: bool

    @property
    def public_name(self) -> str:
        """The name by which people choose it."""
        return self.form_of or next(iter(self.aliases), self.name)

    @property
    def kind(self) -> FamilyKind:
        """The kind of the families that it learns."""
        return FamilyKind.FEW_SHOT if self.does_classification or self.does_regression else FamilyKind.ENVIRONMENTS

    def load(self) -> tuple[Any, Any]:
        """Import and return the learner's class and its settings' class."""
        return pkgutil.resolve_name(self.learner), self.load_config()

    def load_config(self) -> Any:
        """Import and return its settings' class alone."""
        return pkgutil.resolve_name(self.config)


RL2 = "rl2"
"""The name of RL², which practises families of environments in a service."""

_ENTRIES = (
    LearnerEntry(
        name=RL2,
        aliases=(),
        form_of=None,
        learner="agent.learners.rl2.learner:RL2Learner",
        config="agent.learners.rl2.config:RL2Config",
        does_classification=False,
        does_regression=False,
        acts=True,
        takes_any_ways=False,
        is_amortised=False,
    ),
    LearnerEntry(
        name="maml",
        aliases=(),
        form_of=None,
        learner="agent.learners.gradient.maml:MAML",
        config="agent.learners.gradient.maml:MAMLConfig",
        does_classification=True,
        does_regression=True,
        acts=False,
        takes_any_ways=False,
        is_amortised=False,
    ),
    LearnerEntry(
        name="reptile",
        aliases=(),
        form_of=None,
        learner="agent.learners.gradient.reptile:Reptile",
        config="agent.learners.gradient.reptile:ReptileConfig",
        does_classification=True,
        does_regression=True,
        acts=False,
        takes_any_ways=False,
        is_amortised=False,
    ),
    LearnerEntry(
        name="meta-sgd",
        aliases=(),
        form_of=None,
        learner="agent.learners.gradient.meta_sgd:MetaSGD",
        config="agent.learners.gradient.meta_sgd:MetaSGDConfig",
        does_classification=True,
        does_regression=True,
        acts=False,
        takes_any_ways=False,
        is_amortised=False,
    ),
    LearnerEntry(
        name="prototypical",
        aliases=("protonet",),
        form_of=None,
        learner="agent.learners.embedding.prototypical:PrototypicalLearner",
        config="agent.learners.embedding.prototypical:PrototypicalConfig",
        does_classification=True,
        does_regression=False,
        acts=False,
        takes_any_ways=True,
        is_amortised=False,
    ),
    LearnerEntry(
        name="matching",
        aliases=(),
        form_of=None,
        learner="agent.learners.embedding.matching:MatchingLearner",
        config="agent.learners.embedding.matching:MatchingConfig",
        does_classification=True,
        does_regression=False,
        acts=False,
        takes_any_ways=True,
        is_amortised=False,
    ),
    LearnerEntry(
        name="platipus",
        aliases=(),
        form_of=None,
        learner="agent.learners.gradient.platipus:Platipus",
        config="agent.learners.gradient.platipus:PlatipusConfig",
        does_classification=True,
        does_regression=True,
        acts=False,
        takes_any_ways=False,
        is_amortised=False,
    ),
    LearnerEntry(
        name="versa",
        aliases=(),
        form_of=None,
        learner="agent.learners.embedding.versa:VersaLearner",
        config="agent.learners.embedding.versa:VersaConfig",
        does_classification=True,
        does_regression=True,
        acts=False,
        takes_any_ways=True,
        is_amortised=True,
    ),
    LearnerEntry(
        name="maml-policy",
        aliases=(),
        form_of="maml",
        learner="agent.learners.policy_gradient.maml:MAMLPolicy",
        config="agent.learners.policy_gradient.maml:MAMLPolicyConfig",
        does_classification=False,
        does_regression=False,
        acts=True,
        takes_any_ways=False,
        is_amortised=False,
    ),
    LearnerEntry(
        name="reptile-policy",
        aliases=(),
        form_of="reptile",
        learner="agent.learners.policy_gradient.reptile:ReptilePolicy",
        config="agent.learners.policy_gradient.reptile:ReptilePolicyConfig",
        does_classification=False,
        does_regression=False,
        acts=True,
        takes_any_ways=False,
        is_amortised=False,
    ),
    LearnerEntry(
        name="meta-sgd-policy",
        aliases=(),
        form_of="meta-sgd",
        learner="agent.learners.policy_gradient.meta_sgd:MetaSGDPolicy",
        config="agent.learners.policy_gradient.meta_sgd:MetaSGDPolicyConfig",
        does_classification=False,
        does_regression=False,
        acts=True,
        takes_any_ways=False,
        is_amortised=False,
    ),
)

LEARNERS: dict[str, LearnerEntry] = {entry.name: entry for entry in _ENTRIES}
"""Every learner by the name that files store."""


def canonical_name(name: str) -> str:
    """Return the name under which a learner is registered; an unknown name is returned unchanged."""
    return next((entry.name for entry in _ENTRIES if name in entry.aliases), name)


def names_where(has: Callable[[LearnerEntry], bool]) -> tuple[str, ...]:
    """Return the names of the learners with a capability, as files store them."""
    return tuple(entry.name for entry in _ENTRIES if has(entry))


def public_names(entries: Iterable[LearnerEntry] = _ENTRIES) -> tuple[str, ...]:
    """Return the names by which people choose these learners, each once."""
    return tuple(dict.fromkeys(entry.public_name for entry in entries))


def few_shot_learners() -> tuple[LearnerEntry, ...]:
    """Return the learners of few-shot tasks."""
    return tuple(entry for entry in _ENTRIES if entry.kind is FamilyKind.FEW_SHOT)


def acting_learners() -> dict[str, LearnerEntry]:
    """Return the learners of families of environments, by the name with which they are chosen."""
    return {entry.public_name: entry for entry in _ENTRIES if entry.acts}


def entry_of(name: str, *, operation: str, among: Iterable[str] = LEARNERS) -> LearnerEntry:
    """Return the entry of a learner.

    Args:
        name: its name, as files store it.
        operation: what the entry is wanted for, for the error.
        among: the names of the learners that would do.

    Raises:
        UnknownLearnerError: none of them has that name.
    """
    allowed = sorted(among)
    if name not in allowed:
        raise UnknownLearnerError(
            operation=operation,
            subject=name,
            found="no such learner has that name.",
            hint=f"Learners are: {', '.join(allowed)}.",
        )
    return LEARNERS[name]
