from __future__ import annotations

import numpy as np
import pytest
import torch

from agent.learners.rl2.pair import CHANGE_SCALE, MAX_OBSERVATION
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.trials import (
    episode_returns,
    num_env_steps,
    num_episodes,
    to_records,
    trial_returns,
)
from envs.family import Split
from envs.spaces import SpacePair
from memory.retrieval.digests import observation_digests
from tests.agent.learners.rl2.playing import LENGTHS, learner_for, play
from tests.agent.learners.rl2.scripted_tasks import ALL_SPACES, DISCRETE, VECTOR, ScriptedTasks


@pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not_reading"])
def test_unrolling_gives_the_rollouts_log_probabilities_and_features(spaces: SpacePair, reads: bool) -> None:
    learner = learner_for(spaces, reads=reads)
    for first_task in range(2):  # the second time the inputs' scales are no longer those of the start
        trials = play(learner, spaces, first_task=first_task)
        output = learner.policy.unroll(spaces, trials.inputs)
        log_prob, _ = output.distribution.log_prob_and_entropy(trials.action)
        valid = trials.is_valid
        torch.testing.assert_close(log_prob[valid], trials.log_prob[valid], rtol=0, atol=1e-5)
        assert trials.features is not None
        torch.testing.assert_close(output.features[valid], trials.features[valid], rtol=0, atol=1e-5)
        learner.update("scripted", trials)


def test_each_trial_is_as_long_as_its_episodes_and_then_padded() -> None:
    trials = play(learner_for(VECTOR), VECTOR)
    assert trials.lengths.tolist() == [9, 3, 14, 5]
    assert trials.num_steps == 14
    assert num_env_steps(trials) == 31
    assert num_episodes(trials) == 12
    assert trials.episode_index[:9, 0].tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]


def test_the_hidden_state_is_zero_at_a_trials_start_and_carried_over_its_episodes() -> None:
    learner = learner_for(VECTOR, reads=False)
    seen: list[torch.Tensor] = []
    step = learner.policy.step

    def watched(spaces: SpacePair, inputs: object, hidden: torch.Tensor, constants: object) -> object:
        seen.append(hidden.clone())
        return step(spaces, inputs, hidden, constants)  # type: ignore[arg-type]

    learner.policy.step = watched  # type: ignore[method-assign, assignment]
    lengths = [[3, 2], [1, 4]]
    for _trial in range(2):
        seen.clear()
        play(learner, VECTOR, lengths)
        assert torch.equal(seen[0], torch.zeros_like(seen[0]))
        assert all((hidden != 0).any(-1).all() for hidden in seen[1:])


def test_another_trials_length_changes_nothing_of_a_trial() -> None:
    learner = learner_for(VECTOR)
    learner.generator.manual_seed(5)
    short = play(learner, VECTOR, [[3, 2], [1, 1]])
    learner.generator.manual_seed(5)
    long = play(learner, VECTOR, [[3, 2], [1, 9]])
    for name in ("action", "reward", "log_prob", "episode_index"):
        assert torch.equal(getattr(short, name)[:5, 0], getattr(long, name)[:5, 0]), name


def test_the_look_at_a_cut_episodes_last_observation_disturbs_nothing() -> None:
    # Held-out trials take no such look: they are the same trials.
    learner = learner_for(VECTOR)
    batches = []
    for split in (Split.TRAINING, Split.HELD_OUT):
        learner.generator.manual_seed(5)
        batches.append(play(learner, VECTOR, split=split))
    assert torch.equal(batches[0].log_prob, batches[1].log_prob)
    assert torch.equal(batches[0].reward, batches[1].reward)


@pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
def test_a_cut_is_judged_as_if_its_episode_went_on(spaces: SpacePair) -> None:
    learner = learner_for(spaces)
    cut, whole = ([[2, -3, 4]], [[2, 5, 4]])
    trials = []
    for lengths in (cut, whole):
        learner.generator.manual_seed(5)
        trials.append(play(learner, spaces, lengths))
    assert trials[0].cut_features is not None
    assert trials[1].features is not None
    assert torch.equal(trials[0].final_observation[1], trials[1].observation[5, 0])
    torch.testing.assert_close(trials[0].cut_features, trials[1].features[5], rtol=0, atol=1e-5)


def test_a_cut_is_judged_by_its_true_last_observation_and_the_hidden_state_after_the_step() -> None:
    learner = learner_for(VECTOR, reads=False)
    trials = play(learner, VECTOR, [[-3, 2]])
    assert trials.cut is not None
    assert trials.cut_features is not None
    assert trials.cut.tolist() == [2]
    hidden = learner.policy.unroll(VECTOR, trials.inputs).hidden[2]
    pair = learner.policy.pair(VECTOR)
    # The next input, had the episode gone on: no end is marked, the step counts on.
    context = trials.inputs.context[2].clone()
    context[:, 0] = torch.sign(trials.reward[2]) * trials.reward[2].abs().log1p()
    context[:, 4], context[:, 5] = torch.tensor(4.0).log() * 0.25, 0.25
    inputs = type(trials.inputs)(
        observation=trials.final_observation[:1],
        previous_action=trials.action[2].unsqueeze(-1),
        context=context,
        read=None,
        change=pair.changes(
            trials.final_observation[:1],
            previous=trials.observation[2],
            action=trials.action[2].unsqueeze(-1),
            is_within_episode=torch.tensor([True]),
        ),
    )
    expected = learner.policy.step(VECTOR, inputs, hidden).features
    assert pair.reward_scale.spread.item() == 1.0
    torch.testing.assert_close(trials.cut_features, expected, rtol=1e-5, atol=1e-6)


def test_what_the_previous_action_changed_is_an_input_of_the_next_step_of_the_episode() -> None:
    learner = learner_for(VECTOR)
    trials = play(learner, VECTOR, [[2, -2, 1]])
    assert trials.inputs.change is not None
    num_actions = sum(VECTOR.action.choices)
    by_action = trials.inputs.change[:, 0].view(len(trials.reward), num_actions, -1)
    change = (trials.observation[1:, 0] - trials.observation[:-1, 0]) * CHANGE_SCALE
    for step, (action, is_new_episode) in enumerate(
        zip(trials.action[:-1, 0].tolist(), [False, True, False, True], strict=True), start=1
    ):
        expected = torch.zeros_like(by_action[step])
        if not is_new_episode:
            expected[action] = change[step - 1].clamp(-MAX_OBSERVATION, MAX_OBSERVATION)
        torch.testing.assert_close(by_action[step], expected)
    assert not by_action[0].any()


def test_the_previous_action_reward_and_end_are_inputs_of_the_next_step() -> None:
    trials = play(learner_for(VECTOR), VECTOR, [[2, -2, 1]])
    context = trials.inputs.context[:, 0]
    assert torch.equal(trials.inputs.previous_action[1:, 0, 0], trials.action[:-1, 0])
    rewards = trials.reward[:-1, 0]
    torch.testing.assert_close(context[1:, 0], rewards.sign() * rewards.abs().log1p())
    assert context[:, 1].tolist() == [0, 0, 1, 0, 0]
    assert context[:, 2].tolist() == [0, 0, 0, 0, 1]
    assert context[:, 3].tolist() == [0, 1, 1, 1, 1]


def test_returns_are_summed_by_episode_and_by_trial() -> None:
    trials = play(learner_for(DISCRETE), DISCRETE)
    by_episode = episode_returns(trials)
    assert by_episode.shape == (3, 4)
    torch.testing.assert_close(by_episode.sum(0), trial_returns(trials))
    torch.testing.assert_close(by_episode[1, 0], trials.reward[3:5, 0].sum())


@pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
def test_records_hold_each_episode_with_its_true_last_observation(spaces: SpacePair) -> None:
    tasks, learner = ScriptedTasks(spaces, LENGTHS), learner_for(spaces)
    trials = collect_trials(learner.policy, tasks, first_task=0, split=Split.TRAINING, generator=learner.generator)
    records = to_records(trials, rows=[2, 0], tasks=tasks.describe_tasks([2, 0]))
    assert records[0].task == {"row": 2}
    assert [len(episode.rewards) for episode in records[0].episodes] == [5, 6, 3]
    assert [episode.is_terminated for episode in records[0].episodes] == [False, True, False]
    first, second = records[1].episodes[:2]
    assert first.observations.shape == (4, spaces.observation.width)
    of_row = (trials.end % 4 == 0).nonzero().squeeze(1)
    assert torch.equal(torch.from_numpy(first.observations[-1]), trials.final_observation[of_row[0]])
    assert torch.equal(torch.from_numpy(second.actions), trials.action[3:5, 0])


def test_records_have_the_decisions_of_their_own_steps_and_the_slots_of_their_trials() -> None:
    trials, tasks = play(learner_for(DISCRETE), DISCRETE), ScriptedTasks(DISCRETE, LENGTHS).describe_tasks([2, 0])
    decisions = torch.arange(2.0 * trials.reward.numel()).reshape(*trials.reward.shape, 2)
    records = to_records(trials, rows=[2, 0], tasks=tasks, decisions=decisions, slots=[None, 7])
    assert [record.rehearsal_slot for record in records] == [None, 7]
    for record, row in zip(records, (2, 0), strict=True):
        start = 0
        for episode in record.episodes:
            end = start + len(episode.rewards)
            assert episode.decisions is not None
            assert episode.decisions.dtype == np.float16
            assert episode.decisions.tolist() == decisions[start:end, row].tolist()
            start = end


def test_records_without_decisions_or_slots_have_none() -> None:
    trials, tasks = play(learner_for(DISCRETE), DISCRETE), ScriptedTasks(DISCRETE, LENGTHS).describe_tasks([2, 0])
    for record in to_records(trials, rows=[2, 0], tasks=tasks):
        assert record.rehearsal_slot is None
        assert all(episode.decisions is None for episode in record.episodes)


def test_records_have_the_digest_of_the_given_context_or_of_the_first_observation() -> None:
    tasks, learner = ScriptedTasks(VECTOR, LENGTHS), learner_for(VECTOR)
    trials = collect_trials(learner.policy, tasks, first_task=0, split=Split.TRAINING, generator=learner.generator)
    given = b"given by the env"
    records = to_records(trials, rows=[2, 0], tasks=tasks.describe_tasks([2, 0]), contexts=[None, given])
    [seen] = observation_digests(trials.observation[0, 2:3].numpy())
    assert [record.context and record.context.digest for record in records] == [seen, given]
    assert records[0].context is not None
    assert records[0].context.embedding is None


def test_progress_may_abandon_the_trials() -> None:
    told: list[int] = []

    def stop_at_ten(num_steps: int) -> None:
        told.append(num_steps)
        if num_steps >= 10:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        play(learner_for(VECTOR), VECTOR, progress=stop_at_ten)
    assert told == sorted(told)
    assert told[0] == 4


def test_progress_is_told_the_steps_so_far() -> None:
    told: list[int] = []
    trials = play(learner_for(VECTOR), VECTOR, progress=told.append)
    assert told == trials.is_valid.sum(1).cumsum(0).tolist()
    assert told[-1] == num_env_steps(trials)


def test_greedy_trials_take_the_likeliest_action() -> None:
    learner = learner_for(VECTOR)
    trials = play(learner, VECTOR, split=Split.HELD_OUT, is_greedy=True)
    scores = learner.policy.unroll(VECTOR, trials.inputs).distribution.scores
    assert torch.equal(scores.argmax(-1)[trials.is_valid], trials.action[trials.is_valid])


def test_shorter_trials_end_early_and_the_policy_is_told_so() -> None:
    trials = play(learner_for(VECTOR), VECTOR, num_episodes=2)
    assert trials.lengths.tolist() == [5, 2, 11, 4]
    assert trials.episodes_per_trial == 2
    assert trials.inputs.context[0, :, -1].tolist() == [1.0] * 4
    assert trials.inputs.context[4, 0, -1] == 0.5


def test_a_first_reward_after_none_at_all_stays_bounded() -> None:
    pair = learner_for(VECTOR).policy.pair(VECTOR)
    pair.reward_scale.update(torch.zeros(100, 1), is_centred=False)
    assert pair.scale_reward(torch.tensor([0.0, 1.0, -1e9])).tolist() == [0.0, 10.0, -10.0]
