"""Returns of few-shot tasks, and the return of chance."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from envs.admission import probe
from envs.declaration import few_shot_from_declaration
from envs.errors import EnvsError, FamilySpecError
from envs.family import FamilySpec, Split
from envs.few_shot.returns import chance_of, charted_shots, task_returns, with_shots
from envs.few_shot.sinusoids import Sinusoids
from envs.few_shot.tasks import FewShotBatch, FewShotShapes


def declared(entry: str, *, reference_return: float | None = None, **kwargs: Any) -> FamilySpec:
    return few_shot_from_declaration(entry, learner="maml", kwargs=kwargs, reference_return=reference_return)


def test_a_classification_returns_its_share_of_right_answers() -> None:
    logits = torch.tensor([[[2.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    returns = task_returns(logits, torch.tensor([[0, 1], [0, 1]]), is_classification=True)
    assert returns.tolist() == [1.0, 0.5]


def test_a_regression_returns_minus_its_squared_error() -> None:
    outputs, targets = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[0.0], [1.0]]])
    assert task_returns(outputs, targets, is_classification=False).tolist() == [-2.5]


def test_chance_in_regression_is_the_variance_of_the_targets() -> None:
    """A and φ are independent: E A² = (25 + .5 + .01)/3, and the mean of sin²(x + φ) over x in [-5, 5] and φ in
    [0, π] is ½, that of sin(x + φ) over both (2/π) sin(5)/5."""
    chance = chance_of(Sinusoids())
    mean = 2.55 * (2 / torch.pi) * float(torch.sin(torch.tensor(5.0))) / 5
    expected = -((125.0 - 0.001) / (3 * 4.9) / 2 - mean**2)
    assert chance.mean == pytest.approx(expected, abs=4 * chance.standard_error)
    assert 0 < chance.standard_error < 0.2


def test_fewer_shots_are_the_first_of_each_class_in_whatever_order_they_stand() -> None:
    labels = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 1]])
    numbers = torch.arange(8.0).view(2, 4, 1)
    batch = FewShotBatch(support_x=numbers, support_y=labels, query_x=numbers, query_y=labels)
    fewer = with_shots(batch, 1, is_classification=True)
    assert fewer.support_y.tolist() == [[0, 1], [0, 1]]
    assert fewer.support_x.flatten(1).tolist() == [[1.0, 0.0], [4.0, 5.0]]
    assert torch.equal(fewer.query_x, batch.query_x)


def test_fewer_points_are_a_smaller_support_set_of_the_same_task() -> None:
    large, small = (Sinusoids(shots=shots).sample(3, split=Split.HELD_OUT, first_task=5) for shots in (10, 4))
    fewer = with_shots(large, 4, is_classification=False)
    assert torch.equal(fewer.support_x, small.support_x)
    assert torch.equal(fewer.support_y, small.support_y)


@pytest.mark.parametrize(("num_shots", "expected"), [(1, (1,)), (5, (1, 2, 5)), (7, (1, 2, 5, 7))])
def test_adaptation_is_looked_at_from_one_shot_to_all(num_shots: int, expected: tuple[int, ...]) -> None:
    assert charted_shots(num_shots) == expected


def test_a_classification_is_admitted_between_chance_and_no_fault() -> None:
    told: list[str] = []
    spec = declared("glyphs", ways=4, alphabets=4, characters=5, drawers=3, size=16)
    admission = probe(spec, progress=lambda phase, _count: told.append(phase))
    assert admission.spaces == FewShotShapes(input_shape=(1, 16, 16), output_size=4, is_classification=True)
    assert (admission.random_return, admission.random_standard_error, admission.reference_return) == (0.25, 0.0, 1.0)
    assert admission.reference_source
    assert admission.steps_per_s > 0
    assert "drawing tasks" in told


def test_a_regression_is_admitted_between_the_best_constant_and_its_noise() -> None:
    admission = probe(declared("sinusoids-ambiguous"))
    assert admission.reference_return == pytest.approx(-0.09)
    assert admission.random_return < -3.0
    assert admission.random_standard_error > 0


def test_a_declared_reference_is_taken_and_must_be_above_chance() -> None:
    admission = probe(declared("sinusoids", reference_return=-0.5))
    assert (admission.reference_return, admission.reference_source) == (-0.5, "declared")
    with pytest.raises(FamilySpecError, match="not above the return of random actions"):
        probe(declared("sinusoids", reference_return=-50.0))


def test_a_folder_that_is_gone_is_refused(tmp_path: Any) -> None:
    with pytest.raises(EnvsError, match="nothing there"):
        probe(declared(str(tmp_path / "absent")))
