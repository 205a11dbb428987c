from __future__ import annotations

import torch

from agent.learners.rl2.normalisation import Normaliser, PopArtCritic


def test_popart_moves_its_scale_without_moving_its_values() -> None:
    critic = PopArtCritic(6, 8, rate=0.1, generator=torch.Generator().manual_seed(0))
    features = torch.randn(50, 6)
    for scale in (1.0, 300.0, 0.01):  # float32: values near 1,500 are known to 1e-4
        before = critic.value(features)
        returns = torch.randn(40) * scale + 5 * scale
        critic.follow(returns, returns)
        torch.testing.assert_close(critic.value(features), before, rtol=0, atol=1e-3 if scale < 1 else 1e-4 * scale)


def test_returns_are_standard_after_the_first_batch() -> None:
    critic = PopArtCritic(6, 8, rate=0.1, generator=torch.Generator().manual_seed(0))
    returns = torch.randn(4000) * 70 + 200
    critic.follow(returns, returns)
    normalised = critic.normalise(returns)
    assert abs(float(normalised.mean())) < 1e-3
    assert abs(float(normalised.std()) - 1.0) < 1e-3


def test_merged_batches_have_the_mean_and_spread_of_all_their_rows() -> None:
    rows = torch.randn(300, 4) * torch.tensor([1.0, 5.0, 0.1, 40.0]) + 3.0
    normaliser = Normaliser(4)
    for batch in rows.split([10, 200, 90]):
        normaliser.update(batch)
    torch.testing.assert_close(normaliser.mean, rows.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(normaliser.spread, rows.std(0, correction=0), rtol=1e-4, atol=1e-4)


def test_a_scale_that_is_not_centred_is_the_root_mean_square() -> None:
    normaliser = Normaliser(1)
    normaliser.update(torch.tensor([[3.0], [4.0]]), is_centred=False)
    assert float(normaliser.mean) == 0.0
    torch.testing.assert_close(normaliser.spread, torch.tensor([12.5]).sqrt())


def test_one_wild_value_does_not_blind_a_scale() -> None:
    scale = Normaliser(1)
    scale.update(torch.randn(1000, 1, generator=torch.Generator().manual_seed(0)))
    before = float(scale.spread)
    scale.update(torch.tensor([[0.5], [3e38], [-3e38]]))
    assert torch.isfinite(scale.variance).all()
    assert float(scale.spread) < 10 * before


def test_a_first_batch_of_wild_values_leaves_a_scale_finite() -> None:
    scale = Normaliser(2)
    scale.update(torch.full((4, 2), 3e38))
    assert torch.isfinite(scale.variance).all()
    assert torch.isfinite(scale.mean).all()


def test_values_are_limited_to_what_the_rewards_so_far_would_give_for_ever() -> None:
    critic = PopArtCritic(3, 4, rate=0.05, generator=torch.Generator().manual_seed(0))
    critic.follow_rewards(torch.tensor([0.5, -2.0]), discount=0.75)
    critic.follow_rewards(torch.tensor([0.0, 0.1]), discount=0.75)
    assert critic.bounded(torch.tensor([-9.0, 1.0, 9.0]), discount=0.75).tolist() == [-8.0, 1.0, 2.0]


def test_no_reward_so_far_means_that_no_value_is_known() -> None:
    critic = PopArtCritic(3, 4, rate=0.05, generator=torch.Generator().manual_seed(0))
    critic.follow_rewards(torch.zeros(5), discount=0.99)
    assert critic.bounded(torch.tensor([-9.0, 9.0]), discount=0.99).tolist() == [0.0, 0.0]


def test_a_scale_that_no_reward_explains_begins_again_and_another_stays() -> None:
    for mean, is_kept in ((100.0, True), (1.8e17, False)):
        critic = PopArtCritic(3, 4, rate=0.05, generator=torch.Generator().manual_seed(0))
        critic.mean.fill_(mean)
        critic.mean_square.fill_(mean**2 + 1.0)
        critic.num_updates.fill_(668.0)
        critic.follow_rewards(torch.tensor([1.0, 0.0]), discount=0.99)
        assert (float(critic.mean), float(critic.num_updates)) == ((mean, 668.0) if is_kept else (0.0, 0.0))
