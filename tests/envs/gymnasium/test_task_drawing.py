"""Tests of drawing tasks: the same again in every process, and other changes of the interface for held-out tasks."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from gymnasium.envs.toy_text.frozen_lake import generate_random_map

from envs.errors import FamilySpecError
from envs.family import FamilySource, FamilySpec, Split
from envs.gymnasium.task_drawing import draw_task, draw_tasks, has_sides, is_on_held_out_side
from envs.gymnasium.variations import Distribution, InterfaceChange, Variation, VariationTarget


def change(name: InterfaceChange, distribution: Distribution, **settings: object) -> Variation:
    return Variation(name=name, target=VariationTarget.INTERFACE, distribution=distribution, **settings)  # type: ignore[arg-type]


FOUR_ACTIONS = change(InterfaceChange.ACTIONS, Distribution.PERMUTATIONS, options={"sizes": [4]})
TWO_ACTIONS = change(InterfaceChange.ACTIONS, Distribution.PERMUTATIONS, options={"sizes": [2]})
DELAY = change(InterfaceChange.REWARD_DELAY, Distribution.INTEGER, high=3.0)
SIGNS = change(InterfaceChange.OBSERVATION_SIGNS, Distribution.SIGNS, options={"size": 2})
SCALES = change(InterfaceChange.OBSERVATION_SCALES, Distribution.FACTORS, low=0.5, high=2.0, options={"size": 3})


def family(*variations: Variation) -> FamilySpec:
    return FamilySpec(name="a", source=FamilySource.GYMNASIUM, entry="CartPole-v1", variations=variations)


def combinations(spec: FamilySpec, split: Split) -> set[str]:
    return {json.dumps(task.interface) for task in draw_tasks(spec, split, 0, 400)}


@pytest.mark.parametrize("variations", [(FOUR_ACTIONS,), (TWO_ACTIONS, DELAY), (TWO_ACTIONS, SIGNS)])
def test_held_out_tasks_have_combinations_that_no_training_task_has(variations: tuple[Variation, ...]) -> None:
    training, held_out = (combinations(family(*variations), split) for split in Split)
    assert training
    assert held_out
    assert not training & held_out


def test_every_combination_is_met_and_a_quarter_is_held_out() -> None:
    training, held_out = (combinations(family(FOUR_ACTIONS), split) for split in Split)
    every = {json.dumps({"actions": [list(order)]}) for order in itertools.permutations(range(4))}
    assert training | held_out == every
    assert len(held_out) == 6


def test_the_unchanged_environment_belongs_to_training() -> None:
    unchanged = {"actions": [[0, 1, 2, 3]], "reward_delay": 0, "observation_signs": [1, 1]}
    assert not is_on_held_out_side((FOUR_ACTIONS, DELAY, SIGNS), unchanged)


def test_two_values_are_too_few_to_hold_one_out() -> None:
    assert not has_sides((TWO_ACTIONS,))
    assert combinations(family(TWO_ACTIONS), Split.TRAINING) == combinations(family(TWO_ACTIONS), Split.HELD_OUT)


def test_changes_of_the_interface_leave_the_other_values_of_a_task_as_they_were() -> None:
    gravity = Variation(name="gravity", low=7.0, high=13.0)
    plain = draw_tasks(family(gravity), Split.TRAINING, 0, 20)
    changed = draw_tasks(family(FOUR_ACTIONS, gravity, SCALES), Split.TRAINING, 0, 20)
    assert [(task.seed, task.attributes) for task in plain] == [(task.seed, task.attributes) for task in changed]


def test_a_task_is_the_same_in_another_process() -> None:
    spec = family(FOUR_ACTIONS, SCALES, DELAY)
    program = (
        "import json, sys; from envs.family import FamilySpec, Split;"
        "from envs.gymnasium.task_drawing import draw_tasks;"
        "spec = FamilySpec.from_json(json.loads(sys.argv[1]));"
        "print(json.dumps([task.to_json() for task in draw_tasks(spec, Split.HELD_OUT, 5, 3)]))"
    )
    arguments = [sys.executable, "-c", program, json.dumps(spec.to_json())]
    answer = subprocess.run(arguments, check=True, capture_output=True, text=True)
    assert json.loads(answer.stdout) == [task.to_json() for task in draw_tasks(spec, Split.HELD_OUT, 5, 3)]


def test_factors_are_within_their_bounds() -> None:
    factors = [f for task in draw_tasks(family(SCALES), Split.TRAINING, 0, 100) for f in task.interface[SCALES.name]]
    assert len(factors) == 300
    assert 0.5 <= min(factors) < 0.55
    assert 1.9 < max(factors) <= 2.0


def test_a_share_of_the_tasks_is_changed_and_the_others_are_not() -> None:
    shared = [
        change(
            variation.name,
            variation.distribution,
            low=variation.low,
            high=variation.high,
            options={**variation.options, "share": 0.25},
        )  # type: ignore[arg-type]
        for variation in (SCALES, change(InterfaceChange.STICKY_ACTIONS, Distribution.UNIFORM, high=0.5))
    ]
    tasks = draw_tasks(family(*shared), Split.TRAINING, 0, 400)
    for name, unchanged in (("observation_scales", [1.0, 1.0, 1.0]), ("sticky_actions", 0)):
        share = sum(task.interface[name] != unchanged for task in tasks) / len(tasks)
        assert 0.18 < share < 0.32


def test_held_out_tasks_of_a_share_have_other_combinations_too() -> None:
    half = change(InterfaceChange.ACTIONS, Distribution.PERMUTATIONS, options={"sizes": [3], "share": 0.5})
    training, held_out = (combinations(family(half, DELAY), split) for split in Split)
    assert held_out
    assert not training & held_out


def test_a_variation_that_was_not_completed_cannot_be_drawn() -> None:
    with pytest.raises(FamilySpecError, match="not completed"):
        draw_task((change(InterfaceChange.ACTIONS, Distribution.AUTO),), entropy=(1,))


def _lakes(size: int, p: float) -> tuple[Variation, ...]:
    options = {"size": size, "p": p}
    lake = Variation(
        name="desc", target=VariationTarget.KWARG, distribution=Distribution.FROZEN_LAKE_MAP, options=options
    )
    return (lake,)


@pytest.mark.parametrize(("size", "p"), [(4, 0.8), (5, 0.5), (8, 1.0), (2, 0.3)])
def test_a_map_of_a_lake_is_the_one_that_gymnasium_draws(size: int, p: float) -> None:
    for index in range(20):
        generator = np.random.default_rng(np.random.SeedSequence((7, index)))
        generator.integers(2**31 - 1)  # the seed of the task
        expected = generate_random_map(size, p, int(generator.integers(2**31 - 1)))
        assert draw_task(_lakes(size, p), entropy=(7, index)).kwargs["desc"] == expected


def test_maps_without_a_way_are_given_up() -> None:
    with pytest.raises(FamilySpecError, match=r"none of 2000 maps of size 8 with a share of 0\.05 frozen cells"):
        draw_task(_lakes(8, 0.05), entropy=(7, 0))


def test_a_sum_of_texts_is_refused() -> None:
    variations = (
        Variation(name="mode", distribution=Distribution.CHOICE, values=("easy", "hard")),
        Variation(name="total", distribution=Distribution.SUM, values=("mode", "mode")),
    )
    with pytest.raises(FamilySpecError, match=r"it combines 'mode', which is '(easy|hard)'"):
        draw_task(variations, entropy=(7, 0))
