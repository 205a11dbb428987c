"""The return's gradient: its advantages by hand, its sums whatever the chunks, and the way it points."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agent.learners.rl2 import return_gradient as module
from agent.learners.rl2.return_gradient import fitted_advantages, return_gradient
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.trials import TrialBatch
from envs.family import Split
from envs.spaces import SpacePair
from tests.agent.learners.rl2.scripted_tasks import ALL_SPACES, DISCRETE, ScriptedTasks
from tests.agent.learners.rl2.test_rollout import LENGTHS, learner_for, play


def _trials(reward: list[list[float]], features: list[list[list[float]]]) -> TrialBatch:
    """Trials with these rewards, terminated at the end, judged by these features."""
    played = play(learner_for(DISCRETE), DISCRETE, [[len(reward)]] * len(reward[0]))
    judged = torch.tensor(features)
    return replace(played, reward=torch.tensor(reward), features=judged, cut_features=judged.new_empty(0, 1))


def test_advantages_by_hand() -> None:
    """Two trials of two steps, γ = λ = 1, a feature that tells the steps apart: the baseline is each step's mean.

    Returns to go are 4, 3 and 0, 1; their means 2 and 2; so are the advantages 2, 1, -2, -1, and their mean square 2.5.
    """
    trials = _trials([[1.0, -1.0], [3.0, 1.0]], [[[1.0], [1.0]], [[0.0], [0.0]]])
    found = fitted_advantages(trials, discount=1.0, gae_lambda=1.0)
    assert torch.allclose(found, torch.tensor([[2.0, -2.0], [1.0, -1.0]]) / 2.5**0.5, atol=5e-3)


def test_padding_has_no_advantage_and_what_is_in_it_changes_nothing() -> None:
    trials = play(learner_for(DISCRETE), DISCRETE, LENGTHS)
    assert not trials.is_valid.all()
    found = fitted_advantages(trials, discount=0.9, gae_lambda=0.8)
    assert (found[~trials.is_valid] == 0).all()
    assert trials.features is not None
    spoiled = trials.features.masked_fill(~trials.is_valid.unsqueeze(-1), 1e6)
    assert torch.equal(found, fitted_advantages(replace(trials, features=spoiled), discount=0.9, gae_lambda=0.8))


@pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
def test_the_gradient_is_autograds_of_the_mean_surrogate_whatever_the_chunks(
    spaces: SpacePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = learner_for(spaces)
    trials = play(learner, spaces, LENGTHS)
    advantage = fitted_advantages(trials, discount=0.9, gae_lambda=0.8)
    output = learner.policy.unroll(spaces, trials.inputs)
    log_prob = output.distribution.log_prob(trials.action)
    (log_prob * advantage)[trials.is_valid].mean().backward()  # type: ignore[no-untyped-call]
    monkeypatch.setattr(module, "CHUNK_STEPS", 2 * trials.num_steps)
    found = return_gradient(learner.policy, trials, discount=0.9, gae_lambda=0.8)
    for name, parameter in learner.policy.named_parameters():
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert torch.allclose(found[name], expected, atol=1e-6), name
    assert any(bool(part.abs().sum() > 0) for part in found.values())


def test_a_small_step_along_it_makes_what_paid_likelier() -> None:
    learner = learner_for(DISCRETE)
    trials = play(learner, DISCRETE, LENGTHS)

    def surrogate() -> float:
        log_prob = learner.policy.unroll(DISCRETE, trials.inputs).distribution.log_prob(trials.action)
        advantage = fitted_advantages(trials, discount=0.9, gae_lambda=0.8)
        return float((log_prob.detach() * advantage).sum())

    before = surrogate()
    gradient = return_gradient(learner.policy, trials, discount=0.9, gae_lambda=0.8)
    with torch.no_grad():
        for name, parameter in learner.policy.named_parameters():
            parameter.add_(gradient[name], alpha=1e-2)
    assert surrogate() > before


def test_held_out_trials_give_no_gradient() -> None:
    learner = learner_for(DISCRETE)
    trials = collect_trials(
        learner.policy,
        ScriptedTasks(DISCRETE, LENGTHS),
        first_task=0,
        split=Split.HELD_OUT,
        generator=learner.generator,
    )
    with pytest.raises(ValueError, match="held out"):
        return_gradient(learner.policy, trials, discount=0.9, gae_lambda=0.8)
