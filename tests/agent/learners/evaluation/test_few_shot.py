"""The uncertainty of a posterior over solutions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agent.learners.evaluation.few_shot import uncertainty_of


class _Solutions:
    """A posterior over two known solutions."""

    def __init__(self, outputs: Tensor) -> None:
        self._outputs = outputs

    def __call__(self, query_x: Tensor) -> Tensor:
        return self._outputs.mean(0)

    def sample(self, query_x: Tensor, *, num_samples: int, generator: torch.Generator) -> Tensor:
        return self._outputs


def test_uncertainty_is_entropy_in_nats_or_a_standard_deviation() -> None:
    sure, opposed = torch.tensor([[50.0, 0.0]]), torch.tensor([[0.0, 50.0]])
    of_one_mind = _Solutions(torch.stack([sure, sure]).unsqueeze(1))
    of_two_minds = _Solutions(torch.stack([sure, opposed]).unsqueeze(1))
    query_x = torch.zeros(1, 1, 1)
    assert uncertainty_of(of_one_mind, query_x, is_classification=True).item() == pytest.approx(0.0, abs=1e-6)
    assert uncertainty_of(of_two_minds, query_x, is_classification=True).item() == pytest.approx(0.6931, abs=1e-4)
    numbers = _Solutions(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1))
    assert uncertainty_of(numbers, query_x, is_classification=False).item() == pytest.approx(2**0.5)
