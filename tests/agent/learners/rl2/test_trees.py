"""Tree functions reach every tensor and keep everything else."""

from __future__ import annotations

import torch

from agent.learners.rl2.policy_state import PolicyInput
from agent.learners.rl2.steps import Steps
from agent.learners.rl2.trees import join_tensors, map_tensors, select_rows, select_trials, tensors_of
from tests.agent.learners.rl2.playing import LENGTHS, learner_for, play
from tests.agent.learners.rl2.scripted_tasks import DISCRETE


def inputs_of(read: torch.Tensor | None) -> PolicyInput:
    return PolicyInput(
        observation=torch.arange(6.0).view(3, 2),
        previous_action=torch.arange(3).unsqueeze(1),
        context=torch.ones(3, 9),
        read=read,
    )


def test_a_missing_part_stays_missing() -> None:
    inputs = inputs_of(None)
    assert len(tensors_of(inputs)) == 3
    assert select_rows(inputs, torch.tensor([0])).read is None
    assert join_tensors(torch.stack, [inputs, inputs]).read is None
    assert tensors_of(None) == []


def test_rows_of_every_tensor_are_selected() -> None:
    found = select_rows((inputs_of(torch.arange(3.0)), torch.arange(3)), torch.tensor([2, 0]))
    assert found[0].observation.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert found[0].read is not None
    assert found[0].read.tolist() == [2.0, 0.0]
    assert found[1].tolist() == [2, 0]


def test_a_trial_batch_keeps_its_spaces_and_its_type_when_it_is_mapped() -> None:
    trials = play(learner_for(DISCRETE), DISCRETE, LENGTHS)
    doubled = map_tensors(lambda values: values.double() if values.is_floating_point() else values, trials)
    assert type(doubled) is type(trials)
    assert doubled.spaces is trials.spaces
    assert doubled.episodes_per_trial == trials.episodes_per_trial
    assert {values.dtype for values in tensors_of(doubled)} == {torch.float64, torch.int64, torch.bool}
    assert torch.equal(doubled.inputs.context.float(), trials.inputs.context)


def test_the_steps_of_a_trial_batch_are_its_own_tensors() -> None:
    trials = play(learner_for(DISCRETE), DISCRETE, LENGTHS)
    assert isinstance(trials, Steps)
    assert type(trials.steps) is Steps
    assert all(getattr(trials.steps, name) is getattr(trials, name) for name in vars(trials.steps))


def test_selecting_trials_cuts_them_to_their_first_steps() -> None:
    values = torch.arange(12).view(4, 3)
    assert select_trials((values, None), torch.tensor([1, 0]), 2)[0].tolist() == [[1, 0], [4, 3]]
