"""Protocols for learning without a daemon: an assignment (learner, family, settings, seed) and its trainee."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from agent.errors import AgentError
from agent.experiments.scores import HeldOutScores, Measure
from envs.family import FamilySpec

TASKS_OF_A_SEED = 1 << 40
"""Number of training tasks that belong to one seed; the tasks of the next seed follow."""


class ExperimentCaseError(AgentError):
    """A learner that cannot learn the family, or settings that the learner does not have."""


def family_as_learned(spec: FamilySpec) -> dict[str, Any]:
    """Return the part of a family that determines the course of a run.

    That is all but the learner that a daemon would use, and what the worker may reach.
    """
    return {name: value for name, value in spec.to_json().items() if name not in {"learner", "network"}}


@runtime_checkable
class TrainableLearner(Protocol):
    """A learner in training on one family.

    A trainee restored from :meth:`to_tensors` and :meth:`to_meta` continues bit for bit as if it had not stopped.
    """

    @property
    def num_updates(self) -> int:
        """The number of outer steps taken."""
        ...

    def update(self) -> dict[str, float]:
        """Draw training tasks and take one outer step.

        Returns:
            Named metrics; the first is shown as progress.
        """
        ...

    def score(self, num_tasks: int, *, progress: Callable[[int], None]) -> HeldOutScores:
        """Adapt to each of the first held-out tasks, at least ``num_tasks``, without changing the learner.

        Args:
            num_tasks: N.
            progress: called with the number of tasks scored so far; it may raise to abandon the scoring.
        """
        ...

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the whole state."""
        ...

    def to_meta(self) -> dict[str, Any]:
        """Return the rest of the state as JSON values."""
        ...

    def export(self, provenance: Mapping[str, Any]) -> bytes:
        """Return the learned initialization as the content of a safetensors file for other programs.

        Args:
            provenance: JSON values on the origin of the initialization.
        """
        ...

    def close(self) -> None:
        """Release the resources of the family's tasks."""
        ...


@runtime_checkable
class ExperimentCase(Protocol):
    """An assignment: learner, family, settings and seed. With the budget they determine the course of a run."""

    @property
    def learner(self) -> str:
        """The learner's name."""
        ...

    @property
    def measure(self) -> Measure:
        """The measure by which the learner is scored."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return everything that determines the course of a run, as JSON values.

        A run can continue only with an assignment whose description is equal.
        """
        ...

    def config(self, planned_updates: int) -> Any:
        """Return the learner's settings for a run of ``planned_updates`` updates, a dataclass."""
        ...

    def begin(self, planned_updates: int) -> TrainableLearner:
        """Return a new trainee, whose rates fall over ``planned_updates`` updates."""
        ...

    def go_on(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], planned_updates: int) -> TrainableLearner:
        """Return the trainee restored from its tensors and meta values; its rates follow ``planned_updates``."""
        ...

    def processor_seconds(self) -> float:
        """Return the time of the clock that measures the budget, in processor seconds."""
        ...
