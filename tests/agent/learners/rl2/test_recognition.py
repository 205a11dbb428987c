"""A memory is asked again within trials, which then go on as if they had begun with what it recalls."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.recalled_trials import RecalledStarts, run_again
from agent.learners.rl2.recognition import Recognition
from agent.learners.rl2.reinstatement import recall_features
from agent.learners.rl2.rollout import Rollout, play_out
from agent.learners.rl2.stored_steps import StoredSteps, steps_of_trial, trial_of_steps
from agent.learners.rl2.trees import join_tensors
from agent.learners.rl2.trials import TrialBatch, to_records
from envs.family import Split
from envs.spaces import SpacePair
from memory.records import TrialRecord
from memory.retrieval.recall import RecalledTrials
from tests.agent.learners.rl2.playing import LENGTHS, learner_for, play
from tests.agent.learners.rl2.scripted_tasks import ALL_SPACES, DISCRETE, VECTOR, ScriptedTasks

each_space = pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
NUM_TRIALS = len(LENGTHS)
NAMES = [bytes([row]) for row in range(NUM_TRIALS)]


class KnowsLater:
    """A memory that recalls nothing at first, and when it is asked again, the trials of that name.

    Args:
        trials: the trials of each name.
        after: the numbers of steps after which it is asked again.
    """

    last_asked = None

    def __init__(self, trials: dict[bytes, RecalledTrials], *, after: tuple[int, ...]) -> None:
        self._trials, self._after = trials, after
        self.begun: dict[bytes, list[TrialRecord]] = {}

    def is_asked_again(self, num_steps: int, *, has_ended: bool) -> bool:
        return num_steps in self._after

    def find(self, first_observation: Any, *, context: bytes | None = None, begun: TrialRecord | None = None) -> Any:
        assert context is not None
        if begun is None:
            return RecalledTrials()
        self.begun.setdefault(context, []).append(begun)
        return self._trials.get(context, RecalledTrials())


def learner_with_open_gates(spaces: SpacePair) -> RL2Learner:
    learner = learner_for(spaces)
    with torch.no_grad():
        for parameter in learner.policy.pair(spaces).recall.parameters():
            parameter.uniform_(-0.5, 0.5, generator=learner.generator)
    return learner


def earlier_trials(learner: RL2Learner, spaces: SpacePair) -> list[TrialRecord]:
    trials = play(learner, spaces, first_task=5)
    return to_records(trials, rows=list(range(NUM_TRIALS)), tasks=[{}] * NUM_TRIALS)


def rollout_with(learner: RL2Learner, spaces: SpacePair, memory: KnowsLater) -> tuple[Rollout, Recognition]:
    tasks = ScriptedTasks(spaces, LENGTHS)
    recognition = Recognition(
        memory,
        RecalledStarts(learner.policy, spaces),
        first_observation=tasks.begin(0, split=Split.TRAINING),
        contexts=NAMES,
        episodes_per_trial=tasks.spec.episodes_per_trial,
    )
    rollout = Rollout(
        learner.policy,
        tasks,
        first_task=0,
        split=Split.TRAINING,
        generator=learner.generator,
        recognition=recognition,
        leaves_behind=True,
    )
    return rollout, recognition


def steps_of(trials: TrialBatch) -> StoredSteps:
    """Return the steps of a batch as a memory stores them, padded by their last step."""
    records = to_records(trials, rows=list(range(NUM_TRIALS)), tasks=[{}] * NUM_TRIALS)
    rows = [steps_of_trial(record) for record in records]

    def padded(steps: StoredSteps, part: str) -> Tensor:
        values = getattr(steps, part)
        missing = trials.num_steps - len(values)
        filling = values[-1:].expand(missing, *values.shape[1:])
        return torch.cat([values, torch.zeros_like(filling) if part == "is_valid" else filling])

    return StoredSteps(**{part: torch.stack([padded(row, part) for row in rows], dim=1) for part in vars(rows[0])})


@each_space
def test_trials_go_on_as_if_they_had_begun_with_what_is_recalled_within_them(spaces: SpacePair) -> None:
    learner = learner_with_open_gates(spaces)
    stored = earlier_trials(learner, spaces)
    known = {name: RecalledTrials(trials=(trial,), likeness=0.7) for name, trial in zip(NAMES, stored, strict=True)}
    del known[NAMES[2]]
    rollout, recognition = rollout_with(learner, spaces, KnowsLater(known, after=(2,)))
    trials = play_out(learner.policy, rollout)
    ones = torch.ones(NUM_TRIALS)
    live = rollout.left_behind(recall_features(likeness=ones, num_exposures=ones, age=ones))
    expected = recognition.begin()
    run_again(learner.policy, spaces, expected, steps_of(trials))
    torch.testing.assert_close(live.hidden, expected.hidden, rtol=0, atol=1e-5)
    assert live.memory is not None
    observation = ScriptedTasks(spaces, LENGTHS).begin(9, split=Split.TRAINING)
    seen = learner.policy.pair(spaces).observe(observation, expected.constants)
    torch.testing.assert_close(live.memory.read(seen), expected.memories[1].read(seen), rtol=0, atol=1e-5)


@each_space
def test_trials_of_which_nothing_is_recalled_are_those_of_an_empty_start(spaces: SpacePair) -> None:
    learner = learner_with_open_gates(spaces)
    batches = []
    for memory in (None, KnowsLater({}, after=(1, 2, 4))):
        learner.generator.manual_seed(5)
        if memory is None:
            batches.append(play(learner, spaces))
        else:
            batches.append(play_out(learner.policy, rollout_with(learner, spaces, memory)[0]))
    assert torch.equal(batches[0].log_prob, batches[1].log_prob)


def test_a_memory_gets_the_steps_of_the_trial_itself_until_its_last_episode_has_ended() -> None:
    learner, memory = learner_for(DISCRETE), KnowsLater({}, after=(2, 3, 6))
    trials = play_out(learner.policy, rollout_with(learner, DISCRETE, memory)[0])
    lengths = [
        [sum(len(episode.rewards) for episode in begun.episodes) for begun in memory.begun[name]] for name in NAMES
    ]
    assert lengths == [[2, 3, 6], [2], [2, 3, 6], [2, 3]], "the trials have 9, 3, 14 and 5 steps"
    played = to_records(trials, rows=list(range(NUM_TRIALS)), tasks=[{}] * NUM_TRIALS)
    begun = memory.begun[NAMES[0]][2]
    assert [len(episode.rewards) for episode in begun.episodes] == [3, 2, 1]
    assert [episode.is_terminated for episode in begun.episodes] == [True, False, False]
    for one, other in zip(begun.episodes, played[0].episodes, strict=True):
        taken = len(one.rewards)
        assert (one.rewards == other.rewards[:taken]).all()
        assert (one.observations == other.observations[: taken + 1]).all()
        assert (one.actions == other.actions[:taken]).all()


def _num_steps(trial: TrialRecord) -> int:
    return sum(len(episode.rewards) for episode in trial.episodes)


def test_a_recall_that_is_hardly_more_likely_changes_no_state() -> None:
    learner = learner_for(VECTOR)
    [trial, *_] = earlier_trials(learner, VECTOR)
    memory = KnowsLater({}, after=(1, 2, 3))
    rollout, recognition = rollout_with(learner, VECTOR, memory)
    states = []
    for likeness in (0.5, 0.55, 0.7):
        memory._trials = {name: RecalledTrials(trials=(trial,), likeness=likeness) for name in NAMES}
        rollout.step()
        states.append(rollout._state)
    assert states[0] is states[1]
    assert states[1] is not states[2]
    assert recognition.recalled[0].likeness == 0.7


def test_trials_that_are_run_again_in_advance_give_the_same_states() -> None:
    learner = learner_with_open_gates(VECTOR)
    one, two, three, _ = earlier_trials(learner, VECTOR)
    recalled = [
        RecalledTrials(trials=(two,), likeness=0.4, age=3.0),
        RecalledTrials(),
        RecalledTrials(trials=(one, two)),
    ]
    starts, prepared = (RecalledStarts(learner.policy, VECTOR) for _ in range(2))
    prepared.prepare([RecalledTrials(trials=trials) for trials in ((three,), (one, two), (two,))])
    observation = torch.randn(3, 3, generator=learner.generator)
    found = []
    for computed in (starts, prepared):
        state = computed.begin(recalled, episodes_per_trial=3)
        inputs = learner.policy.look(VECTOR, state, observation)
        found.append((state.hidden, inputs.recall, inputs.recalled))
    for left, right in zip(*found, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-6)
    unknown = prepared.begin([RecalledTrials(trials=(three, one))], episodes_per_trial=3)
    expected = starts.begin([RecalledTrials(trials=(three, one))], episodes_per_trial=3)
    torch.testing.assert_close(unknown.hidden, expected.hidden)


@each_space
def test_more_trials_may_begin_than_were_run_again_in_advance(spaces: SpacePair) -> None:
    learner = learner_with_open_gates(spaces)
    [trial, *_] = earlier_trials(learner, spaces)
    recalled = RecalledTrials(trials=(trial,))
    prepared = RecalledStarts(learner.policy, spaces)
    prepared.prepare([recalled])
    states = [prepared.begin([recalled] * num_rows, episodes_per_trial=3) for num_rows in (1, 5)]
    one, five = (learner.policy.look(spaces, state, _first_seen(spaces, len(state.hidden))) for state in states)
    for row in range(5):
        torch.testing.assert_close(states[1].hidden[row], states[0].hidden[0])
        torch.testing.assert_close(five.recalled[row], one.recalled[0])


def _first_seen(spaces: SpacePair, num_rows: int) -> Tensor:
    """Return the same first observation in each row."""
    return ScriptedTasks(spaces, LENGTHS).begin(9, split=Split.TRAINING)[:1].expand(num_rows, -1)


def test_trials_that_are_recognised_while_they_are_played_cannot_be_learned_from() -> None:
    learner = learner_for(DISCRETE)
    trials = play_out(learner.policy, rollout_with(learner, DISCRETE, KnowsLater({}, after=()))[0])
    with pytest.raises(ValueError, match="never learned from"):
        learner.update("scripted", trials)


@each_space
def test_steps_and_trials_are_two_forms_of_the_same(spaces: SpacePair) -> None:
    learner = learner_for(spaces)
    for record in earlier_trials(learner, spaces):
        again = trial_of_steps(steps_of_trial(record))
        assert len(again.episodes) == len(record.episodes)
        for one, other in zip(record.episodes, again.episodes, strict=True):
            assert one.is_terminated == other.is_terminated
            for part in ("observations", "actions", "rewards"):
                left, right = getattr(one, part), getattr(other, part)
                assert left.dtype == right.dtype
                assert (left == right).all()


def test_steps_amid_an_episode_are_a_trial_whose_last_episode_did_not_end() -> None:
    learner = learner_for(DISCRETE)
    steps = steps_of_trial(earlier_trials(learner, DISCRETE)[0])
    taken = trial_of_steps(join_tensors(lambda parts: parts[0][:4], [steps]))
    assert [len(episode.rewards) for episode in taken.episodes] == [3, 1]
    assert [episode.is_terminated for episode in taken.episodes] == [True, False]
