"""Runs of the benchmark ``continual``: one learner practises one family after another, each in its own window."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.specialist import Phase
from agent.learners.rl2.training import EagerTraining
from agent.learners.rl2.trials import TrialBatch, num_env_steps
from agent.trainer.practice.start_choice import choose_start, starting_policies
from benchmarks.continual.measures import CurvePoint
from benchmarks.continual.rehearsal import PlainUpdates, RehearsedUpdates, Updates
from benchmarks.continual.scores import Scorer
from benchmarks.continual.sequences import SequenceFamily
from envs.family import FamilySource

PIECE_S = 3.0
"""CPU-seconds of a piece of a window, after which trials are kept for rehearsal: the length of the daemon's slices."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to practise a sequence.

    Attributes:
        name: the arm's name.
        rehearses: whether stored trials of earlier families are trained on.
        resimulates: whether earlier families are played again, in equal parts of a window's time.
    """

    name: str
    rehearses: bool = False
    resimulates: bool = False


ARMS = {
    arm.name: arm
    for arm in (
        Arm(name="fine-tuning"),
        Arm(name="rehearsal", rehearses=True),
        Arm(name="re-simulation", resimulates=True),
    )
}


@dataclass(kw_only=True)
class Window:
    """What one window practised.

    Attributes:
        family: the family's name.
        curve: the family's scores from before practice to the end.
        scores: the scores of the families so far at the end; the family alone if they were not all scored.
        updates: updates by family; re-simulation has several.
        cpu_s: CPU-seconds of practice.
        keep_s: of these, in preparing for rehearsal and storing trials.
        metrics: means over the family's updates of what an update returned.
    """

    family: str
    curve: list[CurvePoint] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    updates: dict[str, int] = field(default_factory=dict)
    cpu_s: float = 0.0
    keep_s: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(kw_only=True)
class Course:
    """A run over a sequence: a JSON value.

    Attributes:
        windows: the finished windows as JSON values of :class:`Window`.
    """

    windows: list[dict[str, Any]] = field(default_factory=list)

    def curve(self, name: str) -> list[CurvePoint]:
        """Return the curve of a family's own window."""
        return next([CurvePoint(**point) for point in w["curve"]] for w in self.windows if w["family"] == name)

    @property
    def matrix(self) -> list[dict[str, float]]:
        """p_i(t) by window and family."""
        return [window["scores"] for window in self.windows]


@dataclass(kw_only=True)
class RunState:
    """What a run continues from.

    Attributes:
        learner: the learner.
        updates: its updates, with what they store.
        next_task: index of the first training task not played yet, by family.
    """

    learner: RL2Learner
    updates: Updates
    next_task: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run over a sequence that continues at the last finished window.

    Attributes:
        families: the families in their order.
        arm: the way to practise.
        config: the learner's settings.
        rehearsal: constants of rehearsal that have other values; they are set by the caller.
        seed: seed of the learner.
        window_s: CPU-seconds of a window.
        all_every: all families so far are scored after every so many windows, and after the last.
        num_scores: scores of a family in its own window, besides the one before practice.
        path: the run's files without their suffix; the learner's state is removed after the last window.
        label: what progress lines begin with.
    """

    families: Sequence[SequenceFamily]
    arm: Arm
    config: RL2Config
    rehearsal: Mapping[str, Any]
    seed: int
    window_s: float
    all_every: int
    num_scores: int
    path: Path
    label: str

    def course(self, scorer: Scorer) -> Course:
        """Practise the windows that are missing, and return all."""
        course, state = self._kept()
        for index in range(len(course.windows), len(self.families)):
            state = state or self._new_state()
            window = self._practise(index, state, scorer)
            course.windows.append(asdict(window))
            self._keep(course, state)
        self._state_path.unlink(missing_ok=True)
        return course

    def _practise(self, index: int, state: RunState, scorer: Scorer) -> Window:
        family, so_far = self.families[index], self.families[: index + 1]
        practice = WindowPractice(so_far if self.arm.resimulates else [family], state)
        window = practice.window
        try:
            for part in range(self.num_scores + 1):
                practice.until(self.window_s * part / self.num_scores)
                if part == self.num_scores:
                    practice.end_piece()
                if window.curve and window.curve[-1].elapsed_s == window.cpu_s:
                    continue  # One update took more than a part of the window.
                score = scorer.score(state.learner, family)
                window.curve.append(CurvePoint(elapsed_s=window.cpu_s, env_steps=practice.env_steps, score=score))
                print(f"\r{self.label}: {family.name} ({index + 1}/{len(self.families)}), ", end="")
                print(f"{window.cpu_s:.0f} CPU-s, score {score:.3f}   ", end="", flush=True)
        finally:
            practice.close()
        is_all = (index + 1) % self.all_every == 0 or index + 1 == len(self.families)
        window.scores = {family.name: window.curve[-1].score}
        if is_all:
            window.scores = scorer.scores(state.learner, so_far[:-1]) | window.scores
        print(f"\r{self.label}: {family.name} ends at {window.curve[-1].score:.3f}", end="")
        print(f", mean of all {sum(window.scores.values()) / len(window.scores):.3f}{' ' * 20}" if is_all else " " * 40)
        return window

    def _new_state(self) -> RunState:
        learner = RL2Learner(self.config, device="cpu", seed=self.seed)
        rehearses = self.arm.rehearses
        updates = RehearsedUpdates(learner) if rehearses else PlainUpdates(learner)
        return RunState(learner=learner, updates=updates)

    # Files

    @property
    def _settings(self) -> dict[str, Any]:
        families = [family.name for family in self.families]
        own = {
            "families": families,
            "arm": self.arm.name,
            "seed": self.seed,
            "window_s": self.window_s,
            "num_scores": self.num_scores,
        }
        settings = {**own, "config": asdict(self.config), "rehearsal": dict(self.rehearsal)}
        return cast("dict[str, Any]", json.loads(json.dumps(settings)))

    @property
    def _state_path(self) -> Path:
        return self.path.with_name(self.path.name + ".state")

    @property
    def _course_path(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def _kept(self) -> tuple[Course, RunState | None]:
        """Return the finished windows, and the state after them unless all are finished."""
        if self._state_path.exists():
            saved = torch.load(self._state_path, weights_only=False)
            self._require_equal(saved["settings"], self._state_path)
            return Course(**saved["run"]), saved["state"]
        if not self._course_path.exists():
            return Course(), None
        kept = json.loads(self._course_path.read_text())
        self._require_equal(kept["settings"], self._course_path)
        return Course(**kept["run"]), None

    def _require_equal(self, settings: dict[str, Any], path: Path) -> None:
        if settings != self._settings:
            raise SystemExit(f"{path} is a run with other settings: give another --folder, or remove it")

    def _keep(self, course: Course, state: RunState) -> None:
        """Write the finished windows, and with them the state while windows are missing, each in one piece."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(self.path.name + ".tmp")
        kept = {"settings": self._settings, "run": asdict(course)}
        if len(course.windows) < len(self.families):
            torch.save({**kept, "state": state}, unfinished)
            unfinished.replace(self._state_path)
        unfinished.write_text(json.dumps(kept, indent=1) + "\n")
        unfinished.replace(self._course_path)


class WindowPractice:
    """The practice of one window. With several families, the one with the least time so far is always next.

    Args:
        families: the families that are practised; the last one is the window's own.
        state: the learner and what belongs to it.
    """

    def __init__(self, families: Sequence[SequenceFamily], state: RunState) -> None:
        self.window = Window(family=families[-1].name)
        self.env_steps = 0
        self._state = state
        self._trainings = {family.name: self._opened(family) for family in families}
        self._players = dict.fromkeys(self._trainings, state.learner)
        self._phase = Phase.SHARED
        self._used_s = dict.fromkeys(reversed(self._trainings), 0.0)
        self._metrics: list[dict[str, float]] = []
        self._piece_s = 0.0
        self._last: tuple[str, TrialBatch] | None = None

    def until(self, elapsed_s: float) -> None:
        """Practise until this many CPU-seconds of the window have passed."""
        while self.window.cpu_s < elapsed_s:
            began = time.process_time()
            name = min(self._used_s, key=lambda name: self._used_s[name])
            self._last = (name, self._update(name))
            used_s = time.process_time() - began
            self.window.cpu_s += used_s
            self._used_s[name] += used_s
            self._piece_s += used_s
            if self._piece_s >= PIECE_S or self._has_changed_phase(name):
                self.end_piece()

    def end_piece(self) -> None:
        """Store trials of the piece that ends, unless it has not begun."""
        if self._last is None:
            return
        began = time.process_time()
        self._state.updates.keep(*self._last)
        used_s = time.process_time() - began
        self.window.cpu_s += used_s
        self.window.keep_s += used_s
        self._last, self._piece_s = None, 0.0

    def close(self) -> None:
        """Release the tasks and complete the figures of the window."""
        for training in self._trainings.values():
            training.close()
        parts = dict.fromkeys(part for metrics in self._metrics for part in metrics)
        self.window.metrics = {
            part: sum(metrics.get(part, 0.0) for metrics in self._metrics) / len(self._metrics) for part in parts
        }

    def _update(self, name: str) -> TrialBatch:
        learner, updates = self._state.learner, self._state.updates
        if self._last is None:
            began = time.process_time()
            updates.begin(name)
            self.window.keep_s += time.process_time() - began
            self._phase = self._phase_of(name)
        training = self._training(name)
        first_task = self._state.next_task.get(name, 0)
        trials = training.play(first_task)
        is_tensor_native = training.tasks.spec.source is FamilySource.TENSOR
        num_epochs = learner.config.num_epochs_for(is_tensor_native=is_tensor_native)
        metrics = updates.update(name, trials, num_epochs=num_epochs)
        self._state.next_task[name] = first_task + trials.num_trials
        self.window.updates[name] = self.window.updates.get(name, 0) + 1
        if name == self.window.family:
            self._metrics.append(metrics)
            self.env_steps += num_env_steps(trials)
        return trials

    def _phase_of(self, name: str) -> Phase:
        specialists = self._state.updates.specialists
        return Phase.SHARED if specialists is None else specialists.phase(name)

    def _has_changed_phase(self, name: str) -> bool:
        return self._phase_of(name) is not self._phase

    def _training(self, name: str) -> EagerTraining:
        """Return the training of the learner that plays the family now."""
        specialists = self._state.updates.specialists
        player = self._state.learner if specialists is None else specialists.player(name)
        if self._players[name] is not player:
            tasks = self._trainings[name].tasks
            self._trainings[name], self._players[name] = EagerTraining(player, name, tasks), player
        return self._trainings[name]

    def _opened(self, family: SequenceFamily) -> EagerTraining:
        """Open a family's tasks, and add it to the learner as admission does; this takes no time of the window."""
        learner = self._state.learner
        tasks = family.open(1)
        num_trials = family.num_trials or learner.config.num_trials_for(
            is_tensor_native=tasks.spec.source is FamilySource.TENSOR
        )
        tasks.close()
        tasks = family.open(num_trials)
        if family.name not in learner.families:
            start = choose_start(starting_policies(learner, tasks.spaces), tasks, progress=lambda _steps: None)
            learner.add_family(family.name, tasks.spaces, start=start)
            specialists = self._state.updates.specialists
            if specialists is not None:
                specialists.watch(
                    family.name, tasks.spaces, random_return=0.0, reference_return=family.reference_return
                )
        return EagerTraining(learner, family.name, tasks)
