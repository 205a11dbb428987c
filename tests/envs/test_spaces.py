"""Actions in the environment's own numbers: scaled where the bounds can be spanned, inside them in every case."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from envs.spaces import ActionKind, ActionSpec, ImageShape, ObservationKind, ObservationSpec, SpacePair

FLOAT32_MAX = float(np.finfo(np.float32).max)
POLICY_ACTIONS = np.float32([-1.0, -0.25, 0.0, 0.5, 1.0, 3.0])


def converted(low: float, high: float) -> list[float]:
    spec = ActionSpec(kind=ActionKind.CONTINUOUS, low=(low,), high=(high,))
    return [float(number) for number in spec.to_environment(POLICY_ACTIONS[:, None])[:, 0]]


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (-FLOAT32_MAX, FLOAT32_MAX),
        (-1e308, 1e308),
        (-3e38, 3e38),
        (-math.inf, math.inf),
        (-5.0, math.inf),
        (-math.inf, 5.0),
        (-5.0, 1e300),
        (-5.0, FLOAT32_MAX),
        (-FLOAT32_MAX, 5.0),
    ],
)
def test_a_range_that_cannot_be_spanned_is_unbounded(low: float, high: float) -> None:
    assert converted(low, high) == POLICY_ACTIONS.tolist()


@pytest.mark.parametrize(("low", "high"), [(-2.0, 6.0), (0.0, 1e6), (-1e38, 1e38)])
def test_a_range_that_can_be_spanned_is_scaled(low: float, high: float) -> None:
    middle = (low + high) / 2
    assert converted(low, high)[0::2] == pytest.approx([low, middle, high], rel=1e-6)
    assert converted(low, high)[-1] == pytest.approx(high)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (100.0, math.inf, [100.0, 100.75, 101.0, 101.5, 102.0, 104.0]),
        (1.0, FLOAT32_MAX * 2, [1.0, 1.75, 2.0, 2.5, 3.0, 5.0]),
        (-math.inf, -10.0, [-12.0, -11.25, -11.0, -10.5, -10.0, -10.0]),
    ],
)
def test_actions_stay_different_where_the_one_bound_excludes_all_of_them(
    low: float, high: float, expected: list[float]
) -> None:
    assert converted(low, high) == expected


@pytest.mark.parametrize("bound", [0.1, 1 / 3, 2.7, 1e-3, 123456789.1])
def test_actions_lie_within_bounds_that_float32_cannot_hold(bound: float) -> None:
    assert -bound <= converted(-bound, bound)[0]
    assert converted(-bound, bound)[4] <= bound


def test_each_dimension_is_treated_by_its_own_bounds() -> None:
    spec = ActionSpec(kind=ActionKind.CONTINUOUS, low=(0.0, -FLOAT32_MAX, 7.0), high=(10.0, FLOAT32_MAX, math.inf))
    assert spec.to_environment(np.float32([0.5, 0.5, 0.5])).tolist() == [7.5, 0.5, 8.5]


MIXED = ActionSpec(kind=ActionKind.MIXED, choices=(2, 3), low=(-2.0, 0.0), high=(2.0, 1.0), start=(0, 10**12))


def test_a_mixed_action_has_choices_from_their_start_and_then_scaled_numbers() -> None:
    converted = MIXED.to_environment(np.float32([[1, 2, 0.5, -1.0]]))
    assert converted.tolist() == [[1.0, 10**12 + 2, 1.0, 0.0]]


def test_the_parts_of_a_mixed_action_are_actions_of_the_other_kinds() -> None:
    assert MIXED.choices_part == ActionSpec(kind=ActionKind.MULTI_DISCRETE, choices=(2, 3), start=(0, 10**12))
    assert MIXED.numbers_part == ActionSpec(kind=ActionKind.CONTINUOUS, low=(-2.0, 0.0), high=(2.0, 1.0))
    assert (MIXED.width, MIXED.num_choices, MIXED.num_numbers) == (4, 5, 2)


def pair_of(action: ActionSpec, kind: ObservationKind = ObservationKind.VECTOR) -> SpacePair:
    return SpacePair(observation=ObservationSpec(kind=kind, size=4), action=action)


@pytest.mark.parametrize(
    ("action", "key"),
    [
        (ActionSpec(kind=ActionKind.DISCRETE, choices=(2,), start=(0,)), "v4_d2_41b0ec1a"),
        (ActionSpec(kind=ActionKind.MULTI_DISCRETE, choices=(2, 3), start=(0, 1)), "v4_m2x3_6874ddcf"),
        (ActionSpec(kind=ActionKind.CONTINUOUS, low=(-math.inf, -1.0), high=(math.inf, 1.0)), "v4_c2_ce05d76a"),
    ],
    ids=["discrete", "multi_discrete", "continuous"],
)
def test_the_keys_of_pairs_are_those_that_earlier_versions_wrote(action: ActionSpec, key: str) -> None:
    assert pair_of(action).key == key


def test_the_key_of_a_pair_of_indices_is_that_which_earlier_versions_wrote() -> None:
    action = ActionSpec(kind=ActionKind.DISCRETE, choices=(3,), start=(-5,))
    assert pair_of(action, ObservationKind.DISCRETE).key == "d4_d3_5e70b91d"


def test_a_mixed_pair_has_a_key_and_is_restored_from_its_values() -> None:
    pair = pair_of(MIXED)
    assert pair.key.startswith("v4_m2x3n2_")
    assert SpacePair.from_json(pair.to_json()) == pair


def test_an_observation_with_images_travels_as_the_bytes_of_its_numbers_and_pixels() -> None:
    images = (ImageShape(height=4, width=3, channels=2), ImageShape(height=2, width=2, channels=1))
    spec = ObservationSpec(kind=ObservationKind.IMAGE, size=5, images=images)
    assert (spec.width, spec.dtype, spec.numbers_bytes) == (4 * 5 + 24 + 4, "uint8", 20)
    pair = SpacePair(observation=spec, action=ActionSpec(kind=ActionKind.DISCRETE, choices=(2,), start=(0,)))
    assert SpacePair.from_json(json.loads(json.dumps(pair.to_json()))) == pair


def test_the_json_and_the_key_of_spaces_without_images_are_those_of_older_stores() -> None:
    action = ActionSpec(kind=ActionKind.DISCRETE, choices=(2,), start=(0,))
    pair = SpacePair(observation=ObservationSpec(kind=ObservationKind.VECTOR, size=4), action=action)
    assert pair.to_json()["observation"] == {"kind": "vector", "size": 4}
    assert pair.key == "v4_d2_41b0ec1a"
