"""Every kind of space through a real worker: the environments check each action that they are given."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import torch

from envs.declared_values import parse_variation
from envs.errors import UnsupportedSpaceError, WorkerFaultError
from envs.family import FamilySpec, Split
from envs.gymnasium.automatic_variations import complete
from envs.gymnasium.batch import WorkerTaskBatch
from envs.random_actions import random_actions
from envs.spaces import ActionKind, SpacePair
from envs.task_batch import allowed_choices
from tests.envs.environments.environments_of_every_kind import ACTIONS, OBSERVATIONS
from tests.envs.families import LIMITS, all_active, family, opened

NUM_STEPS = 60
MASKED = [("discrete", "info"), ("multi_discrete", "info"), ("dict", "info"), ("dict", "observation")]


def every_kind(**kwargs: Any) -> FamilySpec:
    return family("environments_of_every_kind:EveryKind", kwargs=kwargs)


def masked(kind: str, told: str) -> FamilySpec:
    return family("environments_of_every_kind:Masked", kwargs={"kind": kind, "told": told})


def play(tasks: WorkerTaskBatch, *, num_steps: int = NUM_STEPS, is_aware_of_masks: bool = True) -> None:
    generator = torch.Generator().manual_seed(0)
    tasks.begin(0, split=Split.TRAINING)
    for _ in range(num_steps):
        allowed = allowed_choices(tasks) if is_aware_of_masks else None
        action = random_actions(tasks.spaces.action, tasks.num_trials, generator, allowed=allowed)
        # Numbers of a policy are not bounded.
        action = action * 3.0 if tasks.spaces.action.kind is ActionKind.CONTINUOUS else action
        tasks.step(action, all_active(tasks.num_trials))


@pytest.mark.parametrize("kind", ACTIONS)
def test_every_action_is_in_the_space_of_the_environment(kind: str) -> None:
    with closing(opened(every_kind(action=kind))) as tasks:
        play(tasks)
        assert SpacePair.from_json(tasks.spaces.to_json()) == tasks.spaces
        assert "." not in tasks.spaces.key


@pytest.mark.parametrize("kind", ["dict", "tuple", "choices_of_parts", "many_integers"])
def test_changes_of_the_interface_fit_every_action(kind: str) -> None:
    spec = every_kind(action=kind)
    varied = replace(spec, variations=(parse_variation("actions"), parse_variation("sticky")))
    with closing(opened(complete(varied, limits=LIMITS))) as tasks:
        play(tasks)


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_every_observation_becomes_a_vector_of_one_size(kind: str) -> None:
    with closing(opened(every_kind(observation=kind))) as tasks:
        first = tasks.begin(0, split=Split.TRAINING)
        assert first.shape == (2, tasks.spaces.observation.size)
        later = tasks.step(torch.zeros(2, dtype=torch.int64), all_active(2)).observation
        assert first.isfinite().all()
        assert not torch.equal(first, later)


@pytest.mark.parametrize(("kind", "told"), MASKED)
def test_random_actions_are_among_those_that_the_mask_allows(kind: str, told: str) -> None:
    with closing(opened(masked(kind, told))) as tasks:
        play(tasks)


@pytest.mark.parametrize(("kind", "told"), MASKED)
def test_an_action_that_the_mask_forbids_is_replaced_by_one_that_it_allows(kind: str, told: str) -> None:
    with closing(opened(masked(kind, told))) as tasks:
        play(tasks, is_aware_of_masks=False)


@pytest.mark.parametrize(("kind", "told"), MASKED)
def test_masks_follow_permuted_actions(kind: str, told: str) -> None:
    spec = masked(kind, told)
    varied = replace(spec, variations=(parse_variation("actions"), parse_variation("sticky")))
    with closing(opened(complete(varied, limits=LIMITS))) as tasks:
        play(tasks)


@pytest.mark.parametrize(("kind", "told"), MASKED)
def test_checks_of_an_environment_take_allowed_actions_alone(kind: str, told: str) -> None:
    with closing(opened(masked(kind, told))) as tasks:
        for _ in range(3):
            assert tasks.check()["failure"] is None
        assert tasks.effective_numbers(1.5)["is_replayed"]


def test_masks_are_those_of_the_environment() -> None:
    with closing(opened(family("Taxi-v4"), num_trials=3)) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        allowed = allowed_choices(tasks)
        assert allowed is not None
        assert allowed.shape == (3, 6)
        assert not allowed[:, 4:].all()


def test_an_environment_without_masks_has_none() -> None:
    with closing(opened(family("CartPole-v1"))) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        assert allowed_choices(tasks) is None


def test_a_mask_that_does_not_fit_the_action_space_is_a_fault_that_shows_it() -> None:
    with (
        closing(opened(family("environments_of_every_kind:WrongMask"))) as tasks,
        pytest.raises(WorkerFaultError, match=r"action mask does not fit the action space Discrete\(3.*shape \(2,\)"),
    ):
        tasks.begin(0, split=Split.TRAINING)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NoBound", r"observation space Sequence.*max_length"),
        ("NoNodeBound", r"part 'map' of the observation space, Graph.*max_nodes"),
        ("SequenceOfActions", r"part 'inner'\]\[0 of the action space, Sequence.*ActionWrapper"),
    ],
)
def test_a_space_without_a_bound_is_refused_with_what_to_do(name: str, words: str) -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        opened(family(f"environments_of_every_kind:{name}"))
    assert re.search(words, f"{caught.value.found} {caught.value.hint}")


def test_the_name_of_an_unsupported_space_has_no_address() -> None:
    pytest.importorskip("minigrid")
    with pytest.raises(UnsupportedSpaceError, match=r"MissionSpace\(<function EmptyEnv._gen_mission>") as caught:
        opened(family("MiniGrid-Empty-5x5-v0"))
    assert "ImgObsWrapper" in caught.value.hint


def test_more_elements_than_the_bound_are_a_fault() -> None:
    with (
        closing(opened(family("environments_of_every_kind:TooLong"))) as tasks,
        pytest.raises(WorkerFaultError, match=r"observation \(max_length\) has 3 elements, and its space allows 2"),
    ):
        tasks.begin(0, split=Split.TRAINING)
