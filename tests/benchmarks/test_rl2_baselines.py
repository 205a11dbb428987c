"""The ceilings that the benchmarks compare with, against numbers known from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.rl2_bandits import bandit_cell
from benchmarks.rl2_baselines import bandits, mdps
from benchmarks.rl2_baselines.bayes_bandits import BayesOptimalBandit
from benchmarks.rl2_baselines.gittins import GittinsIndices
from benchmarks.rl2_mdps import mdp_cell
from envs.family import Split
from envs.registry import open_tasks
from envs.tensor.tabular_mdps import TabularMdps


@pytest.mark.parametrize(("num_arms", "value"), [(5, 6.660), (10, 6.714), (50, 6.714)])
def test_the_bayes_optimal_value_of_ten_pulls_is_the_known_one(num_arms: int, value: float) -> None:
    assert BayesOptimalBandit(num_arms, 10).value() == pytest.approx(value, abs=5e-4)


def test_one_pull_is_worth_its_mean_and_two_of_two_arms_a_little_more() -> None:
    assert BayesOptimalBandit(3, 1).value() == pytest.approx(0.5)
    # Stay after a win (2/3), change after a loss (1/2): .5 + .5 · 2/3 + .5 · 1/2.
    assert BayesOptimalBandit(2, 2).value() == pytest.approx(0.5 + 1 / 3 + 1 / 4)


def test_the_gittins_index_of_the_last_pull_is_the_mean_and_that_of_two_by_hand() -> None:
    indices = GittinsIndices(2)
    np.testing.assert_allclose(indices.table(1)[0, 0], 0.5, atol=1e-6)
    np.testing.assert_allclose(indices.table(1)[1, 0], 2 / 3, atol=1e-6)
    # Two pulls left of an unknown arm: p - λ + p (2/3 - λ) = 0 with p = 1/2, so λ = (1/2 + 1/3) / (3/2).
    np.testing.assert_allclose(indices.table(2)[0, 0], (0.5 + 1 / 3) / 1.5, atol=1e-3)


def test_gittins_plays_ten_pulls_almost_as_well_as_the_dynamic_programme() -> None:
    cell = bandit_cell(5, 10)
    tasks = open_tasks(cell.spec, None, num_trials=1000, device="cpu")
    optimal, index, anything = (
        bandits.play(tasks, policy, first_task=0, split=Split.HELD_OUT, seed=0)
        for policy in (
            bandits.bayes_optimal(BayesOptimalBandit(5, 10)),
            bandits.gittins(GittinsIndices(10)),
            bandits.random,
        )
    )
    assert abs(optimal.mean() - 6.66) < 0.25
    assert abs((index - optimal).mean()) < 0.1
    assert abs(anything.mean() - 5.0) < 0.25


def test_planning_on_the_known_mdp_gets_the_known_optimum_and_nothing_gets_more() -> None:
    tasks = TabularMdps(mdp_cell(2).spec, num_trials=512, device="cpu")

    def mean(policy: mdps.MdpPolicy) -> float:
        return float(mdps.play(tasks, policy, first_task=0, split=Split.HELD_OUT, seed=0).mean()) / 2

    known = mean(mdps.known(tasks))
    assert known == pytest.approx(21.85, abs=0.5)
    for policy in (mdps.greedy, mdps.psrl, mdps.opsrl(3), mdps.beb(3.0), mdps.ucrl2(0.03)):
        assert 9.0 < mean(policy) < known


def test_extended_value_iteration_without_width_is_value_iteration() -> None:
    generator = torch.Generator().manual_seed(0)
    reward = torch.randn(3, 4, 2, generator=generator)
    transition = torch.rand(3, 4, 2, 4, generator=generator).softmax(-1)
    torch.testing.assert_close(
        mdps._optimistic_values(reward, transition, torch.zeros(3, 4, 2), 5),
        mdps.action_values(reward, transition, 5),
        rtol=1e-4,
        atol=1e-5,
    )
    wide = mdps._optimistic_values(reward, transition, torch.full((3, 4, 2), 2.0), 2)
    best_next = reward.amax(-1).amax(-1)
    torch.testing.assert_close(wide[0], reward + best_next[:, None, None], rtol=1e-4, atol=1e-5)
