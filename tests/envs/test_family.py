"""Tests of the description of a family as JSON values."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from envs import family
from envs.declaration import few_shot_from_declaration
from envs.default_families import default_stream
from envs.errors import FamilySpecError
from envs.family import DEFAULT_IMAGE_SIZE, FamilySource, FamilySpec
from envs.gymnasium import variations
from envs.gymnasium.variations import Distribution, Variation
from envs.kinds import FamilyKind

VARIED = FamilySpec(
    name="pole",
    source=FamilySource.GYMNASIUM,
    entry="CartPole-v1",
    kwargs={"sutton": True},
    variations=(Variation(name="length", low=1, high=2.5),),
    random_return=20,
    reference_return=600.0,
    import_paths=("/envs",),
)


def stored(**changed: Any) -> dict[str, Any]:
    """Return the values of :data:`VARIED` as a store returns them, with changes."""
    values = json.loads(json.dumps(VARIED.to_json()))
    return {name: value for name, value in {**values, **changed}.items() if value is not ...}


def changed_variation(**changed: Any) -> list[Any]:
    return [{**stored()["variations"][0], **changed}]


@pytest.mark.parametrize("spec", [VARIED, few_shot_from_declaration("sinusoids", learner="maml"), *default_stream()])
def test_json_read_and_written_again_is_the_same_text(spec: FamilySpec) -> None:
    text = json.dumps(spec.to_json())
    read = FamilySpec.from_json(json.loads(text))
    assert json.dumps(read.to_json()) == text


def test_fields_that_an_older_version_did_not_write_have_their_defaults() -> None:
    read = FamilySpec.from_json({"name": "pole", "source": "gymnasium", "entry": "CartPole-v1"})
    assert read == FamilySpec(
        name="pole", source=FamilySource.GYMNASIUM, entry="CartPole-v1", image_size=0, network=True
    )


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (None, "null, not an object"),
        ([1], "an array, not an object"),
        ({}, "no entry, name, source"),
        (stored(curriculum="slow"), "does not know its curriculum"),
        (stored(source="quantum"), "does not know its source, 'quantum'"),
        (stored(source=["tensor"]), "source is an array"),
        (stored(name="No Name"), "not 1 to 48"),
        (stored(entry=...), "no entry"),
        (stored(kwargs=[]), "kwargs is an array"),
        (stored(episodes_per_trial="three"), "episodes_per_trial is 'three'"),
        (stored(episodes_per_trial=True), "episodes_per_trial is True"),
        (stored(episodes_per_trial=0), "episodes_per_trial is 0"),
        (stored(episodes_per_trial=10**23), "episodes_per_trial is 1000"),
        (stored(max_episode_steps=2**31), "max_episode_steps is 2147483648"),
        (stored(recurring=2**31), "recurring is 2147483648"),
        (stored(reference_return="high"), "reference_return is 'high'"),
        (stored(import_paths=["/envs", 3]), "import_paths holds 3"),
        (stored(variations=["length"]), "'length', not an object"),
        (stored(variations=changed_variation(distribution="cauchy")), "does not know its distribution, 'cauchy'"),
        (stored(variations=changed_variation(target="weather")), "does not know its target, 'weather'"),
        (stored(variations=changed_variation(low=None)), "low is null"),
        (stored(variations=changed_variation(low=9)), "is above its high"),
        (stored(variations=changed_variation(skew=1)), "does not know its skew"),
    ],
)
def test_values_that_are_damaged_or_of_a_newer_version_are_refused_with_what_is_wrong(
    values: object, found: str
) -> None:
    with pytest.raises(FamilySpecError) as refused:
        FamilySpec.from_json(values)
    assert found in refused.value.found


def test_each_field_has_a_known_json_type() -> None:
    assert list(family.FIELD_TYPES) == [field.name for field in fields(FamilySpec)]
    assert list(variations.FIELD_TYPES) == [field.name for field in fields(Variation)]


def test_only_the_source_few_shot_has_few_shot_tasks() -> None:
    assert few_shot_from_declaration("glyphs", learner="protonet").source.kind is FamilyKind.FEW_SHOT
    assert VARIED.source.kind is FamilyKind.ENVIRONMENTS


def test_a_choice_keeps_its_values() -> None:
    varied = Variation(name="mode", distribution=Distribution.CHOICE, values=("easy", 3, [0.5]))
    spec = FamilySpec(name="maze", source=FamilySource.GYMNASIUM, entry="m:Maze", variations=(varied,))
    assert FamilySpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_family_of_an_older_store_flattens_images_and_a_new_one_does_not() -> None:
    spec = FamilySpec(name="film", source=FamilySource.GYMNASIUM, entry="film:Film")
    values = spec.to_json()
    assert FamilySpec.from_json(values).image_size == DEFAULT_IMAGE_SIZE
    del values["image_size"]
    assert FamilySpec.from_json(values).image_size == 0


@pytest.mark.parametrize("image_size", [-1, 129])
def test_an_impossible_size_of_images_is_refused(image_size: int) -> None:
    with pytest.raises(FamilySpecError, match="image_size"):
        FamilySpec(name="film", source=FamilySource.GYMNASIUM, entry="film:Film", image_size=image_size)
