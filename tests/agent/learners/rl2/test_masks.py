"""Action masks: they are honoured in the rollout, in the update, and when stored trials are rehearsed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.packing import lay_out, stretches_of
from agent.learners.rl2.rehearsal.lessons import divergences, join_lessons, lesson_of
from agent.learners.rl2.rehearsal.past_trials import PastTrials, past_trials
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.trials import TrialBatch, to_records
from envs.family import Split
from envs.spaces import SpacePair
from envs.task_batch import MaskedTaskBatch
from memory.files.episode_codec import pack_episode, unpack_episode
from memory.records import TrialRecord
from tests.agent.learners.rl2.playing import LENGTHS, PACKED_LENGTHS, learner_for, play
from tests.agent.learners.rl2.scripted_tasks import DISCRETE, MIXED, VECTOR, WIDE, MaskedTasks

each_space = pytest.mark.parametrize(
    "spaces", [DISCRETE, VECTOR, WIDE, MIXED], ids=["discrete", "vector", "multi_discrete", "mixed"]
)


def play_masked(
    learner: RL2Learner, spaces: SpacePair, lengths: list[list[int]] = LENGTHS, *, is_greedy: bool = False
) -> TrialBatch:
    """Play tasks that refuse actions that are not allowed."""
    tasks = MaskedTasks(spaces, lengths)
    assert isinstance(tasks, MaskedTaskBatch)
    return collect_trials(
        learner.policy,
        tasks,
        first_task=0,
        split=Split.TRAINING,
        generator=learner.generator,
        is_greedy=is_greedy,
    )


def stored(trials: TrialBatch) -> PastTrials:
    """Return trials as rehearsal gets them from the store."""
    rows = list(range(trials.num_trials))
    records = to_records(trials, rows=rows, tasks=[{} for _ in rows], decisions=trials.decisions)
    unpacked = [tuple(unpack_episode(pack_episode(episode)) for episode in record.episodes) for record in records]
    given = [TrialRecord(task={}, episodes=episodes) for episodes in unpacked]
    return past_trials(given, trials.spaces, device=torch.device("cpu"))


@each_space
@pytest.mark.parametrize("is_greedy", [False, True], ids=["drawn", "greedy"])
def test_a_rollout_takes_allowed_actions_alone(spaces: SpacePair, is_greedy: bool) -> None:
    play_masked(learner_for(spaces), spaces, PACKED_LENGTHS, is_greedy=is_greedy)


@each_space
def test_an_update_computes_the_log_probabilities_of_the_rollout(spaces: SpacePair) -> None:
    learner = learner_for(spaces)
    trials = play_masked(learner, spaces, PACKED_LENGTHS)
    rows = trials.lengths.argsort(descending=True, stable=True)
    stretches = stretches_of(trials.lengths[rows].tolist())
    inputs, action, expected, is_valid = (
        lay_out(part, rows, stretches) for part in (trials.inputs, trials.action, trials.log_prob, trials.is_valid)
    )
    log_prob, entropy = learner.policy.unroll_stretches(spaces, inputs, stretches).distribution.log_prob_and_entropy(
        action
    )
    torch.testing.assert_close(log_prob[is_valid], expected[is_valid], rtol=0, atol=1e-5)
    assert entropy[is_valid].isfinite().all()
    assert all(torch.tensor(list(learner.update("scripted", trials).values())).isfinite())
    assert learner.is_finite()


def test_a_forbidden_choice_gets_no_gradient() -> None:
    learner = learner_for(VECTOR)
    trials = play_masked(learner, VECTOR)
    allowed = torch.tensor([True, False]).expand_as(trials.inputs.allowed)
    distribution = learner.policy.unroll(VECTOR, replace(trials.inputs, allowed=allowed)).distribution
    log_prob, entropy = distribution.log_prob_and_entropy(torch.zeros_like(trials.action))
    (log_prob.sum() + entropy.sum()).backward()
    assert float(log_prob.detach().abs().max()) == float(entropy.detach().abs().max()) == 0.0
    assert float(learner.policy.pair(VECTOR).head.weight.grad.abs().max()) == 0.0


@each_space
def test_rehearsal_knows_the_masks_of_stored_trials(spaces: SpacePair) -> None:
    learner = learner_for(spaces)
    trials = play_masked(learner, spaces)
    lesson = lesson_of(learner.policy, stored(trials), family=0)
    assert lesson.inputs.allowed is not None
    valid = trials.is_valid
    assert torch.equal(lesson.inputs.allowed[valid], trials.inputs.allowed[valid])
    with torch.no_grad():
        sums, steps = divergences(learner.policy, lesson, torch.arange(len(LENGTHS)), num_families=1)
    assert abs(float(sums / steps)) < 1e-5  # decisions are stored with 11 bits


def test_trials_with_and_without_masks_are_rehearsed_together() -> None:
    learner = learner_for(VECTOR)
    lessons = [
        lesson_of(learner.policy, stored(trials), family=family)
        for family, trials in enumerate((play_masked(learner, VECTOR), play(learner, VECTOR, [[9, 9, 9]])))
    ]
    assert lessons[1].inputs.allowed is None
    joined = join_lessons(*lessons)
    with torch.no_grad():
        sums, steps = divergences(learner.policy, joined, torch.arange(5), num_families=2)
    assert steps.tolist() == [int(lesson.is_valid.sum()) for lesson in lessons]
    assert float((sums / steps).abs().max()) < 1e-5
