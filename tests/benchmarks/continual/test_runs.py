"""A run of the continual benchmark continues at its last finished window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typing_extensions import override

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.trials import TrialBatch
from benchmarks.continual.rehearsal import PlainUpdates, RehearsedUpdates
from benchmarks.continual.runs import ARMS, Run, RunState, WindowPractice
from benchmarks.continual.scores import Scorer
from benchmarks.continual.sequences import SequenceFamily, plasticity

BANDITS = [family for family in plasticity().families if family.name.startswith("bandits")]
FAMILIES = tuple(replace(family, num_trials=4, trial_steps=10_000) for family in BANDITS[:3])


class StoppingScorer(Scorer):
    """A scorer that is interrupted when it first scores a family."""

    def __init__(self, folder: Path, *, at: str) -> None:
        super().__init__(folder)
        self._at = at

    @override
    def score(self, learner: RL2Learner, family: SequenceFamily) -> float:
        if family.name == self._at:
            raise KeyboardInterrupt
        return super().score(learner, family)


def run(
    folder: Path,
    families: Sequence[SequenceFamily] = FAMILIES,
    *,
    arm: str = "fine-tuning",
    seed: int = 0,
    window_s: float = 0.01,
) -> Run:
    return Run(
        families=families,
        arm=ARMS[arm],
        config=RL2Config(hidden_size=8, input_size=8, scorer_size=8, critic_size=8),
        rehearsal={},
        seed=seed,
        window_s=window_s,
        all_every=2,
        num_scores=10,
        path=folder / "run",
        label="run",
    )


def test_an_interrupted_run_continues_with_the_window_that_was_not_finished(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path).course(StoppingScorer(tmp_path, at=FAMILIES[1].name))
    first = run(tmp_path)._kept()
    assert [window["family"] for window in first[0].windows] == [FAMILIES[0].name]
    assert first[1] is not None
    assert first[1].next_task[FAMILIES[0].name] > 0
    course = run(tmp_path).course(Scorer(tmp_path))
    assert [window["family"] for window in course.windows] == [family.name for family in FAMILIES]
    assert course.windows[0] == first[0].windows[0]
    assert run(tmp_path).course(StoppingScorer(tmp_path, at=FAMILIES[0].name)) == course, "it is not repeated"


def test_a_run_with_other_settings_is_refused(tmp_path: Path) -> None:
    run(tmp_path, FAMILIES[:1]).course(Scorer(tmp_path))
    with pytest.raises(SystemExit, match="other settings"):
        run(tmp_path, FAMILIES[:1], seed=1).course(Scorer(tmp_path))


def test_all_families_so_far_are_scored_after_the_stated_windows_and_the_last(tmp_path: Path) -> None:
    often, rarely = run(tmp_path), replace(run(tmp_path / "rarely"), all_every=9)
    assert [len(scores) for scores in often.course(Scorer(tmp_path)).matrix] == [1, 2, 3]
    assert [len(scores) for scores in rarely.course(Scorer(tmp_path)).matrix] == [1, 1, 3]


def test_a_curve_begins_before_practice_and_ends_with_the_window(tmp_path: Path) -> None:
    course = run(tmp_path, FAMILIES[:1]).course(Scorer(tmp_path))
    curve = course.curve(FAMILIES[0].name)
    assert (curve[0].elapsed_s, curve[0].env_steps) == (0.0, 0)
    assert curve[-1].elapsed_s == course.windows[0]["cpu_s"] >= 0.01
    assert curve[-1].env_steps > 0


def test_re_simulation_practises_all_families_so_far_in_a_window(tmp_path: Path) -> None:
    windows = run(tmp_path, arm="re-simulation", window_s=0.3).course(Scorer(tmp_path)).windows
    practised = [set(window["updates"]) for window in windows]
    assert practised == [{family.name for family in FAMILIES[:number]} for number in (1, 2, 3)]


class RecordingUpdates(PlainUpdates):
    """Updates that note the calls they get."""

    def __init__(self, learner: RL2Learner) -> None:
        super().__init__(learner)
        self.calls: list[str] = []

    @override
    def begin(self, name: str) -> None:
        self.calls.append("begin")

    @override
    def update(self, name: str, trials: TrialBatch, *, num_epochs: int) -> dict[str, float]:
        self.calls.append("update")
        return super().update(name, trials, num_epochs=num_epochs)

    @override
    def keep(self, name: str, trials: TrialBatch) -> None:
        self.calls.append("keep")


def test_a_window_that_is_shorter_than_a_piece_is_one_piece_whose_trials_are_kept(tmp_path: Path) -> None:
    learner = RL2Learner(run(tmp_path).config, device="cpu", seed=0)
    updates = RecordingUpdates(learner)
    practice = WindowPractice(FAMILIES[:1], RunState(learner=learner, updates=updates))
    practice.until(0.05)
    practice.until(0.1)
    practice.end_piece()
    practice.close()
    assert updates.calls[0] == "begin"
    assert updates.calls[-1] == "keep"
    assert set(updates.calls[1:-1]) == {"update"}


def test_an_interrupted_run_with_rehearsal_continues_with_the_trials_that_it_stored(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, FAMILIES[:2], arm="rehearsal").course(StoppingScorer(tmp_path, at=FAMILIES[1].name))
    _, state = run(tmp_path, FAMILIES[:2], arm="rehearsal")._kept()
    assert state is not None
    assert isinstance(state.updates, RehearsedUpdates)
    assert state.updates.num_stored(FAMILIES[0].name) > 0
    windows = run(tmp_path, FAMILIES[:2], arm="rehearsal").course(Scorer(tmp_path)).windows
    assert 0.0 <= windows[1]["metrics"]["rehearsal_share_of_update"] < 1.0
