"""Training plays the same tasks several times, with what their earlier trials left."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.recurring_training import NUM_EXPOSURES, RecurringTraining
from agent.learners.rl2.trials import TrialBatch, to_records
from envs.family import FamilySource, FamilySpec
from envs.registry import open_tasks
from memory.records import TrialRecord
from memory.retrieval.recall import RecalledTrials

SPEC = FamilySpec(name="recurring", source=FamilySource.TENSOR, entry="recurring_bandits", episodes_per_trial=2)


def training_of(seed: int = 0) -> RecurringTraining:
    learner = RL2Learner(RL2Config(hidden_size=8, input_size=8), device="cpu", seed=seed)
    tasks = open_tasks(SPEC, None, num_trials=8, device="cpu")
    learner.add_family(SPEC.name, tasks.spaces)
    return RecurringTraining(learner, SPEC.name, tasks)


def series_of(batches: list[TrialBatch]) -> list[list[TrialBatch]]:
    """Split successive batches at the empty starts."""
    series: list[list[TrialBatch]] = []
    for batch in batches:
        if batch.inputs.recall is None:
            series.append([])
        series[-1].append(batch)
    return series


def test_series_play_the_same_tasks_once_or_several_times() -> None:
    training = training_of()
    series = series_of([training.play(16 * number) for number in range(40)])[:-1]
    assert {len(batches) for batches in series} == set(NUM_EXPOSURES)
    for batches in series:
        assert all(torch.equal(batch.observation[0], batches[0].observation[0]) for batch in batches)
    firsts = [batches[0].observation[0] for batches in series]
    assert not torch.equal(firsts[0], firsts[1])


def test_a_recall_counts_the_exposures_and_is_uncertain_only_in_last_trials() -> None:
    training = training_of()
    series = series_of([training.play(16 * number) for number in range(50)])[:-1]
    uncertain = 0
    for batches in series:
        for number, batch in enumerate(batches[1:], start=1):
            assert batch.inputs.recall is not None
            is_met, likeness, exposures, _age = batch.inputs.recall[0].unbind(-1)
            assert is_met.all()
            torch.testing.assert_close(exposures, torch.full((8,), float(number)).log1p() * 0.5)
            is_uncertain = bool((likeness < 1.0).any())
            assert not is_uncertain or number == len(batches) - 1
            uncertain += is_uncertain
    assert 0 < uncertain < len(series)


def test_every_batch_can_be_learned_from() -> None:
    training = training_of()
    for number in range(8):
        losses = training.learn(training.play(16 * number), num_epochs=1)
        assert all(torch.isfinite(torch.tensor(list(losses.values()))))


def test_a_new_series_depends_on_no_trials_before() -> None:
    batches = []
    for num_before in (1, 4):
        training = training_of()
        for number in range(num_before):
            training.play(16 * number)
        training.begin_series()
        training._learner.generator.manual_seed(3)
        batches.append([training.play(160), training.play(176)])
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one.log_prob, other.log_prob)


class Stored:
    """A store that recalls the same trial of every second task."""

    last_asked = None

    def __init__(self, trial: TrialRecord) -> None:
        self._trial, self._num_asked = trial, 0

    def find(self, first_observation: NDArray[np.float32], *, context: bytes | None = None) -> RecalledTrials:
        self._num_asked += 1
        trials = () if self._num_asked % 2 else (self._trial,)
        return RecalledTrials(trials=trials, likeness=0.8, age=3.0)

    def is_asked_again(self, num_steps: int, *, has_ended: bool) -> bool:
        return False


def test_some_series_begin_with_what_the_store_recalls() -> None:
    training = training_of()
    [trial] = to_records(training.play(0), rows=[0], tasks=[{}])
    training.begin_series()
    training.stored = Stored(trial)
    begins_stored = []
    for number in range(60):
        batch = training.play(16 * number)
        current = training._series
        assert current is not None
        recall = batch.inputs.recall
        is_mixed = current.is_uncertain and current.num_played == current.num_exposures
        if current.begins_stored and not is_mixed:
            assert recall is not None
            exposures = torch.tensor([0.0, 1.0] * 4) + current.num_played - 1
            torch.testing.assert_close(recall[0, :, 2], exposures.log1p() * 0.5)
        elif not current.begins_stored:
            assert (recall is None) is (current.num_played == 1)
        if current.num_played == 1:
            begins_stored.append(current.begins_stored)
            training.learn(batch, num_epochs=1)
    assert 0 < sum(begins_stored) < len(begins_stored) / 2
