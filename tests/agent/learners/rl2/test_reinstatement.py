"""A trial begins with what earlier trials of its task left, and an empty start is what it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.parameters import policy_from_initialization
from agent.learners.rl2.recalled_trials import reinstate
from agent.learners.rl2.reinstatement import NUM_RECALL, Reinstated, recall_features
from agent.learners.rl2.rollout import Rollout, play_out
from agent.learners.rl2.trials import TrialBatch, to_records
from envs.family import Split
from envs.spaces import SpacePair
from memory.records import TrialRecord
from memory.retrieval.recall import RecalledTrials
from tests.agent.learners.rl2.playing import LENGTHS, PACKED_LENGTHS, learner_for, play
from tests.agent.learners.rl2.scripted_tasks import ALL_SPACES, VECTOR, ScriptedTasks

each_space = pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
NUM_TRIALS = len(LENGTHS)


def features_of(num_exposures: int, *, likeness: float = 1.0) -> Tensor:
    ones = torch.ones(NUM_TRIALS)
    return recall_features(likeness=ones * likeness, num_exposures=ones * num_exposures, age=torch.zeros(NUM_TRIALS))


def play_again(
    learner: RL2Learner, spaces: SpacePair, reinstated: Reinstated | None, *, exposure: int = 1
) -> tuple[TrialBatch, Reinstated]:
    rollout = Rollout(
        learner.policy,
        ScriptedTasks(spaces, LENGTHS),
        first_task=0,
        split=Split.TRAINING,
        generator=learner.generator,
        reinstated=reinstated,
        leaves_behind=True,
    )
    trials = play_out(learner.policy, rollout, may_pack=False)
    return trials, rollout.left_behind(features_of(exposure))


def records_of(trials: TrialBatch) -> list[TrialRecord]:
    rows = list(range(trials.num_trials))
    return to_records(trials, rows=rows, tasks=[{}] * len(rows))


def open_gates(learner: RL2Learner, spaces: SpacePair) -> None:
    """Give every gate and term an effect, and scales that are not those of the start."""
    with torch.no_grad():
        for parameter in learner.policy.pair(spaces).recall.parameters():
            parameter.uniform_(-0.5, 0.5, generator=learner.generator)


@each_space
def test_an_empty_start_does_not_depend_on_the_recall_gate(spaces: SpacePair) -> None:
    batches, losses = [], []
    for is_open in (False, True):
        learner = learner_for(spaces)
        if is_open:
            open_gates(learner, spaces)
            learner.generator.manual_seed(learner.seed)
        batches.append(play(learner, spaces))
        losses.append(learner.update("scripted", batches[-1]))
    assert torch.equal(batches[0].log_prob, batches[1].log_prob)
    assert losses[0] == losses[1]


@each_space
@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not_reading"])
def test_unrolling_reinstated_trials_gives_the_rollouts_numbers(spaces: SpacePair, reads: bool) -> None:
    learner = learner_for(spaces, reads=reads)
    open_gates(learner, spaces)
    _, left = play_again(learner, spaces, None)
    trials, _ = play_again(learner, spaces, left)
    output = learner.policy.unroll(spaces, trials.inputs, left=trials.left)
    log_prob, _ = output.distribution.log_prob_and_entropy(trials.action)
    valid = trials.is_valid
    torch.testing.assert_close(log_prob[valid], trials.log_prob[valid], rtol=0, atol=1e-5)
    assert trials.features is not None
    torch.testing.assert_close(output.features[valid], trials.features[valid], rtol=0, atol=1e-5)


@each_space
def test_an_update_trains_the_gates_of_what_was_recalled(spaces: SpacePair) -> None:
    learner = learner_for(spaces)
    open_gates(learner, spaces)
    _, left = play_again(learner, spaces, None)
    trials, _ = play_again(learner, spaces, left)
    before = {name: tensor.clone() for name, tensor in learner.policy.pair(spaces).recall.named_parameters()}
    learner.update("scripted", trials)
    for name, tensor in learner.policy.pair(spaces).recall.named_parameters():
        assert not torch.equal(tensor, before[name]), name


@each_space
@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not_reading"])
def test_stored_trials_give_what_the_live_trials_left(spaces: SpacePair, reads: bool) -> None:
    learner = learner_for(spaces, reads=reads)
    open_gates(learner, spaces)
    first, left = play_again(learner, spaces, None)
    second, live = play_again(learner, spaces, left, exposure=2)
    pairs = zip(records_of(first), records_of(second), strict=True)
    found = reinstate(learner.policy, spaces, [RecalledTrials(trials=pair) for pair in pairs])
    assert found is not None
    torch.testing.assert_close(found.hidden, live.hidden, rtol=0, atol=1e-5)
    assert torch.equal(found.features, live.features)
    observation = ScriptedTasks(spaces, LENGTHS).begin(7, split=Split.TRAINING)
    reads_of = []
    for reinstated in (found, live):
        state = learner.policy.begin(
            spaces, num_trials=NUM_TRIALS, episodes_per_trial=3, device=torch.device("cpu"), reinstated=reinstated
        )
        reads_of.append(learner.policy.look(spaces, state, observation).recalled)
    if reads:
        torch.testing.assert_close(reads_of[0], reads_of[1], rtol=0, atol=1e-5)
    else:
        assert reads_of == [None, None]


@each_space
def test_a_row_does_not_depend_on_what_other_rows_recall(spaces: SpacePair) -> None:
    learner = learner_for(spaces)
    open_gates(learner, spaces)
    first, left = play_again(learner, spaces, None)
    second, _ = play_again(learner, spaces, left)
    one, two = records_of(first), records_of(second)
    mixed = [RecalledTrials(trials=(one[0], two[0])), RecalledTrials(), RecalledTrials(trials=(two[2],), likeness=0.5)]
    together = reinstate(learner.policy, spaces, mixed)
    assert together is not None
    for row, recalled in enumerate(mixed):
        alone = reinstate(learner.policy, spaces, [recalled])
        if alone is None:
            assert not together.features[row].any()
            assert not together.hidden[row].any()
        else:
            torch.testing.assert_close(together.hidden[row], alone.hidden[0], rtol=0, atol=1e-5)
            assert torch.equal(together.features[row], alone.features[0])


def test_a_row_without_a_recall_acts_as_if_it_began_empty() -> None:
    learner = learner_for(VECTOR)
    open_gates(learner, VECTOR)
    _, left = play_again(learner, VECTOR, None)
    nothing = Reinstated(
        memory=learner.policy.begin(VECTOR, num_trials=4, episodes_per_trial=3, device=torch.device("cpu")).memory,
        hidden=torch.zeros_like(left.hidden),
        features=torch.zeros(NUM_TRIALS, NUM_RECALL),
    )
    batches = []
    for reinstated in (None, nothing):
        learner.generator.manual_seed(5)
        batches.append(play_again(learner, VECTOR, reinstated)[0])
    torch.testing.assert_close(batches[0].log_prob, batches[1].log_prob, rtol=0, atol=1e-6)


def test_what_a_trial_begins_with_is_not_changed_by_it() -> None:
    learner = learner_for(VECTOR)
    _, left = play_again(learner, VECTOR, None)
    batches = []
    for _ in range(2):
        learner.generator.manual_seed(5)
        batches.append(play_again(learner, VECTOR, left)[0])
    assert torch.equal(batches[0].log_prob, batches[1].log_prob)


def test_the_gate_of_reads_follows_the_likeness_at_first() -> None:
    gate = learner_for(VECTOR).policy.pair(VECTOR).recall
    read, recalled = torch.zeros(NUM_TRIALS, 1, 1), torch.ones(NUM_TRIALS, 1, 1)
    with torch.no_grad():
        mixed = [float(gate.read(features_of(1, likeness=of), read, recalled)[0]) for of in (0.0, 0.5, 1.0)]
    assert mixed == pytest.approx([0.018, 0.5, 0.982], abs=0.001)


def test_parameters_from_before_the_recall_gate_open_with_a_new_one() -> None:
    learner = learner_for(VECTOR)
    play_and_learn(learner)
    tensors = {name: tensor for name, tensor in learner.to_tensors().items() if "recall" not in name}
    restored = RL2Learner.from_tensors(learner.config, tensors, learner.to_meta(), device="cpu")
    assert torch.equal(play(restored, VECTOR).log_prob, play(learner, VECTOR).log_prob)
    published = {name: tensor for name, tensor in learner.initialization().items() if "recall" not in name}
    policy = policy_from_initialization(learner.config, published, [VECTOR])
    new = learner_for(VECTOR).policy.pair(VECTOR).recall.state_dict()
    assert all(torch.equal(tensor, new[name]) for name, tensor in policy.pair(VECTOR).recall.state_dict().items())


def play_and_learn(learner: RL2Learner) -> None:
    learner.update("scripted", play(learner, VECTOR))


def test_a_rollout_that_drops_rows_does_not_say_what_its_trials_left() -> None:
    learner = learner_for(VECTOR)
    rollout = Rollout(
        learner.policy,
        ScriptedTasks(VECTOR, PACKED_LENGTHS),
        first_task=0,
        split=Split.TRAINING,
        generator=learner.generator,
        leaves_behind=True,
    )
    play_out(learner.policy, rollout)
    with pytest.raises(RuntimeError, match="drop no rows"):
        rollout.left_behind(features_of(1))
