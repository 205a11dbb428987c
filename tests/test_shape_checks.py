"""Shapes of tensors are checked in every package, and a wrong one is refused."""

from __future__ import annotations

import importlib.util
from collections import UserList
from collections.abc import Sequence

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from agent.learners.evaluation.trials import HeldOutReturns
from envs.tensor.counter_random import uniform
from tests.repository import ROOT
from tests.shape_checks import ShapeCheckLoader, checked


def annotated_modules() -> list[str]:
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("agent", "envs", "memory")
        for path in (ROOT / package).rglob("*.py")
        if "from jaxtyping import" in path.read_text()
    ]


def test_every_module_that_annotates_shapes_is_loaded_under_the_check() -> None:
    modules = annotated_modules()
    assert len(modules) > 40
    for name in modules:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert isinstance(spec.loader, ShapeCheckLoader), name


def test_an_argument_of_another_shape_is_refused() -> None:
    seeds = torch.zeros(3, dtype=torch.int64)
    assert uniform(seeds, 0, 2).shape == (3, 2)
    with pytest.raises(jaxtyping.TypeCheckError, match="seeds"):
        uniform(seeds.unsqueeze(1), 0, 2)


def test_a_field_of_another_shape_is_refused() -> None:
    trials = torch.zeros(3)
    assert HeldOutReturns(trials=trials, episodes=torch.zeros(2, 3)).mean == 0.0
    with pytest.raises(jaxtyping.TypeCheckError, match="episodes"):
        HeldOutReturns(trials=trials, episodes=torch.zeros(3, 2))


def test_an_argument_is_refused_after_calls_with_other_arguments_passed() -> None:
    @checked
    def pairs(x: Float[Tensor, "N"], y: Float[Tensor, "N"], scale: float = 1.0) -> None:
        del x, y, scale

    for size in (2, 3, 2, 3):
        pairs(torch.zeros(size), torch.zeros(size))
        with pytest.raises(jaxtyping.TypeCheckError, match="y"):
            pairs(torch.zeros(size), torch.zeros(5 - size))
    with pytest.raises(jaxtyping.TypeCheckError, match="x"):
        pairs(torch.zeros(2, dtype=torch.int64), torch.zeros(2))
    with pytest.raises(jaxtyping.TypeCheckError, match="scale"):
        pairs(torch.zeros(2), torch.zeros(2), scale="1")


@pytest.mark.parametrize("kind", [list, tuple, UserList])
def test_an_item_is_refused_after_items_of_other_shapes_passed(kind: type) -> None:
    @checked
    def first(values: Sequence[Float[Tensor, "N"]], like: Float[Tensor, "N"]) -> None:
        del values, like

    for _ in range(2):
        first(kind([torch.zeros(2)]), torch.zeros(2))
        with pytest.raises(jaxtyping.TypeCheckError, match="like"):
            first(kind([torch.zeros(3)]), torch.zeros(2))


def test_a_result_is_refused_after_another_one_passed_for_the_same_arguments() -> None:
    sizes = iter((2, 2, 3, 2, 3))

    @checked
    def doubled(x: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
        return torch.zeros(next(sizes)) * len(x)

    for is_right in (True, True, False, True, False):
        if is_right:
            assert doubled(torch.zeros(2)).shape == (2,)
        else:
            with pytest.raises(jaxtyping.TypeCheckError, match="return value"):
                doubled(torch.zeros(2))
