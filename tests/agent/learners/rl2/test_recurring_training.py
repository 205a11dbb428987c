"""Training plays the same tasks several times, with what their earlier trials left."""

from __future__ import annotations

import torch

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.recurring_training import NUM_EXPOSURES, RecurringTraining
from agent.learners.rl2.trials import TrialBatch
from envs.family import FamilySource, FamilySpec
from envs.registry import open_tasks

SPEC = FamilySpec(name="recurring", source=FamilySource.TENSOR, entry="recurring_bandits", episodes_per_trial=2)


def training_of(seed: int = 0) -> RecurringTraining:
    learner = RL2Learner(RL2Config(hidden_size=8, input_size=8), device="cpu", seed=seed)
    tasks = open_tasks(SPEC, None, num_trials=8, device="cpu")
    learner.add_family(SPEC.name, tasks.spaces)
    return RecurringTraining(learner, SPEC.name, tasks)


def rounds_of(batches: list[TrialBatch]) -> list[list[TrialBatch]]:
    """Split successive batches at the empty starts."""
    rounds: list[list[TrialBatch]] = []
    for batch in batches:
        if batch.inputs.recall is None:
            rounds.append([])
        rounds[-1].append(batch)
    return rounds


def test_rounds_play_the_same_tasks_once_or_several_times() -> None:
    training = training_of()
    rounds = rounds_of([training.play(16 * number) for number in range(40)])[:-1]
    assert {len(batches) for batches in rounds} == set(NUM_EXPOSURES)
    for batches in rounds:
        assert all(torch.equal(batch.observation[0], batches[0].observation[0]) for batch in batches)
    firsts = [batches[0].observation[0] for batches in rounds]
    assert not torch.equal(firsts[0], firsts[1])


def test_a_recall_counts_the_exposures_and_is_uncertain_only_in_last_trials() -> None:
    training = training_of()
    rounds = rounds_of([training.play(16 * number) for number in range(50)])[:-1]
    uncertain = 0
    for batches in rounds:
        for number, batch in enumerate(batches[1:], start=1):
            assert batch.inputs.recall is not None
            is_met, likeness, exposures, _age = batch.inputs.recall[0].unbind(-1)
            assert is_met.all()
            torch.testing.assert_close(exposures, torch.full((8,), float(number)).log1p() * 0.5)
            is_uncertain = bool((likeness < 1.0).any())
            assert not is_uncertain or number == len(batches) - 1
            uncertain += is_uncertain
    assert 0 < uncertain < len(rounds)


def test_every_batch_can_be_learned_from() -> None:
    training = training_of()
    for number in range(8):
        losses = training.learn(training.play(16 * number), num_epochs=1)
        assert all(torch.isfinite(torch.tensor(list(losses.values()))))


def test_a_new_round_depends_on_no_trials_before() -> None:
    batches = []
    for num_before in (1, 4):
        training = training_of()
        for number in range(num_before):
            training.play(16 * number)
        training.begin_round()
        training._learner.generator.manual_seed(3)
        batches.append([training.play(160), training.play(176)])
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one.log_prob, other.log_prob)
