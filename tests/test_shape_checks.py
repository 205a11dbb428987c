"""Shapes of tensors are checked in every package, and a wrong one is refused."""

from __future__ import annotations

import importlib.util

import jaxtyping
import pytest
import torch

from agent.learners.evaluation.trials import HeldOutReturns
from envs.tensor.counter_random import uniform
from tests.repository import ROOT
from tests.shape_checks import ShapeCheckLoader


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
