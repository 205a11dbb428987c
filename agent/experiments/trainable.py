"""What learns in the foreground, whatever its algorithm: an assignment is carried out by a trainee."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from agent.errors import AgentError
from agent.experiments.scores import HeldOutScores, Measure
from envs.family import FamilySpec

TASKS_OF_A_SEED = 1 << 40
"""Training tasks that one seed may draw before it meets those of the next."""


class ExperimentCaseError(AgentError):
    """A learner and a family that do not go together, or settings that the learner has not."""


def family_as_learned(spec: FamilySpec) -> dict[str, Any]:
    """What of a family decides how a run goes: all but the learner that a daemon would practise it with."""
    return {name: value for name, value in spec.to_json().items() if name != "learner"}


class TrainableLearner(Protocol):
    """A learner being trained on one family.

    Restored from :meth:`to_tensors` and :meth:`to_meta` it goes on bit for bit as if it had not stopped.
    """

    @property
    def num_updates(self) -> int:
        """Outer steps taken."""
        ...

    def update(self) -> dict[str, float]:
        """Draw training tasks and take one outer step.

        Returns:
            Named metrics; the first is the one that people watch.
        """
        ...

    def score(self, num_tasks: int, *, progress: Callable[[int], None]) -> HeldOutScores:
        """Adapt to each of the first held-out tasks, at least ``num_tasks``; the learner is left as it was.

        Args:
            num_tasks: N.
            progress: told how many tasks are scored; may raise, which abandons the scoring.
        """
        ...

    def to_tensors(self) -> dict[str, Tensor]:
        """The whole state."""
        ...

    def to_meta(self) -> dict[str, Any]:
        """What the tensors do not tell, as JSON values."""
        ...

    def export(self, provenance: Mapping[str, Any]) -> bytes:
        """What was learned, as the content of a safetensors file that others can load.

        Args:
            provenance: JSON values: how it was made.
        """
        ...

    def close(self) -> None:
        """Release what the family's tasks hold."""
        ...


class ExperimentCase(Protocol):
    """A learner, a family, settings and a seed: all that decides how a run goes, beside its budget."""

    @property
    def learner(self) -> str:
        """The learner's name."""
        ...

    @property
    def measure(self) -> Measure:
        """What it is scored by."""
        ...

    def describe(self) -> dict[str, Any]:
        """All that decides how a run goes, as JSON values: a run may only be gone on with by its equal."""
        ...

    def config(self, planned_updates: int) -> Any:
        """The learner's settings for a run of so many updates, a dataclass."""
        ...

    def begin(self, planned_updates: int) -> TrainableLearner:
        """A new trainee, whose rates fall over so many updates."""
        ...

    def go_on(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], planned_updates: int) -> TrainableLearner:
        """The trainee that wrote these; with another plan than it had, its rates go on by the new one."""
        ...

    def processor_seconds(self) -> float:
        """The clock its budget is measured by."""
        ...
