"""Tests of the decisions about measured references."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from agent.reference_requests import (
    MAX_WAIT_S,
    ReferenceRequest,
    is_to_be_measured,
    is_waiting,
    obstacle,
    reference_of,
    retry_at,
)
from envs.family import FamilySource, FamilySpec
from envs.reference import MeasuredReference, ReferenceRule
from memory.records import FailureStreak, Family, FamilyState, FamilyTotals
from tests.memory.making import MEASURED

SPEC = FamilySpec(name="arm", source=FamilySource.GYMNASIUM, entry="arms:Arm", reference_steps=1000)


def family(spec: FamilySpec = SPEC, **settings: Any) -> Family:
    values: dict[str, Any] = {
        "id": 1,
        "name": spec.name,
        "state": FamilyState.ACTIVE,
        "state_reason": "",
        "spec": spec,
        "spaces": {},
        "random_return": 0.0,
        "reference_return": None,
        "strikes": 0,
        "quarantined_until": None,
        "totals": FamilyTotals(),
        "created_at": 0.0,
    }
    return Family(**{**values, **settings})


def test_an_active_family_with_steps_and_no_reference_is_measured() -> None:
    assert is_to_be_measured(family())
    assert obstacle(family()) == ""


@pytest.mark.parametrize(
    "other",
    [
        family(replace(SPEC, reference_steps=0)),
        family(replace(SPEC, reference_rule=ReferenceRule.NONE)),
        family(replace(SPEC, measured_reference=MEASURED)),
        family(reference_return=5.0),
        family(spec=FamilySpec(name="arm", source=FamilySource.GYMNASIUM, entry="arms:Arm")),
    ],
)
def test_a_family_with_a_reference_a_measurement_or_no_wish_is_not_measured(other: Family) -> None:
    assert not is_to_be_measured(other)


def test_what_prevents_a_measurement_is_said() -> None:
    assert "never changes" in obstacle(family(reference_return=5.0))
    assert obstacle(family(state=FamilyState.PAUSED)) == "it is paused"
    assert obstacle(family(spaces=None, state=FamilyState.PENDING)) == "it is pending"
    assert "scale is fixed" in obstacle(family(replace(SPEC, source=FamilySource.FEW_SHOT)))
    assert "tensors" in obstacle(family(replace(SPEC, source=FamilySource.TENSOR)))


def test_each_failure_doubles_the_wait_up_to_a_limit() -> None:
    waits = [retry_at(FailureStreak(count=count, error="", ended_at=1000.0)) - 1000.0 for count in (1, 2, 3, 30)]
    assert waits == [60.0, 120.0, 240.0, MAX_WAIT_S]


def test_an_attempt_waits_until_its_time_unless_the_clock_was_set_back() -> None:
    failures = FailureStreak(count=1, error="", ended_at=1000.0)
    assert is_waiting(failures, 1059.0)
    assert not is_waiting(failures, 1060.0)
    assert not is_waiting(failures, 1060.0 - MAX_WAIT_S - 1.0)


def test_a_return_within_two_standard_errors_of_random_actions_is_no_reference() -> None:
    assert reference_of(MEASURED, random_return=7.9) == 10.0
    assert reference_of(MEASURED, random_return=8.0) is None
    assert reference_of(MEASURED, random_return=12.0) is None


def test_a_request_survives_the_channel() -> None:
    request = ReferenceRequest(run_id=3, spec={"name": "arm"}, spaces={"a": 1}, steps=5, checkpoint="/tmp/1")
    assert ReferenceRequest.from_line(request.to_line()) == request


def test_a_spec_keeps_its_rule_and_its_measurement() -> None:
    spec = replace(SPEC, reference_rule=ReferenceRule.PPO, measured_reference=MEASURED)
    assert FamilySpec.from_json(spec.to_json()) == spec


def test_a_measurement_without_the_number_of_interruptions_is_read_as_one_that_had_none() -> None:
    values = asdict(MEASURED)
    del values["num_resumed"]
    assert MeasuredReference.from_json(values) == MEASURED
    assert MEASURED.num_resumed == 0


def test_a_spec_of_an_older_learnd_is_read_and_not_measured() -> None:
    values = SPEC.to_json()
    for key in ("reference_rule", "reference_steps", "measured_reference"):
        del values[key]
    assert FamilySpec.from_json(values) == replace(SPEC, reference_steps=0)
