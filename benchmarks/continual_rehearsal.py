"""How the benchmark ``continual`` lets a learner rehearse. Only this module knows the interface of rehearsal."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import Any, Protocol, cast

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.trials import TrialBatch, to_records

REHEARSAL_PACKAGE = "agent.learners.rl2.rehearsal"
KEPT_TRIALS = 8
"""Trials that are stored at the end of a piece: the service's default."""


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


class RehearsedUpdates:
    """The updates of a learner that also trains on stored trials of families that it does not practise.

    Args:
        learner: the learner.

    Raises:
        SystemExit: this version of learnd has no rehearsal.
    """

    def __init__(self, learner: RL2Learner) -> None:
        module = rehearsal_module()
        self._learner = learner
        self._rehearsal = module.Rehearsal(learner, load=partial(_empty_reservoir, learner))
        self._piece: Any = None
        self._rehearsed_s = 0.0

    def begin(self, name: str) -> None:
        """Measure what is being lost, and choose the trials of the next piece."""
        self._piece = self._rehearsal.begin(name)

    def update(self, name: str, trials: TrialBatch, *, num_epochs: int) -> dict[str, float]:
        """Improve the policy on one family, and keep it on the others."""
        began, self._rehearsed_s = time.process_time(), 0.0
        num_steps = self._piece.num_steps
        update = cast("Any", self._learner.update)
        metrics = update(name, trials, num_epochs=num_epochs, after_minibatch=self._rehearse)
        used_s = time.process_time() - began
        own = {
            "rehearsal_steps": float(self._piece.num_steps - num_steps),
            "rehearsal_share_of_update": self._rehearsed_s / max(used_s, 1e-9),
            "rehearsal_kl": sum(self._piece.losses.values()),
        }
        return {**metrics, **own}

    def keep(self, name: str, trials: TrialBatch) -> None:
        """Store some of a family's trials, as the service does at the end of a slice."""
        rows = list(range(min(KEPT_TRIALS, trials.num_trials)))
        slots = self._rehearsal.next_slots(name, len(rows))
        records = cast("Any", to_records)(
            trials, rows=rows, tasks=[{} for _ in rows], decisions=cast("Any", trials).decisions, slots=slots
        )
        self._rehearsal.end(self._piece)
        self._piece = None
        self._rehearsal.add(name, records)

    def _rehearse(self) -> None:
        began = time.process_time()
        self._piece.after_minibatch()
        self._rehearsed_s += time.process_time() - began


def rehearsal_module() -> ModuleType:
    """Return the module of rehearsal.

    Raises:
        SystemExit: this version of learnd has none.
    """
    try:
        return importlib.import_module(f"{REHEARSAL_PACKAGE}.rehearsal")
    except ModuleNotFoundError as error:
        raise SystemExit(f"this version of learnd has no {REHEARSAL_PACKAGE}: leave the arm out") from error


def set_constants(settings: Mapping[str, Any]) -> None:
    """Give constants of the module of rehearsal other values in this process.

    Raises:
        SystemExit: there is no such constant.
    """
    for name, value in settings.items():
        module = rehearsal_module()
        if not name.isupper() or not hasattr(module, name):
            known = ", ".join(sorted(constant for constant in vars(module) if constant.isupper()))
            raise SystemExit(f"rehearsal has no constant {name}; there are: {known}")
        setattr(module, name, value)


def _empty_reservoir(learner: RL2Learner, name: str) -> Any:
    reservoir = importlib.import_module(f"{REHEARSAL_PACKAGE}.reservoir")
    return reservoir.Reservoir(spaces=cast("Any", learner).spaces_of(name))
