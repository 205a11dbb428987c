"""Keyword arguments of tensor families are checked when a family is declared."""

from __future__ import annotations

import math
from typing import Any

import pytest

from envs.declaration import family_from_declaration
from envs.default_families import default_stream
from envs.errors import FamilySpecError
from envs.family import FamilySource, Split
from envs.registry import open_tasks
from envs.tensor.options import check_tensor_options


@pytest.mark.parametrize(
    ("entry", "kwargs", "found"),
    [
        ("bernoulli_bandits", {"num_arm": 3}, "it has no num_arm"),
        ("bernoulli_bandits", {"num_arms": "three"}, "num_arms is 'three'"),
        ("bernoulli_bandits", {"num_arms": 3.7}, "num_arms is 3.7"),
        ("bernoulli_bandits", {"num_arms": True}, "num_arms is True"),
        ("bernoulli_bandits", {"num_arms": None}, "num_arms is None"),
        ("bernoulli_bandits", {"num_arms": [3]}, r"num_arms is \[3\]"),
        ("bernoulli_bandits", {"num_arms": 10**12}, "num_arms is 1000000000000"),
        ("bernoulli_bandits", {"num_arms": math.inf}, "num_arms is inf"),
        ("bernoulli_bandits", {"num_arms": 10**400}, "num_arms is 1000"),
        ("tabular_mdps", {"num_states": -3}, "num_states is -3"),
        ("tabular_mdps", {"num_states": 5000}, "a task has 125,000,000 transition probabilities"),
        ("tabular_mdps", {"horizon": 0}, "horizon is 0"),
        ("navigation", {"size": 3}, "it has no size"),
        ("recurring_bandits", {"barcode_bits": 40}, "barcode_bits is 40"),
        ("recurring_bandits", {"barcode_bits": 3}, "3 bits do not give 10 different barcodes"),
        ("dark_rooms", {"size": 2}, "size is 2"),
        ("dark_rooms", {"split": "a"}, "split is 'a'"),
        ("varied_cartpole", {"gravity": math.inf}, "gravity=inf sets nothing"),
        ("varied_cartpole", {"gravity": True}, "gravity=True sets nothing"),
        ("varied_cartpole", {"gravity": 10**400}, "gravity=1000"),
    ],
)
def test_a_keyword_argument_without_meaning_is_refused_when_it_is_declared(
    entry: str, kwargs: dict[str, Any], found: str
) -> None:
    with pytest.raises(FamilySpecError, match=f"describing family '?{entry}.*{found}"):
        family_from_declaration(entry, kwargs=kwargs)


def test_the_embedded_tensor_families_can_be_declared() -> None:
    for spec in default_stream():
        if spec.source is FamilySource.TENSOR:
            check_tensor_options(spec.entry, spec.kwargs)


@pytest.mark.parametrize(
    ("entry", "kwargs"),
    [
        ("bernoulli_bandits", {"num_arms": 1}),
        ("bernoulli_bandits", {"num_arms": 4096}),
        ("tabular_mdps", {"num_states": 1, "num_actions": 1, "horizon": 1}),
        ("tabular_mdps", {"num_states": 3.0}),
        ("recurring_bandits", {"num_arms": 2, "barcode_bits": 4, "num_contexts": 16}),
        ("recurring_bandits", {"barcode_bits": 16}),
        ("dark_rooms", {"size": 3}),
        ("dark_rooms", {"size": 256, "split": 2**63 - 1}),
        ("dark_rooms", {"split": None}),
    ],
)
def test_values_at_the_limits_give_tasks(entry: str, kwargs: dict[str, Any]) -> None:
    tasks = open_tasks(family_from_declaration(entry, kwargs=kwargs), None, num_trials=4, device="cpu")
    for split in Split:
        assert tasks.begin(0, split=split).isfinite().all()
