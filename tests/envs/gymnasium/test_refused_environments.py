"""Tests of environments that are refused, with what was found and what to write instead."""

from __future__ import annotations

from contextlib import closing

import pytest

from envs.errors import FamilySpecError, UnsupportedSpaceError
from envs.gymnasium.variations import Variation
from envs.registry import open_tasks
from envs.spaces import SpacePair
from tests.envs.families import LIMITS, broken, family, opened, playing, sound


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SequenceObservation", "observation space Sequence"),
        ("LargeObservation", "(?s)436800 values|at most 12 channels"),
        ("TextAction", "action space Text"),
    ],
)
def test_an_unsupported_space_is_refused_by_name(name: str, words: str) -> None:
    with pytest.raises(UnsupportedSpaceError, match=words):
        opened(broken(name))


@pytest.mark.parametrize(
    ("name", "part", "kept"),
    [("UnboundedPart", "part 'mission'", '["image"]'), ("NestedUnboundedPart", r"part 'told'\]\[0 of", '["image"]')],
)
def test_an_unsupported_part_is_refused_by_name_with_a_wrapper_that_leaves_it_out(
    name: str, part: str, kept: str
) -> None:
    with pytest.raises(UnsupportedSpaceError, match=f"{part}.*Sequence") as caught:
        opened(broken(name))
    assert f"--wrap 'FilterObservation:{{\"filter_keys\": {kept}}}'" in caught.value.hint


def test_a_batch_of_environments_is_refused_as_one() -> None:
    with pytest.raises(FamilySpecError, match=r"Name a single environment"):
        opened(broken("make_vectorised"))


def test_a_file_in_the_place_of_a_module_is_refused_with_the_module() -> None:
    with pytest.raises(FamilySpecError, match=r"Write envs:Maze --path mazes\."):
        opened(family("mazes/envs.py:Maze"))


def test_a_variation_of_an_attribute_that_is_not_there_is_refused_with_the_nearest() -> None:
    spec = family("CartPole-v1", variations=(Variation(name="lenght", low=0.3, high=1.0),))
    with pytest.raises(FamilySpecError, match=r"no attribute 'lenght'.*length"):
        opened(spec)


def test_an_unknown_id_is_refused_with_the_nearest() -> None:
    with pytest.raises(FamilySpecError, match=r"knows no 'CartPol-v1'.*CartPole-v1"):
        opened(family("CartPol-v1"))


def test_a_misspelt_class_is_refused_with_what_its_module_has() -> None:
    with pytest.raises(FamilySpecError, match="module sound_environments has no class or function 'Countr'") as caught:
        opened(sound("Countr"))
    assert "Counter" in caught.value.hint


def test_a_part_that_a_class_lacks_is_refused_with_how_a_class_is_named() -> None:
    with pytest.raises(FamilySpecError, match=r"sound_environments\.Counter has no 'Inner'") as caught:
        opened(sound("Counter.Inner"))
    assert caught.value.hint == "Write sound_environments:CLASS."


def test_an_unknown_id_of_a_users_module_is_refused_as_an_id() -> None:
    with pytest.raises(FamilySpecError, match=r"knows no 'Countr-v1'"):
        opened(sound("Countr-v1"))


def test_what_is_no_gymnasium_environment_is_refused() -> None:
    with pytest.raises(FamilySpecError, match="NotAnEnvironment, which is not a gymnasium"):
        opened(broken("NotAnEnvironment"))


def test_spaces_that_changed_since_admission_are_refused() -> None:
    spec = family("CartPole-v1")
    with playing(family("Acrobot-v1")) as tasks:
        admitted = tasks.spaces
    with pytest.raises(FamilySpecError, match="admitted with"):
        open_tasks(spec, admitted, num_trials=1, device="cpu", limits=LIMITS)
    assert SpacePair.from_json(admitted.to_json()) == admitted


def test_a_family_goes_on_that_was_admitted_before_different_observations_were_counted() -> None:
    spec = family("Blackjack-v1")
    with playing(spec) as tasks:
        found = tasks.spaces
    assert found.observation.num_distinct == 704
    before = found.without_num_distinct()
    assert before.to_json()["observation"] == {"kind": "vector", "size": 45}
    for admitted in (before, found):
        with closing(open_tasks(spec, admitted, num_trials=1, device="cpu", limits=LIMITS)) as tasks:
            assert tasks.spaces == admitted
