"""The one-dimensional families: what they are, that a task is always the same, that ambiguous tasks are ambiguous."""

from __future__ import annotations

import math

import pytest
import torch

from envs.family import Split
from envs.few_shot.sinusoids import ForkedSinusoids, Sinusoids, meta_sgd_sinusoids
from envs.few_shot.tasks import FewShotFamily, FewShotShapes

Family = Sinusoids | ForkedSinusoids
every_family = pytest.mark.parametrize("family", [Sinusoids(), ForkedSinusoids()])


@every_family
def test_a_batch_has_the_familys_shapes(family: Family) -> None:
    checked: FewShotFamily = family
    batch = checked.sample(7, split=Split.TRAINING, first_task=0)
    assert batch.num_tasks == 7
    assert batch.support_x.shape == batch.support_y.shape == (7, family.shots, 1)
    assert batch.query_x.shape == batch.query_y.shape == (7, family.queries, 1)
    assert {t.dtype for t in (batch.support_x, batch.support_y, batch.query_x, batch.query_y)} == {torch.float32}
    assert FewShotShapes.of(family) == FewShotShapes(input_shape=(1,), output_size=1, is_classification=False)


@every_family
def test_a_task_is_the_same_in_batches_of_every_size(family: Family) -> None:
    whole = family.sample(10, split=Split.TRAINING, first_task=5)
    part = family.sample(3, split=Split.TRAINING, first_task=9)
    for name in ("support_x", "support_y", "query_x", "query_y"):
        torch.testing.assert_close(getattr(part, name), getattr(whole, name)[4:7], rtol=0, atol=0)


@every_family
def test_the_splits_share_no_task(family: Family) -> None:
    training = family.sample(500, split=Split.TRAINING, first_task=0)
    held_out = family.sample(500, split=Split.HELD_OUT, first_task=0)
    assert not (training.support_y[:, None, 0] == held_out.support_y[None, :, 0]).any()


def test_a_smaller_support_set_is_the_beginning_of_a_larger_one() -> None:
    few = meta_sgd_sinusoids(shots=5, queries=10).sample(4, split=Split.HELD_OUT, first_task=0)
    many = meta_sgd_sinusoids(shots=20, queries=10).sample(4, split=Split.HELD_OUT, first_task=0)
    torch.testing.assert_close(many.support_x[:, :5], few.support_x, rtol=0, atol=0)
    torch.testing.assert_close(many.support_y[:, :5], few.support_y, rtol=0, atol=0)
    torch.testing.assert_close(many.query_y, few.query_y, rtol=0, atol=0)


@pytest.mark.parametrize("family", [Sinusoids(shots=50), meta_sgd_sinusoids(shots=50, queries=10)])
def test_every_task_is_a_sinusoid_of_the_declared_ranges(family: Sinusoids) -> None:
    batch = family.sample(200, split=Split.TRAINING, first_task=0)
    assert batch.support_x.abs().max() <= 5.0
    fits = []
    for frequency in torch.linspace(*family.frequency, 41).unique():
        basis = torch.cat([torch.sin(frequency * batch.support_x), torch.cos(frequency * batch.support_x)], 2)
        solution = torch.linalg.lstsq(basis.double(), batch.support_y.double()).solution
        residual = (basis.double() @ solution - batch.support_y).square().mean((1, 2))
        fits.append((residual, solution.squeeze(2)))
    residuals = torch.stack([residual for residual, _ in fits])
    best = residuals.argmin(0)
    assert residuals.amin(0).sqrt().max() < (1e-5 if len(fits) == 1 else 0.1)
    waves = torch.stack([solution for _, solution in fits])[best, torch.arange(200)]
    amplitude, phase = waves.norm(dim=1), torch.atan2(waves[:, 1], waves[:, 0])
    assert amplitude.min() > 0.05
    assert amplitude.max() < 5.1
    assert phase.min() > -0.15
    assert phase.max() < math.pi + 0.15
    assert amplitude.mean().item() == pytest.approx(2.55, abs=0.35)


def test_noise_has_its_standard_deviation() -> None:
    clean = ForkedSinusoids(noise_std=0.0).sample(2000, split=Split.TRAINING, first_task=0)
    noisy = ForkedSinusoids(noise_std=0.3).sample(2000, split=Split.TRAINING, first_task=0)
    for name in ("support_y", "query_y"):
        noise = getattr(noisy, name) - getattr(clean, name)
        assert noise.std().item() == pytest.approx(0.3, abs=0.01)
        assert noise.mean().item() == pytest.approx(0.0, abs=0.01)


def test_both_explanations_of_a_forked_task_fit_its_support_set_and_one_its_queries() -> None:
    family = ForkedSinusoids(noise_std=0.0)
    batch = family.sample(500, split=Split.HELD_OUT, first_task=3)
    for explanation in family.explanations(batch.support_x.squeeze(2), split=Split.HELD_OUT, first_task=3):
        torch.testing.assert_close(explanation, batch.support_y.squeeze(2), rtol=0, atol=1e-5)
    goes_on, turns_back = family.explanations(batch.query_x.squeeze(2), split=Split.HELD_OUT, first_task=3)
    is_on, is_back = (
        (explanation - batch.query_y.squeeze(2)).abs().amax(1) < 1e-5 for explanation in (goes_on, turns_back)
    )
    assert (is_on | is_back).all()
    assert is_on.float().mean().item() == pytest.approx(0.5, abs=0.08)
    assert (goes_on - turns_back).square().mean(1).sqrt().median() > 1.0
