"""The updates of a learner in the benchmark ``continual``: plain, or with rehearsal as in the service's slices."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rehearsal import rehearsal as rehearsal_module
from agent.learners.rl2.rehearsal.rehearsal import Rehearsal
from agent.learners.rl2.rehearsal.reservoir import Reservoir
from agent.learners.rl2.rehearsal.taking_over import take_over
from agent.learners.rl2.specialist import Phase, Specialists
from agent.learners.rl2.trials import TrialBatch, finished_returns, to_records
from agent.trainer.practice.training_plays import TAKEN_OVER_SHARE

KEPT_TRIALS = 8
"""Trials that are stored at the end of a piece: the service's default."""


class Updates(Protocol):
    """The updates of a learner in pieces of practice, with or without training on stored trials."""

    @property
    def specialists(self) -> Specialists | None:
        """The specialists of the families that are learned apart; None if none may be."""
        ...

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

    specialists = None

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
    """

    def __init__(self, learner: RL2Learner) -> None:
        self._learner = learner
        # A bound method, because a run's state is pickled.
        self._rehearsal = Rehearsal(learner, load=self._empty_reservoir)
        self.specialists = Specialists(learner)
        self._piece = self._rehearsal.nothing()
        self._phase = Phase.SHARED
        self._rehearsed_s = 0.0

    def begin(self, name: str) -> None:
        """Measure what is being lost, and choose the trials of the next piece."""
        self._phase = self.specialists.phase(name)
        match self._phase:
            case Phase.APART:
                self._piece = self._rehearsal.nothing()
            case Phase.TAKING_OVER:
                self._piece = self._rehearsal.begin_taking_over(name)
            case Phase.SHARED:
                self._piece = self._rehearsal.begin(name)

    def update(self, name: str, trials: TrialBatch, *, num_epochs: int) -> dict[str, float]:
        """Improve the policy on one family, and keep it on the others."""
        specialist = self.specialists.get(name)
        if specialist is not None and specialist.is_learning:
            metrics = specialist.learner.update(name, trials, num_epochs=num_epochs)
            specialist.note_returns(finished_returns(trials))
            return metrics
        if specialist is not None:
            return take_over(self._learner, specialist, trials, self._piece)
        began, self._rehearsed_s, num_steps = time.process_time(), 0.0, self._piece.num_steps
        metrics = self._learner.update(name, trials, num_epochs=num_epochs, after_minibatch=self._rehearse)
        used_s = time.process_time() - began
        if self.specialists.note_returns(name, finished_returns(trials)):
            self.specialists.begin(name)
        return {
            **metrics,
            "rehearsal_steps": float(self._piece.num_steps - num_steps),
            "rehearsal_share_of_update": self._rehearsed_s / max(used_s, 1e-9),
            "rehearsal_kl": sum(self._piece.losses.values()),
        }

    def keep(self, name: str, trials: TrialBatch) -> None:
        """Store some of a family's trials, as the service does at the end of a slice."""
        if self._phase is Phase.APART:
            return
        specialist = self.specialists.get(name) if self._phase is Phase.TAKING_OVER else None
        num_kept = KEPT_TRIALS * (TAKEN_OVER_SHARE if self._phase is Phase.TAKING_OVER else 1)
        rows = list(range(min(num_kept, trials.num_trials)))
        slots = self._rehearsal.next_slots(name, len(rows))
        self._rehearsal.end(self._piece)
        self._piece = self._rehearsal.nothing()
        self._rehearsal.add(
            name,
            to_records(trials, rows=rows, tasks=[{}] * len(rows), decisions=trials.decisions, slots=slots),
            teacher=None if specialist is None else specialist.teacher(),
        )
        if specialist is not None and specialist.is_taken_over:
            self.specialists.end(name)

    def num_stored(self, name: str) -> int:
        """Return the number of stored trials of a family."""
        return len(self._rehearsal.reservoir(name).trials)

    def _rehearse(self, num_env_steps: int) -> None:
        began = time.process_time()
        self._piece.after_minibatch(num_env_steps)
        self._rehearsed_s += time.process_time() - began

    def _empty_reservoir(self, name: str) -> Reservoir:
        return Reservoir(spaces=self._learner.spaces_of(name))


def set_constants(settings: Mapping[str, Any]) -> None:
    """Give constants of the module of rehearsal other values in this process.

    Raises:
        SystemExit: there is no such constant.
    """
    known = sorted(name for name in vars(rehearsal_module) if name.isupper())
    for name, value in settings.items():
        if name not in known:
            raise SystemExit(f"rehearsal has no constant {name}; there are: {', '.join(known)}")
        setattr(rehearsal_module, name, value)
