"""Tests of the comparison of tasks at admission: sound families give no finding, broken families give one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import envs.admission
import envs.gymnasium.task_checks
from envs.admission import probe
from envs.declaration import family_from_declaration
from envs.effort import Effort, TimeLimit
from envs.errors import EnvsError, FamilySpecError
from envs.family import FamilySpec
from envs.gymnasium.task_checks import CompareTime
from envs.gymnasium.variations import Distribution, Variation, VariationTarget
from envs.task_findings import compare_tasks
from tests.envs.families import FEW_STEPS, FOLDER, LIMITS, drifting, opened, sound

SHORT = Effort(contract_steps=FEW_STEPS, enough_s=0.05, spaces_s=0.05)


@pytest.fixture(autouse=True)
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envs.admission, "QUICK", SHORT)
    monkeypatch.setattr(envs.gymnasium.task_checks, "MAX_ROUNDS", 3)
    monkeypatch.setattr(envs.gymnasium.task_checks, "MAX_STEPS", FEW_STEPS)


def told(spec: FamilySpec, effort: Effort = SHORT) -> list[str]:
    tasks = opened(spec, 8)
    try:
        limits = CompareTime(effort=effort, limit=TimeLimit(600.0))
        found = compare_tasks(tasks, limits, lambda phase, units: None)
    finally:
        tasks.close()
    refusals = [finding for finding in found if finding.is_refusal]
    if refusals:
        raise refusals[0].to_error(spec.name)
    return [finding.text() for finding in found]


def varied(entry: str, *variations: str, **settings: Any) -> FamilySpec:
    return family_from_declaration(entry, variations=variations, import_paths=[str(FOLDER)], **settings)


def blown(*variations: str) -> FamilySpec:
    return varied("drifting_environments:Blown", *variations)


# Copies in one process


def test_copies_that_share_a_world_are_refused() -> None:
    with pytest.raises(
        EnvsError, match=r"copies of 'drifting_environments:OneWorld' in one process share a world"
    ) as caught:
        probe(drifting("OneWorld"), limits=LIMITS)
    assert "in its instance" in caught.value.hint


@pytest.mark.parametrize(
    "spec",
    [drifting("OneClock"), varied("drifting_environments:OneSetting", "kwarg.force=1|7")],
    ids=lambda spec: spec.entry,
)
def test_copies_that_share_a_counter_or_the_setting_of_the_last_one_are_told_of(spec: FamilySpec) -> None:
    text, *_ = told(spec)
    assert text.startswith("Copies in one process share something")
    assert "in its instance" in text


@pytest.mark.parametrize(
    "name",
    ["Counter", "SharedArray", "IgnoresSeeds", "SeldomNoisy", "CountsItsCopies", "ImageObservation"],
)
def test_copies_that_share_no_world_are_not_accused(name: str) -> None:
    assert all(text.startswith("Not checked") for text in told(sound(name)))


@pytest.mark.parametrize("name", ["GlobalNoise", "SeedsGlobalNoise", "SamplesItsClassSpace", "SharesGenerators"])
def test_what_draws_from_generators_that_copies_share_can_be_compared_all_the_same(name: str) -> None:
    assert told(sound(name)) == []


def test_what_does_not_replay_is_not_compared_and_that_is_said() -> None:
    length = Variation(name="length", target=VariationTarget.KWARG, distribution=Distribution.INTEGER, low=2, high=6)
    assert told(sound("IgnoresSeeds", variations=(length,))) == [
        "Not checked whether its copies share a world: a task does not replay from its seed.",
        "Not checked whether its variations change anything: a task does not replay from its seed.",
    ]


def test_what_is_too_slow_is_not_compared_and_that_is_said() -> None:
    assert told(varied("CartPole-v1", "option.unread=1:2"), replace(SHORT, most_s=0.0)) == [
        "Not checked whether its copies share a world: it is too slow to compare tasks.",
        "Not checked whether its variations change anything: it is too slow to compare tasks.",
    ]


# Variations


@pytest.mark.parametrize(
    "spec",
    [
        varied("CartPole-v1"),
        varied("MountainCarContinuous-v0"),
        varied("FrozenLake-v1"),
        varied("Taxi-v4"),
        varied("Blackjack-v1"),
        varied("CartPole-v1", "option.low=-0.1:-0.05", "option.high=0.05:0.1"),
        varied("CartPole-v1", "masscart=0.5:2", "masspole=0.1:1", "total_mass=sum:masscart+masspole"),
        varied("MountainCar-v0", "gravity=0.002:0.003", "force=0.0005:0.002"),
        varied("Taxi-v4", "kwarg.is_rainy=true|false"),
        varied("CartPole-v1", "length=0.5:0.5"),
        varied("sound_environments:HoldsInItsOwnForm", "angle=10:80"),
        sound(
            "HoldsInItsOwnForm",
            variations=(Variation(name="offsets", distribution=Distribution.CHOICE, values=([1, 2, 3], [4, 5, 6])),),
        ),
    ],
    ids=lambda spec: "-".join([spec.entry, *(variation.name for variation in spec.variations)]),
)
def test_variations_that_change_something_pass_without_a_word(spec: FamilySpec) -> None:
    assert told(spec) == []


def test_an_attribute_that_a_reset_puts_back_is_refused_with_both_values() -> None:
    with pytest.raises(FamilySpecError, match=r"varied attribute 'put_back' from [\d.]+, which was drawn .*, to 1\.0"):
        told(blown("put_back=2:3"))


def test_an_array_that_a_reset_overwrites_is_refused() -> None:
    winds = Variation(name="winds", distribution=Distribution.CHOICE, values=([2.0, 3.0], [4.0, 5.0]))
    with pytest.raises(FamilySpecError, match="varied attribute 'winds'"):
        told(drifting("Blown", variations=(winds,)))


def test_one_attribute_that_is_put_back_is_refused_beside_others_that_hold() -> None:
    with pytest.raises(FamilySpecError, match="varied attribute 'put_back'"):
        told(blown("wind=1:5", "put_back=2:3"))


def test_an_attribute_that_a_reset_changes_and_that_matters_is_told_and_admitted() -> None:
    [text] = told(blown("scaled=2:3"))
    assert text.startswith("A reset changes the varied attribute 'scaled'")


@pytest.mark.parametrize(
    ("variation", "expected"),
    [
        ("option.unheard=1:5", "reset option 'unheard' changed nothing"),
        ("kwarg.unread=1:5", "keyword argument 'unread' changed nothing"),
        ("unused=1:5", "attribute 'unused' changed nothing"),
        ("at_the_end=1:5", "may still matter in states that random actions do not reach"),
    ],
)
def test_a_variation_that_changes_nothing_is_told(variation: str, expected: str) -> None:
    [text] = told(blown(variation))
    assert expected in text


def test_only_the_variation_that_changes_nothing_is_told() -> None:
    [text] = told(blown("wind=1:5", "kwarg.force=1:5", "option.gust=1:5", "unused=1:5"))
    assert "'unused'" in text


def test_admission_refuses_and_warns_by_these_checks() -> None:
    with pytest.raises(FamilySpecError, match="varied attribute 'put_back'"):
        probe(blown("put_back=2:3"), limits=LIMITS)
    assert any(
        "'unheard' changed nothing" in text for text in probe(blown("option.unheard=1:5"), limits=LIMITS).warnings
    )
