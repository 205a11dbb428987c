"""The check of tensors' shapes covers every module that annotates them, and refuses a wrong shape."""

from __future__ import annotations

import jaxtyping
import pytest
import torch

from envs.tensor.counter_random import uniform
from tests.conftest import SHAPE_CHECKED
from tests.repository import ROOT

UNCHECKED = {"agent.experiments.scores": "imports tensors' types for the type checker alone: it loads without torch"}


def annotated_modules() -> set[str]:
    """Return the names of the modules of learnd that import jaxtyping."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("agent", "envs", "memory")
        for path in (ROOT / package).rglob("*.py")
        if "from jaxtyping import" in path.read_text()
    }


def test_every_module_that_annotates_shapes_is_checked() -> None:
    found = {
        name
        for name in annotated_modules()
        if not any(name == checked or name.startswith(f"{checked}.") for checked in SHAPE_CHECKED)
    }
    assert found == set(UNCHECKED)


def test_a_tensor_of_another_shape_than_the_annotated_one_is_refused() -> None:
    seeds = torch.zeros(3, dtype=torch.int64)
    assert uniform(seeds, 0, 2).shape == (3, 2)
    with pytest.raises(jaxtyping.TypeCheckError, match="seeds"):
        uniform(seeds.unsqueeze(1), 0, 2)
