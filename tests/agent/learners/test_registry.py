"""The registry states what each learner can do, and what it states is true."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import subprocess
import sys
from typing import Any

import pytest
import torch

import agent.learners
from agent.config.settings import FewShotSettings
from agent.learners.factory import FEW_SHOT_LEARNERS, POLICY_LEARNERS, build
from agent.learners.recipes import RECIPES, TaskKind
from agent.learners.registry import (
    LEARNERS,
    RL2,
    LearnerEntry,
    acting_learners,
    canonical_name,
    few_shot_learners,
    public_names,
)
from envs.few_shot.tasks import FewShotShapes
from tests.agent.learners.cases import SHAPES, generator

every_few_shot_learner = pytest.mark.parametrize("name", FEW_SHOT_LEARNERS)
BLOBS = FewShotShapes(input_shape=(1, 16, 16), output_size=3, is_classification=True)


def learner_classes() -> set[Any]:
    """Every class below ``agent.learners`` that can be restored from tensors and takes outer steps."""
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(agent.learners.__path__, "agent.learners.")
    ]
    classes = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    return {
        cls
        for cls in classes
        if hasattr(cls, "from_tensors") and hasattr(cls, "update") and not getattr(cls, "_is_protocol", False)
    }


def images(ways: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(1, ways, 1, 16, 16, generator=generator()), torch.arange(ways).unsqueeze(0)


def test_an_entry_must_state_every_capability() -> None:
    assert all(
        field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        for field in dataclasses.fields(LearnerEntry)
    )
    with pytest.raises(TypeError, match="takes_any_ways"):
        LearnerEntry(  # type: ignore[call-arg]
            name="new",
            aliases=(),
            form_of=None,
            learner="module:Class",
            config="module:Class",
            does_classification=True,
            does_regression=False,
            acts=False,
            is_amortised=False,
        )


def test_every_learner_in_the_package_has_an_entry() -> None:
    assert learner_classes() == {entry.load()[0] for entry in LEARNERS.values()}


def test_every_registered_learner_can_be_loaded() -> None:
    for entry in LEARNERS.values():
        assert all(isinstance(part, type) for part in entry.load())


def test_every_learner_has_a_kind_of_task() -> None:
    assert {RL2, *FEW_SHOT_LEARNERS, *POLICY_LEARNERS} == set(LEARNERS)


def test_a_form_of_another_learner_is_chosen_by_the_name_of_that_learner() -> None:
    assert {entry.form_of for entry in LEARNERS.values() if entry.form_of} <= set(FEW_SHOT_LEARNERS)
    assert {chosen: entry.name for chosen, entry in acting_learners().items()} == {
        "rl2": "rl2",
        "maml": "maml-policy",
        "reptile": "reptile-policy",
        "meta-sgd": "meta-sgd-policy",
    }


def test_an_alias_is_the_name_that_is_shown_and_belongs_to_one_learner() -> None:
    names = [name for entry in LEARNERS.values() for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))
    assert canonical_name("protonet") == "prototypical"
    assert public_names(few_shot_learners()) == (
        "maml",
        "reptile",
        "meta-sgd",
        "protonet",
        "matching",
        "platipus",
        "versa",
    )


@every_few_shot_learner
def test_a_learner_is_built_for_regression_if_its_entry_says_so(name: str) -> None:
    if LEARNERS[name].does_regression:
        config = RECIPES[TaskKind.REGRESSION][name].config(1)
        assert not build(name, SHAPES, config, generator=generator()).shapes.is_classification
    else:
        with pytest.raises(ValueError, match="regression"):
            build(name, SHAPES, generator=generator())


@every_few_shot_learner
def test_a_learner_adapts_to_other_numbers_of_classes_if_its_entry_says_so(name: str) -> None:
    learner = build(name, BLOBS, RECIPES[TaskKind.IMAGES][name].config(1), generator=generator())
    x, y = images(5)
    predict_five = learner.adapt(*images(3))
    assert predict_five(x).shape == (1, 5, 3)
    if LEARNERS[name].takes_any_ways:
        assert learner.adapt(x, y)(x).shape == (1, 5, 5)
    else:
        with pytest.raises((RuntimeError, IndexError)):
            learner.adapt(x, y)(x)


@every_few_shot_learner
def test_a_learner_stores_the_name_of_its_entry(name: str) -> None:
    assert build(name, BLOBS, generator=generator()).to_meta()["learner"] == name


def test_recipes_exist_for_what_entries_say_is_learned() -> None:
    assert set(RECIPES[TaskKind.REGRESSION]) == {e.name for e in few_shot_learners() if e.does_regression}
    assert set(RECIPES[TaskKind.IMAGES]) == {e.name for e in few_shot_learners() if e.does_classification}


def test_settings_refuse_a_learner_that_does_not_learn_such_tasks() -> None:
    assert FewShotSettings(learner="versa", regression_learner="versa").learner == "versa"
    with pytest.raises(ValueError, match="one of the learners maml, reptile, meta-sgd, platipus, versa"):
        FewShotSettings(regression_learner="protonet")
    with pytest.raises(ValueError, match="one of the learners maml, reptile, meta-sgd, protonet"):
        FewShotSettings(learner="rl2")


def test_the_registry_and_the_settings_load_without_torch() -> None:
    code = "import sys, agent.learners.registry, agent.config.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
