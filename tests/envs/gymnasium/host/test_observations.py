"""Tests of the form in which observations travel to the trainer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from envs.gymnasium.host.faults import NonsenseError, UnsupportedError
from envs.gymnasium.host.observations import form_of
from envs.gymnasium.host.spaces import describe_observation
from envs.spaces import ImageShape, ObservationKind, ObservationSpec

ROBOT = spaces.Dict(
    {
        "front": spaces.Box(0, 255, (40, 30, 3), np.uint8),
        "gear": spaces.Discrete(4, start=1),
        "inner": spaces.Tuple([spaces.Box(-1, 1, (2,)), spaces.Box(0, 1, (10, 10, 4), np.bool_)]),
    }
)


def test_parts_that_are_no_images_travel_as_the_first_bytes_of_an_observation() -> None:
    form = form_of(ROBOT, image_size=64)
    spec = ObservationSpec.from_json(form.described)
    assert spec.kind is ObservationKind.IMAGE
    assert (spec.size, spec.width, spec.dtype) == (6, form.width, form.dtype)
    assert spec.images == (ImageShape(height=40, width=30, channels=3), ImageShape(height=10, width=10, channels=4))
    ROBOT.seed(3)
    value = ROBOT.sample()
    row = np.zeros(form.width, np.uint8)
    form.write(value, row)
    gear = np.arange(1, 5) == value["gear"]
    assert np.array_equal(row[:24].view(np.float32), np.concatenate([gear, value["inner"][0]]).astype(np.float32))
    assert np.array_equal(row[24 : 24 + 3600], value["front"].ravel())
    assert np.array_equal(row[24 + 3600 :], value["inner"][1].ravel() * np.uint8(255))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (7, 7, 3), np.uint8),
        spaces.Dict({"image": spaces.Box(0, 255, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4)}),
        spaces.Discrete(7),
        spaces.Box(-1, 1, (5,)),
    ],
)
def test_what_has_no_image_keeps_the_form_that_it_always_had(space: spaces.Space[Any]) -> None:
    assert form_of(space, image_size=64).described == describe_observation(space)
    assert form_of(space, image_size=64).dtype == "float32"


def test_a_family_without_images_flattens_them() -> None:
    space = spaces.Box(0, 255, (30, 30, 3), np.uint8)
    assert form_of(space, image_size=0).described == {"kind": "vector", "size": 2700}
    with pytest.raises(UnsupportedError, match="at most 4096"):
        form_of(spaces.Box(0, 255, (56, 56, 3), np.uint8), image_size=0)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (
            spaces.Dict(
                {"image": spaces.Box(0, 255, (40, 40, 3), np.uint8), "mission": spaces.Sequence(spaces.Discrete(2))}
            ),
            "mission",
        ),
        (spaces.Dict({"a": spaces.Box(0, 255, (40, 40, 3), np.uint8), "b": spaces.Box(0, 1, (5000,))}), "5000"),
        (spaces.Tuple([spaces.Box(0, 255, (40, 40, 3), np.uint8)] * 5), "5 images"),
        (spaces.Box(0, 255, (600, 600, 3), np.uint8), "8 to 512 and .*: wrap the environment"),
        (spaces.Box(0, 255, (64, 64, 13), np.uint8), "at most 12 channels.*: observe fewer channels"),
        (spaces.Box(0, 1, (0,)), "nothing is observed"),
        (spaces.Dict({}), "nothing is observed"),
        (spaces.Box(0, 255, (4, 84, 84, 3), np.uint8), "stack"),
        (spaces.Box(-np.inf, np.inf, (84, 84, 3), np.float32), "finite bounds"),
    ],
)
def test_an_unsupported_observation_with_images_is_refused_with_its_reason(
    space: spaces.Space[Any], words: str
) -> None:
    with pytest.raises(UnsupportedError, match=words):
        form_of(space, image_size=64)


def test_a_number_beside_an_image_must_be_finite_and_no_part_may_be_missing() -> None:
    form = form_of(ROBOT, image_size=64)
    row = np.zeros(form.width, np.uint8)
    value = ROBOT.sample()
    with pytest.raises(NonsenseError, match="NaN or infinity"):
        form.write({**value, "inner": (np.array([0.0, np.nan]), value["inner"][1])}, row)
    with pytest.raises(NonsenseError, match="dict of 3"):
        form.write({"front": value["front"]}, row)
