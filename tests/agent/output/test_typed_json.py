"""Dataclasses as JSON: what earlier versions stored is read, and the same text is written."""

from __future__ import annotations

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.experiments.budget import Budget
from agent.experiments.replanning import LastEstimate
from agent.experiments.run import UsageTotals
from agent.experiments.scores import Estimate
from agent.output.typed_json import dataclass_from_json, dataclass_to_json
from agent.policies.version_header import ImageInput, KnownFamily, KnownFewShotFamily
from agent.policies.views import ViewConfig
from envs.spaces import SpacePair

STORED = {
    "budget in seconds": (Budget, '{"cpu_s": 60.0, "updates": null}'),
    "budget in updates": (Budget, '{"cpu_s": null, "updates": 5}'),
    "views": (
        ViewConfig,
        (
            '{"count": 6, "orientations": 3, "warp": {"rotation_degrees": 12.0, "log_scale": 0.16, "shear": 0.16, '
            '"shift": 0.04, "bend": 0.025}, "seed": 5, "is_aligned": true}'
        ),
    ),
    "family": (
        KnownFamily,
        (
            '{"spaces": {"observation": {"kind": "vector", "size": 4, "images": [], "num_distinct": 0}, "action": '
            '{"kind": "continuous", "choices": [], "low": [-Infinity, -2.0], "high": [Infinity, 2.0], "start": []}}, '
            '"episodes_per_trial": 7}'
        ),
    ),
    "few-shot family": (
        KnownFewShotFamily,
        (
            '{"members": [{"prefix": "a.", "meta": {"learner": "versa", "config": {"\\u00e9": [1, null, 0.1]}}}], '
            '"images": null, "provenance": {"seed": 1180591620717411303424, "recipe": {"size": [28, 28]}}}'
        ),
    ),
    "run": (
        UsageTotals,
        (
            '{"budget": {"cpu_s": 60.0, "updates": null}, "planned_updates": 7, "step_bytes": 1024, "cpu_s": 1.25, '
            '"points": [{"updates": 0, "cpu_s": 0.0, "adapted": {"mean": 0.5, "half_width": 0.1, "num_tasks": 20}, '
            '"unadapted": {"mean": 0.5, "half_width": 0.1, "num_tasks": 20}, "beside": {"loss": {"mean": NaN, '
            '"half_width": 0.0, "num_tasks": 1}}}], "last": {"updates": 7, "cpu_s": 1.25, "adapted": {"mean": 0.5, '
            '"half_width": 0.1, "num_tasks": 20}, "unadapted": null, "beside": {}}, '
            '"estimate": {"cpu_s": 0.5, "updates": 3}}'
        ),
    ),
}


@pytest.mark.parametrize("name", STORED)
def test_what_was_stored_is_read_and_written_byte_for_byte(name: str) -> None:
    kind, text = STORED[name]
    value = dataclass_from_json(kind, json.loads(text))
    assert isinstance(value, kind)
    assert json.dumps(dataclass_to_json(value)) == text


@pytest.mark.parametrize("unknown", [("num_distinct",), ("num_distinct", "images")])
def test_a_family_that_an_earlier_learnd_stored_is_read(unknown: tuple[str, ...]) -> None:
    values = json.loads(STORED["family"][1])
    now = dataclass_from_json(KnownFamily, values)
    for field in unknown:
        del values["spaces"]["observation"][field]
    assert dataclass_from_json(KnownFamily, values) == now
    assert SpacePair.from_json(values["spaces"]) == now.spaces


def test_a_run_that_was_stored_before_estimates_were_made_again_is_read() -> None:
    values = json.loads(STORED["run"][1])
    del values["estimate"]
    assert dataclass_from_json(UsageTotals, values).estimate == LastEstimate()


def test_computed_properties_are_not_written() -> None:
    kind, text = STORED["family"]
    value = dataclass_from_json(kind, json.loads(text))
    assert isinstance(value, KnownFamily)
    assert value.spaces.key
    assert json.dumps(dataclass_to_json(value)) == text


def test_unknown_fields_are_ignored() -> None:
    views = json.loads(STORED["views"][1])
    read = dataclass_from_json(ImageInput, {"views": views, "ink_extent": 1, "format": 2})
    assert read == ImageInput(views=ViewConfig(count=6, orientations=3, is_aligned=True), ink_extent=1.0)


@pytest.mark.parametrize(
    "values", [{"mean": 0.5, "half_width": 0.1}, {"mean": "0.5", "half_width": 0.1, "num_tasks": 2}]
)
def test_a_missing_field_and_one_of_another_type_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"num_tasks|mean"):
        dataclass_from_json(Estimate, values)


@given(st.floats(allow_nan=False))
def test_floats_keep_every_bit(number: float) -> None:
    estimate = Estimate(mean=number, half_width=math.pi, num_tasks=1)
    read = dataclass_from_json(Estimate, json.loads(json.dumps(dataclass_to_json(estimate))))
    assert struct.pack("<d", read.mean) == struct.pack("<d", number)
