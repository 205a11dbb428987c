"""One run: a trainee learns until its budget is spent, is scored along the way, and can continue after a stop.

Falling rates need the number of planned updates. For a budget in seconds it is estimated from a few updates of a
temporary trainee, and estimated again along the way, because later updates may take longer or shorter: trials grow and
shrink (:mod:`agent.experiments.replanning`). A run ends when the seconds are spent, or with the last update of a budget
in updates. Only drawing tasks and learning from them counts, not measuring, scoring or writing.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from agent.errors import AgentError
from agent.experiments.budget import Budget
from agent.experiments.costs import peak_bytes
from agent.experiments.plan_defaults import FINAL_TASKS, TASKS_ALONG
from agent.experiments.replanning import LastEstimate, is_estimate_due, is_notable, planned_again
from agent.experiments.scores import Estimate, HeldOutScores
from agent.experiments.state_file import StateFileError, mark_of, read_state, write_state
from agent.experiments.trainable import ExperimentCase, ExperimentCaseError, TrainableLearner
from agent.learners.registry import RL2
from agent.learners.rl2.removed_settings import without_constants
from agent.output.typed_json import dataclass_from_json, dataclass_to_json

SAVE_EVERY_S = 60.0
FEWEST_TIMED_UPDATES = 3
MOST_TIMED_UPDATES = 100
SLOW_SHARE = 0.05
"""Share of the budget from which the first update alone tells how long one takes: measuring counts as no budget."""

TIMED_S = 0.5
"""Minimum processor time for measuring an update, unless ``MOST_TIMED_UPDATES`` is reached first."""


class TrainingDivergedError(AgentError):
    """The loss, or another metric, of an update is not a finite number."""


class StoppedError(Exception):
    """The run was stopped while it was scored."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Scores at one moment of a run.

    Attributes:
        updates: outer steps taken.
        cpu_s: processor seconds spent on them.
        adapted: score after adaptation.
        unadapted: score before adaptation; None if the learner has no answer before it.
        beside: other measures, by name.
    """

    updates: int
    cpu_s: float
    adapted: Estimate
    unadapted: Estimate | None = None
    beside: dict[str, Estimate] = field(default_factory=dict)

    @classmethod
    def of(cls, scores: HeldOutScores, *, updates: int, cpu_s: float) -> Point:
        """Return the point for these scores."""
        return cls(
            updates=updates,
            cpu_s=cpu_s,
            adapted=Estimate.of(scores.adapted),
            unadapted=None if scores.unadapted is None else Estimate.of(scores.unadapted),
            beside={name: Estimate.of(values) for name, values in scores.beside.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a run: everything that the assignment does not determine.

    Attributes:
        budget: the budget, which determines the end of the run.
        num_points: the budget is divided into this many equal parts, with a score at the start of each; the score at
            the end comes in addition.
        tasks_along: number of held-out tasks for the scores along the way.
        tasks_at_end: number of held-out tasks for the score at the end.
        state: the file for the run's state; None to write none.
    """

    budget: Budget
    num_points: int = 0
    tasks_along: int = TASKS_ALONG
    tasks_at_end: int = FINAL_TASKS
    state: Path | None = None


@dataclass(kw_only=True)
class UsageTotals:
    """The cost and the scores of a run so far.

    Attributes:
        budget: the budget for which the run was planned.
        planned_updates: outer steps at the end of the run.
        step_bytes: the largest number of bytes of tensors that an outer step held at once.
        cpu_s: processor seconds of drawing tasks and learning from them.
        points: scores along the way.
        last: the score at the end; None until it is reached.
        estimate: the progress at the last estimate of ``planned_updates``.
    """

    budget: Budget
    planned_updates: int
    step_bytes: int
    cpu_s: float = 0.0
    points: list[Point] = field(default_factory=list)
    last: Point | None = None
    estimate: LastEstimate = field(default_factory=LastEstimate)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a run.

    Attributes:
        doing: the present activity in a few words.
        fraction: share of the budget that is spent.
        updates: outer steps taken.
        cpu_s: processor seconds spent.
        watched: name and value of the first metric of the last outer step; None before the first step.
    """

    doing: str
    fraction: float
    updates: int
    cpu_s: float
    watched: tuple[str, float] | None = None


Report = Callable[[Progress], None]


class LearningRun:
    """A run in progress.

    Args:
        assignment: learner, family, settings and seed.
        plan: budget, scores and state file. The run continues from an existing state file.
        report: called often with the progress.
        is_stopped: called between updates; it returns whether the run must stop. The state of a stopped run is saved,
            and the run can continue from it.

    Raises:
        StateFileError: the state belongs to another run, or is damaged.
    """

    def __init__(
        self, assignment: ExperimentCase, plan: Plan, *, report: Report, is_stopped: Callable[[], bool]
    ) -> None:
        self.assignment = assignment
        self.plan = plan
        self._mark = None if plan.state is None else mark_of(plan.state)
        self.is_resumed = self._mark is not None
        self._report = report
        self._is_stopped = is_stopped
        self._watched: tuple[str, float] | None = None
        self._saved_at = time.monotonic()
        self.trainee, self.ledger = (
            self._begun() if plan.state is None or not self.is_resumed else self._resumed(plan.state)
        )

    @property
    def is_finished(self) -> bool:
        """Return whether the budget is spent."""
        seconds = self.plan.budget.cpu_s
        if seconds is not None:
            return self.ledger.cpu_s >= seconds
        return self.trainee.num_updates >= self.ledger.planned_updates

    @property
    def is_interrupted(self) -> bool:
        """Return whether the run was stopped before its last score."""
        return self.ledger.last is None

    def finish(self) -> None:
        """Learn until the budget is spent or the run is stopped; then save the state.

        Raises:
            TrainingDivergedError: a metric is not finite; the state file is that of the last save.
            StateFileError: another run has written the state file meanwhile.
        """
        try:
            while not self.is_finished and not self._is_stopped():
                self._score_if_due()
                self._learn_once()
                self._estimate_again_if_due()
                self._save_if_due()
            if not self._is_stopped():
                self._score_at_end()
        except StoppedError:
            pass  # Scoring does not change the trainee: the state is that of the last update.
        self._save()

    # Beginning and continuing

    def _begun(self) -> tuple[TrainableLearner, UsageTotals]:
        self._report(Progress(doing="measuring an update", fraction=0.0, updates=0, cpu_s=0.0))
        budget = self.plan.budget
        seconds, step_bytes = _cost_of_update(self.assignment, budget)
        ledger = UsageTotals(budget=budget, planned_updates=budget.planned_updates(seconds), step_bytes=step_bytes)
        return self.assignment.begin(ledger.planned_updates), ledger

    def _resumed(self, path: Path) -> tuple[TrainableLearner, UsageTotals]:
        tensors, description = read_state(path)
        asked = to_jsonable_python(self.assignment.describe())
        kept = description["assignment"]
        if kept.get("learner") == RL2:
            kept = {**kept, "settings": without_constants(kept["settings"])}
        if kept != asked:
            raise StateFileError(
                operation="continuing from state",
                subject=str(path),
                found=f"it belongs to another run: {_differences(kept, asked)}.",
                hint="Name another file, or use the learner, family, settings and seed with which the run was begun.",
            )
        ledger = dataclass_from_json(UsageTotals, description["ledger"])
        if self.plan.budget != ledger.budget:
            self._replan(ledger, description["updates"])
        if ledger.last is not None and ledger.last.adapted.num_tasks < self.plan.tasks_at_end:
            ledger.last = None
        return self.assignment.go_on(tensors, description["trainee"], ledger.planned_updates), ledger

    def _replan(self, ledger: UsageTotals, updates: int) -> None:
        """Plan the run for a budget other than the one in its state; what the run has spent counts."""
        budget = self.plan.budget
        seconds = ledger.cpu_s / updates if updates else ledger.cpu_s
        ledger.planned_updates = max(updates, budget.planned_updates(seconds or 1.0))
        ledger.budget, ledger.last = budget, None
        ledger.estimate = LastEstimate(cpu_s=ledger.cpu_s, updates=updates)

    # Learning, scoring, saving

    def _learn_once(self) -> None:
        began = self.assignment.processor_seconds()
        metrics = self.trainee.update()
        self.ledger.cpu_s += self.assignment.processor_seconds() - began
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise TrainingDivergedError(
                    operation="training",
                    subject=self.assignment.learner,
                    found=f"the {name} of update {self.trainee.num_updates} is {value}.",
                    hint="Try a smaller rate with --set.",
                )
        self._watched = next(iter(metrics.items()))
        self._report_progress("learning")

    def _estimate_again_if_due(self) -> None:
        """Estimate the number of planned updates again where it is due, and let the trainee's rates follow it."""
        ledger, updates = self.ledger, self.trainee.num_updates
        if not is_estimate_due(ledger.budget, ledger.estimate, cpu_s=ledger.cpu_s, updates=updates):
            return
        planned = planned_again(ledger.budget, ledger.estimate, cpu_s=ledger.cpu_s, updates=updates)
        ledger.estimate = LastEstimate(cpu_s=ledger.cpu_s, updates=updates)
        if not is_notable(planned, ledger.planned_updates):
            return
        ledger.planned_updates = planned
        tensors, meta = self.trainee.to_tensors(), self.trainee.to_meta()
        self.trainee.close()
        self.trainee = self.assignment.go_on(tensors, meta, planned)

    def _score_if_due(self) -> None:
        due = len(self.ledger.points) / self.plan.num_points if self.plan.num_points else 1.0
        if due < 1.0 and self._fraction() >= due:
            self.ledger.points.append(self._scored(self.plan.tasks_along))

    def _score_at_end(self) -> None:
        if self.ledger.last is None:
            self.ledger.last = self._scored(self.plan.tasks_at_end)

    def _scored(self, num_tasks: int) -> Point:
        def progress(scored: int) -> None:
            self._report_progress(f"scored {scored} of {num_tasks} held-out tasks")
            if self._is_stopped():
                raise StoppedError

        scores = self.trainee.score(num_tasks, progress=progress)
        return Point.of(scores, updates=self.trainee.num_updates, cpu_s=self.ledger.cpu_s)

    def _fraction(self) -> float:
        ledger = self.ledger
        return ledger.budget.fraction_spent(
            cpu_s=ledger.cpu_s, updates=self.trainee.num_updates, planned_updates=ledger.planned_updates
        )

    def _report_progress(self, doing: str) -> None:
        updates, cpu_s = self.trainee.num_updates, self.ledger.cpu_s
        self._report(
            Progress(doing=doing, fraction=self._fraction(), updates=updates, cpu_s=cpu_s, watched=self._watched)
        )

    def _save_if_due(self) -> None:
        if time.monotonic() - self._saved_at >= SAVE_EVERY_S:
            self._save()

    def _save(self) -> None:
        if self.plan.state is not None:
            description = {
                "assignment": self.assignment.describe(),
                "updates": self.trainee.num_updates,
                "trainee": self.trainee.to_meta(),
                "ledger": dataclass_to_json(self.ledger),
            }
            self._refuse_anothers_state(self.plan.state)
            write_state(self.plan.state, self.trainee.to_tensors(), description)
            self._mark = mark_of(self.plan.state)
        self._saved_at = time.monotonic()

    def _refuse_anothers_state(self, path: Path) -> None:
        if mark_of(path) not in {None, self._mark}:
            raise StateFileError(
                operation="keeping the run in",
                subject=str(path),
                found="another run has written it since this one began.",
                hint="Use a state file in one run at a time. The same command continues from the other run's state.",
            )


def _cost_of_update(assignment: ExperimentCase, budget: Budget) -> tuple[float, int]:
    """Return the processor seconds and the peak bytes of an update, measured on a temporary trainee.

    Raises:
        ExperimentCaseError: the update fails: the settings and the family's tasks do not fit together.
    """
    try:
        return _measured(assignment, budget)
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise ExperimentCaseError(
            operation="taking a first update of",
            subject=assignment.learner,
            found=f"{error}.",
            hint="Give another value with --set, or tasks of another size.",
        ) from error


def _measured(assignment: ExperimentCase, budget: Budget) -> tuple[float, int]:
    trainee = assignment.begin(planned_updates=MOST_TIMED_UPDATES)
    try:
        began = assignment.processor_seconds()
        trainee.update()
        seconds = assignment.processor_seconds() - began
        # A first update takes a little longer than others, which does not matter if few of them fit into the budget.
        if budget.cpu_s is not None and seconds < SLOW_SHARE * budget.cpu_s:
            seconds = _timed(trainee.update, assignment.processor_seconds)
        return max(seconds, 1e-6), peak_bytes(trainee.update)
    finally:
        trainee.close()


def _timed(update: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the processor seconds of an update, the mean of several."""
    began, count, spent = clock(), 0, 0.0
    while count < FEWEST_TIMED_UPDATES or (spent < TIMED_S and count < MOST_TIMED_UPDATES):
        update()
        count, spent = count + 1, clock() - began
    return spent / count


def _differences(found: dict[str, Any], asked: dict[str, Any]) -> str:
    """Return the values that differ between a state and the present assignment as text."""
    first, second = dict(_flat(found)), dict(_flat(asked))
    names = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    return ", ".join(f"{name} {json.dumps(first.get(name))} and not {json.dumps(second.get(name))}" for name in names)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            pairs += _flat(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", value))
    return pairs
