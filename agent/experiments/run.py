"""One run: a trainee learns until its budget is spent, is scored along the way, and can go on where it was broken off.

What a budget in seconds allows is measured on a trainee that is thrown away, and fixed when the run begins: rates that
fall do so over so many updates. A run ends with the last planned update, or when the seconds are spent, whichever is
first. Neither measuring nor scoring nor writing counts; drawing tasks and learning from them does.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import AgentError
from agent.experiments.budget import Budget
from agent.experiments.costs import peak_bytes
from agent.experiments.scores import Estimate, HeldOutScores
from agent.experiments.state_file import StateFileError, mark_of, read_state, write_state
from agent.experiments.trainable import ExperimentCase, ExperimentCaseError, TrainableLearner

SAVE_EVERY_S = 60.0
FEWEST_TIMED_UPDATES = 3
MOST_TIMED_UPDATES = 100
TIMED_S = 0.5
"""Processor time that measuring an update takes at least, unless it is reached by the most updates first."""


class TrainingDivergedError(AgentError):
    """An update whose loss, or another of its metrics, is not a finite number."""


class StoppedError(Exception):
    """The run was asked to stop while it scored."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Scores at one moment of a run.

    Attributes:
        updates: outer steps taken.
        cpu_s: processor seconds spent on them.
        adapted: after adaptation.
        unadapted: before it; None where there is no answer before it.
        beside: other measures, by name.
    """

    updates: int
    cpu_s: float
    adapted: Estimate
    unadapted: Estimate | None = None
    beside: dict[str, Estimate] = field(default_factory=dict)

    @classmethod
    def of(cls, scores: HeldOutScores, *, updates: int, cpu_s: float) -> Point:
        """The point that these scores make."""
        return cls(
            updates=updates,
            cpu_s=cpu_s,
            adapted=Estimate.of(scores.adapted),
            unadapted=None if scores.unadapted is None else Estimate.of(scores.unadapted),
            beside={name: Estimate.of(values) for name, values in scores.beside.items()},
        )

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Point:
        """The point that ``asdict`` told of."""
        unadapted = values["unadapted"]
        return cls(
            updates=values["updates"],
            cpu_s=values["cpu_s"],
            adapted=Estimate(**values["adapted"]),
            unadapted=None if unadapted is None else Estimate(**unadapted),
            beside={name: Estimate(**estimate) for name, estimate in values["beside"].items()},
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a run goes, beside what the assignment says.

    Attributes:
        budget: when it ends.
        num_points: scores are taken at the start and after each of so many equal parts of the budget; 0: at the end.
        tasks_along: held-out tasks of the scores along the way.
        tasks_at_end: held-out tasks of the score at the end.
        state: the file it is kept in; None keeps nothing.
    """

    budget: Budget
    num_points: int = 0
    tasks_along: int = 200
    tasks_at_end: int = 1000
    state: Path | None = None


@dataclass(kw_only=True)
class UsageTotals:
    """What a run has spent and found so far.

    Attributes:
        budget: that it was planned for.
        planned_updates: outer steps until its end.
        step_bytes: the most bytes of tensors that an outer step held at once.
        cpu_s: processor seconds of drawing tasks and learning from them.
        points: scores along the way.
        last: the score at the end; None until it is reached.
    """

    budget: Budget
    planned_updates: int
    step_bytes: int
    cpu_s: float = 0.0
    points: list[Point] = field(default_factory=list)
    last: Point | None = None

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> UsageTotals:
        """The ledger that ``asdict`` told of."""
        return cls(
            budget=Budget.from_json(values["budget"]),
            planned_updates=values["planned_updates"],
            step_bytes=values["step_bytes"],
            cpu_s=values["cpu_s"],
            points=[Point.from_json(point) for point in values["points"]],
            last=None if values["last"] is None else Point.from_json(values["last"]),
        )


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        doing: what it does now, in a few words.
        fraction: share of the budget that is spent.
        updates: outer steps taken.
        cpu_s: processor seconds spent.
        watched: name and value of the metric to watch, of the last outer step; None before the first.
    """

    doing: str
    fraction: float
    updates: int
    cpu_s: float
    watched: tuple[str, float] | None = None


Report = Callable[[Progress], None]


class LearningRun:
    """A run under way.

    Args:
        assignment: learner, family, settings, seed.
        plan: budget, scores, state file; a state that is there is gone on from.
        report: told how far it is, often.
        is_stopped: asked between updates; a run that is stopped keeps its state and can be gone on with.

    Raises:
        StateFileError: the state is of another run, or damaged.
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
        """Whether the budget is spent."""
        seconds = self.plan.budget.cpu_s
        is_out_of_time = seconds is not None and self.ledger.cpu_s >= seconds
        return is_out_of_time or self.trainee.num_updates >= self.ledger.planned_updates

    @property
    def is_interrupted(self) -> bool:
        """Whether it was stopped before its last score."""
        return self.ledger.last is None

    def finish(self) -> None:
        """Learn until the budget is spent, or until the run is stopped; then keep the state.

        Raises:
            TrainingDivergedError: a metric is not finite; the state is that of the last save.
            StateFileError: another run has written the state file meanwhile.
        """
        try:
            while not self.is_finished and not self._is_stopped():
                self._score_if_due()
                self._learn_once()
                self._save_if_due()
            if not self._is_stopped():
                self._score_at_end()
        except StoppedError:
            pass  # scoring changes nothing: the state is that of the last update
        self._save()

    # Beginning and going on

    def _begun(self) -> tuple[TrainableLearner, UsageTotals]:
        self._report(Progress(doing="measuring an update", fraction=0.0, updates=0, cpu_s=0.0))
        budget = self.plan.budget
        seconds, step_bytes = _cost_of_update(self.assignment, is_timed=budget.cpu_s is not None)
        ledger = UsageTotals(budget=budget, planned_updates=budget.planned_updates(seconds), step_bytes=step_bytes)
        return self.assignment.begin(ledger.planned_updates), ledger

    def _resumed(self, path: Path) -> tuple[TrainableLearner, UsageTotals]:
        tensors, description = read_state(path)
        asked = json.loads(json.dumps(self.assignment.describe()))
        if description["assignment"] != asked:
            raise StateFileError(
                operation="going on from state",
                subject=str(path),
                found=f"it is of another run: {_differences(description['assignment'], asked)}.",
                hint="Name another file, or ask for what it was begun with.",
            )
        ledger = UsageTotals.from_json(description["ledger"])
        if self.plan.budget != ledger.budget:
            self._replan(ledger, description["updates"])
        if ledger.last is not None and ledger.last.adapted.num_tasks < self.plan.tasks_at_end:
            ledger.last = None
        return self.assignment.go_on(tensors, description["trainee"], ledger.planned_updates), ledger

    def _replan(self, ledger: UsageTotals, updates: int) -> None:
        """Plan anew for another budget than the run was begun with; what it has spent counts."""
        budget = self.plan.budget
        seconds = ledger.cpu_s / updates if updates else ledger.cpu_s
        ledger.planned_updates = max(updates, budget.planned_updates(seconds or 1.0))
        ledger.budget, ledger.last = budget, None

    # Learning, scoring, keeping

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
        self._tell("learning")

    def _score_if_due(self) -> None:
        due = len(self.ledger.points) / self.plan.num_points if self.plan.num_points else 1.0
        if due < 1.0 and self._fraction() >= due:
            self.ledger.points.append(self._scored(self.plan.tasks_along))

    def _score_at_end(self) -> None:
        if self.ledger.last is None:
            self.ledger.last = self._scored(self.plan.tasks_at_end)

    def _scored(self, num_tasks: int) -> Point:
        def progress(scored: int) -> None:
            self._tell(f"scored {scored} of {num_tasks} held-out tasks")
            if self._is_stopped():
                raise StoppedError

        scores = self.trainee.score(num_tasks, progress=progress)
        return Point.of(scores, updates=self.trainee.num_updates, cpu_s=self.ledger.cpu_s)

    def _fraction(self) -> float:
        ledger = self.ledger
        return ledger.budget.fraction_spent(
            cpu_s=ledger.cpu_s, updates=self.trainee.num_updates, planned_updates=ledger.planned_updates
        )

    def _tell(self, doing: str) -> None:
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
                "ledger": asdict(self.ledger),
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
                hint="Run one at a time with a state file; the same command goes on from what the other has learned.",
            )


def _cost_of_update(assignment: ExperimentCase, *, is_timed: bool) -> tuple[float, int]:
    """Processor seconds of an update, and the bytes it holds at its peak, of a trainee that is thrown away.

    Raises:
        ExperimentCaseError: its settings and the family's tasks do not go together.
    """
    try:
        return _measured(assignment, is_timed=is_timed)
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise ExperimentCaseError(
            operation="taking a first update of",
            subject=assignment.learner,
            found=f"{error}.",
            hint="Give another value with --set, or tasks of another size.",
        ) from error


def _measured(assignment: ExperimentCase, *, is_timed: bool) -> tuple[float, int]:
    trainee = assignment.begin(planned_updates=MOST_TIMED_UPDATES)
    try:
        began = assignment.processor_seconds()
        trainee.update()
        seconds = assignment.processor_seconds() - began
        if is_timed:
            seconds = _timed(trainee.update, assignment.processor_seconds)
        return max(seconds, 1e-6), peak_bytes(trainee.update)
    finally:
        trainee.close()


def _timed(update: Callable[[], object], clock: Callable[[], float]) -> float:
    """Processor seconds of one of several updates."""
    began, count, spent = clock(), 0, 0.0
    while count < FEWEST_TIMED_UPDATES or (spent < TIMED_S and count < MOST_TIMED_UPDATES):
        update()
        count, spent = count + 1, clock() - began
    return spent / count


def _differences(found: dict[str, Any], asked: dict[str, Any]) -> str:
    """What a state has and what is asked for, where they differ."""
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
