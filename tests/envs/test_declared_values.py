"""Values in declarations are read, or refused with the allowed form."""

from __future__ import annotations

import pytest

from envs.declaration import family_from_declaration
from envs.declared_values import parse_setting, parse_variation
from envs.errors import FamilySpecError
from envs.family import FamilySpec
from envs.gymnasium.variations import Distribution, Variation, VariationTarget


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("length=0.3:1.2", Variation(name="length", low=0.3, high=1.2)),
        ("attribute.length=uniform:-1:1e3", Variation(name="length", low=-1.0, high=1000.0)),
        ("gravity=log:5:20", Variation(name="gravity", distribution=Distribution.LOG_UNIFORM, low=5.0, high=20.0)),
        (
            "kwarg.size=int:3:9",
            Variation(name="size", target=VariationTarget.KWARG, distribution=Distribution.INTEGER, low=3, high=9),
        ),
        (
            "kwarg.map_name=4x4|8x8",
            Variation(
                name="map_name",
                target=VariationTarget.KWARG,
                distribution=Distribution.CHOICE,
                values=("4x4", "8x8"),
            ),
        ),
        (
            "option.mode=1|2.5|true|none",
            Variation(
                name="mode",
                target=VariationTarget.RESET_OPTION,
                distribution=Distribution.CHOICE,
                values=(1, 2.5, True, None),
            ),
        ),
        ("total=sum:a+b", Variation(name="total", distribution=Distribution.SUM, values=("a", "b"))),
        ("moment=product:a*b", Variation(name="moment", distribution=Distribution.PRODUCT, values=("a", "b"))),
        (
            "kwarg.desc=frozen_lake_map:5:0.7",
            Variation(
                name="desc",
                target=VariationTarget.KWARG,
                distribution=Distribution.FROZEN_LAKE_MAP,
                options={"size": 5, "p": 0.7},
            ),
        ),
    ],
)
def test_a_variation_is_read(text: str, expected: Variation) -> None:
    assert parse_variation(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("length", "no NAME=VALUES"),
        ("=1:2", "no NAME=VALUES"),
        ("length=", "no NAME=VALUES"),
        ("length=0.3", "neither a range nor a choice"),
        ("length=0.3:1:2", "neither a range nor a choice"),
        ("length=a:b", "'a' is not a number"),
        ("length=2:1", "above its high"),
        ("length=log:0:1", "must be positive"),
        ("size=int:1:2.5", "not a range of whole numbers"),
        ("reset.length=1:2", "not one of attribute, kwarg, option"),
        ("le ngth=1:2", "is not a name"),
        ("length=1:inf", "its range, 1.0 to inf, is not within"),
        ("length=nan:1", "its range, nan to 1.0, is not within"),
        ("length=-1e308:1e308", "is not within"),
        ("length=log:1:inf", "is not within"),
        ("size=int:1:99999999999999999999", "is not within"),
        ("size=int:1:inf", "not a range of whole numbers"),
        ("kwarg.desc=frozen_lake_map:inf", "inf is not a whole number"),
        ("kwarg.desc=frozen_lake_map:4.5", "4.5 is not a whole number"),
        ("kwarg.desc=frozen_lake_map:1", "the size of its map, 1, is not a whole number from 2"),
        ("kwarg.desc=frozen_lake_map:1e9", "the size of its map, 1000000000, is not"),
        ("kwarg.desc=frozen_lake_map:4:0", "the share of frozen cells of its map, 0.0, is not between 0 and 1"),
        ("kwarg.desc=frozen_lake_map:4:nan", "the share of frozen cells of its map, nan, is not between 0 and 1"),
    ],
)
def test_a_variation_that_means_nothing_is_refused(text: str, words: str) -> None:
    with pytest.raises(FamilySpecError, match=words):
        parse_variation(text)


@pytest.mark.parametrize(
    ("text", "form", "amount"),
    [
        ("auto", "", 1.25),
        ("actions", "", 1.0),
        ("observations", "permute", 2.0),
        ("observations=flip", "flip", 2.0),
        ("observations=scale:3", "scale", 3.0),
        ("sticky", "", 0.25),
        ("sticky=0.1", "", 0.1),
        ("rewards=delay:5", "delay", 5.0),
        ("numbers=1.5", "", 1.5),
    ],
)
def test_a_variation_that_fits_any_environment_is_read(text: str, form: str, amount: float) -> None:
    variation = parse_variation(text)
    assert variation.distribution is Distribution.AUTO
    assert variation.name == text.partition("=")[0]
    assert variation.options == {"form": form, "amount": amount}
    assert Variation.from_json(FamilySpec.from_json(_json_with(variation)).to_json()["variations"][0]) == variation


def _json_with(variation: Variation) -> dict[str, object]:
    return family_from_declaration("CartPole-v1", variations=[variation]).to_json()


@pytest.mark.parametrize("text", ["sticky=0.1:0.3", "actions=1|2", "numbers=int:1:3", "observations=log:1:3"])
def test_an_attribute_whose_name_is_also_that_of_an_automatic_variation_can_still_be_varied(text: str) -> None:
    assert parse_variation(text).target is VariationTarget.ATTRIBUTE


@pytest.mark.parametrize(
    "text", ["sticky=1.5", "rewards=delay:0.5", "rewards=delay:1000", "numbers=0.5", "observations=scale:x", "auto=3"]
)
def test_an_automatic_variation_with_a_wrong_amount_is_refused(text: str) -> None:
    with pytest.raises(FamilySpecError):
        parse_variation(text)


def test_a_setting_is_read() -> None:
    assert parse_setting("is_slippery=false") == ("is_slippery", False)
    assert parse_setting("size = 5") == ("size", 5)
    with pytest.raises(FamilySpecError, match="no NAME=VALUE"):
        parse_setting("size")
