from __future__ import annotations

import torch
from torch import Tensor

from agent.learners.rl2.advantages import BATCH_WEIGHT, about_usual, trial_advantages


def advantages(
    rewards: list[float],
    values: list[float],
    *,
    cuts: dict[int, float] | None = None,
    num_valid: int | None = None,
    discount: float = 0.5,
    gae_lambda: float = 0.5,
) -> list[float]:
    num_steps, cuts = len(rewards), cuts or {}
    final_value, truncated = torch.zeros(num_steps, 1), torch.zeros(num_steps, 1, dtype=torch.bool)
    for step, value in cuts.items():
        final_value[step], truncated[step] = value, True
    is_valid = (torch.arange(num_steps) < (num_steps if num_valid is None else num_valid)).unsqueeze(1)
    computed: Tensor = trial_advantages(
        reward=torch.tensor(rewards).float().unsqueeze(1),
        value=torch.tensor(values).float().unsqueeze(1),
        final_value=final_value,
        truncated=truncated,
        is_valid=is_valid,
        discount=discount,
        gae_lambda=gae_lambda,
    )
    return computed.squeeze(1).tolist()


def test_three_steps_by_hand() -> None:
    # δ = 1 + .5·2 - 4 = -2;  2 + .5·6 - 2 = 3;  3 - 6 = -3.   A_2 = -3, A_1 = 3 - .75 = 2.25, A_0 = -2 + .5625
    assert advantages([1, 2, 3], [4, 2, 6]) == [-1.4375, 2.25, -3.0]


def test_a_termination_inside_the_trial_is_followed_by_the_next_episode() -> None:
    # Nothing marks it: what is acted on next is the first observation of the next episode, and its value is v_{t+1}.
    assert advantages([1, 2, 3], [4, 2, 6])[0] == -2 + 0.25 * 2.25


def test_a_cut_inside_the_trial_gives_back_what_it_took_and_the_return_still_flows_on() -> None:
    # δ_0 = 1 + .5·10 - 4 = 2 with the value 10 of the true last observation instead of v_1 = 2.
    plain = advantages([1, 2, 3], [4, 2, 6])
    cut = advantages([1, 2, 3], [4, 2, 6], cuts={0: 10.0})
    assert cut == [2.0 + 0.25 * 2.25, 2.25, -3.0]
    assert cut[0] - plain[0] == 0.5 * (10.0 - 2.0)


def test_a_trial_whose_last_episode_is_cut_bootstraps_from_its_true_last_observation() -> None:
    assert advantages([1, 2], [4, 2], cuts={1: 8.0})[1] == 2 + 0.5 * 8 - 2


def test_a_trial_whose_last_episode_terminates_has_nothing_after_it() -> None:
    assert advantages([1, 2], [4, 2])[1] == 2 - 2


def test_padding_touches_nothing_and_has_no_advantage() -> None:
    padded = advantages([1, 2, 3, 77, 88], [4, 2, 6, 99, 11], num_valid=3)
    assert padded == [-1.4375, 2.25, -3.0, 0.0, 0.0]


def test_with_lambda_one_the_advantage_is_the_discounted_return_less_the_value() -> None:
    computed = advantages([1, 2, 3], [4, 2, 6], discount=0.9, gae_lambda=1.0)
    assert abs(computed[0] - (1 + 0.9 * 2 + 0.81 * 3 - 4)) < 1e-6


def test_what_all_trials_gain_at_a_step_makes_nothing_likelier() -> None:
    draw = torch.Generator().manual_seed(0)
    is_valid = torch.ones(6, 4_000, dtype=torch.bool)
    advantage = torch.randn(6, 4_000, generator=draw)
    lag = torch.tensor([9.0, 5.0, -3.0, 0.0, 40.0, -7.0]).unsqueeze(1)
    found, lagging = about_usual(advantage, is_valid), about_usual(advantage + lag, is_valid)
    torch.testing.assert_close(lagging, found, rtol=0.0, atol=0.1)
    torch.testing.assert_close(found, advantage, rtol=0.0, atol=0.1)


def test_where_few_trials_are_left_the_batchs_mean_counts_more() -> None:
    is_valid = torch.tensor([[True, True, True, True], [True, False, False, False]])
    advantage = torch.tensor([[1.0, 2.0, 3.0, 4.0], [10.0, 0.0, 0.0, 0.0]])
    mean = 20.0 / 5
    first, second = (10.0 + BATCH_WEIGHT * mean) / (4 + BATCH_WEIGHT), (10.0 + BATCH_WEIGHT * mean) / (1 + BATCH_WEIGHT)
    expected = torch.tensor([[1.0 - first, 2.0 - first, 3.0 - first, 4.0 - first], [10.0 - second, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(about_usual(advantage, is_valid), expected)
