"""How the benchmark ``continual`` lets a learner rehearse. Only this module knows the interface of rehearsal."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol, cast

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.trials import TrialBatch

REHEARSAL_MODULE = "agent.learners.rl2.rehearsal"


class Updates(Protocol):
    """The updates of a learner in pieces of practice, with or without training on stored trials."""

    def begin(self, name: str) -> None:
        """Prepare for practice of a family until the piece ends."""
        ...

    def update(self, name: str, trials: TrialBatch, *, num_epochs: int) -> dict[str, float]:
        """Improve the policy on one family, and keep it on the others."""
        ...

    def keep(self, name: str, trials: TrialBatch) -> None:
        """Store some of a family's trials at the end of a piece."""
        ...


class PlainUpdates:
    """The updates of a learner that stores nothing.

    Args:
        learner: the learner.
    """

    def __init__(self, learner: RL2Learner) -> None:
        self._learner = learner

    def begin(self, name: str) -> None:
        """Prepare nothing."""

    def update(self, name: str, trials: TrialBatch, *, num_epochs: int) -> dict[str, float]:
        """Improve the policy on one family."""
        return self._learner.update(name, trials, num_epochs=num_epochs)

    def keep(self, name: str, trials: TrialBatch) -> None:
        """Store nothing."""


class _Rehearsal(Protocol):
    """What rehearsal offers to a learner's update."""

    def begin(self, name: str) -> object: ...

    def keep(self, name: str, trials: TrialBatch) -> object: ...


class _RehearsingLearner(Protocol):
    """A learner whose update can rehearse."""

    def update(self, name: str, trials: TrialBatch, *, num_epochs: int, rehearsal: _Rehearsal) -> dict[str, float]: ...


class RehearsedUpdates:
    """The updates of a learner that also trains on stored trials of families that it does not practise.

    Args:
        learner: the learner.
        settings: keyword arguments of rehearsal.

    Raises:
        SystemExit: this version of learnd has no rehearsal.
    """

    def __init__(self, learner: RL2Learner, settings: Mapping[str, Any]) -> None:
        try:
            module = importlib.import_module(REHEARSAL_MODULE)
        except ModuleNotFoundError as error:
            raise SystemExit(f"this version of learnd has no {REHEARSAL_MODULE}: leave the arm out") from error
        self._learner = cast("_RehearsingLearner", learner)
        self._rehearsal = cast("_Rehearsal", module.Rehearsal(learner, **settings))

    def begin(self, name: str) -> None:
        """Measure what is being lost, and choose the trials of the next piece."""
        self._rehearsal.begin(name)

    def update(self, name: str, trials: TrialBatch, *, num_epochs: int) -> dict[str, float]:
        """Improve the policy on one family, and keep it on the others."""
        return self._learner.update(name, trials, num_epochs=num_epochs, rehearsal=self._rehearsal)

    def keep(self, name: str, trials: TrialBatch) -> None:
        """Store some of a family's trials."""
        self._rehearsal.keep(name, trials)
