"""Wrappers are read, stored, and applied in the worker in their order."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from envs.declaration import family_from_declaration
from envs.errors import FamilySpecError
from envs.family import FamilySource, FamilySpec, Split
from envs.gymnasium.wrappers import PRESETS, EnvWrapper, parse_wrapper
from tests.envs.families import opened

OWN = """
import gymnasium
import numpy as np

class Adds(gymnasium.ObservationWrapper):
    def __init__(self, env, amount=1.0):
        super().__init__(env)
        self.amount = amount

    def observation(self, observation):
        return (observation + self.amount).astype(np.float32)

class Doubles(gymnasium.ObservationWrapper):
    def observation(self, observation):
        return (2 * observation).astype(np.float32)

def broken(env):
    return "no environment"
"""


def wrapped(*wrappers: EnvWrapper, entry: str = "CartPole-v1", folder: Path | None = None, **more: Any) -> FamilySpec:
    paths = () if folder is None else (str(folder),)
    return FamilySpec(
        name="tried", source=FamilySource.GYMNASIUM, entry=entry, wrappers=wrappers, import_paths=paths, **more
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "name", "kwargs"),
    [
        ("FlattenObservation", "FlattenObservation", {}),
        ('FrameStackObservation:{"stack_size": 4}', "FrameStackObservation", {"stack_size": 4}),
        ("minigrid.wrappers:ImgObsWrapper", "minigrid.wrappers:ImgObsWrapper", {}),
        ('own:Adds:{"amount": 2, "deep": {"a": [1]}}', "own:Adds", {"amount": 2, "deep": {"a": [1]}}),
    ],
)
def test_a_wrapper_is_read(text: str, name: str, kwargs: dict[str, Any]) -> None:
    assert parse_wrapper(text) == EnvWrapper(name=name, kwargs=kwargs)


@pytest.mark.parametrize("text", ["", ":", "own:", "a b", 'Adds{"amount": 2}', "Adds:{amount}", "Adds:[1]", "./own"])
def test_a_text_that_is_no_wrapper_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(FamilySpecError, match="Write NAME"):
        parse_wrapper(text)


def test_wrappers_are_applied_in_their_order(folder: Path) -> None:
    adds, doubles = EnvWrapper(name="own:Adds", kwargs={"amount": 1.5}), EnvWrapper(name="own:Doubles")
    first = {}
    for label, wrappers in (("none", ()), ("adds first", (adds, doubles)), ("doubles first", (doubles, adds))):
        with closing(opened(wrapped(*wrappers, folder=folder), 1)) as tasks:
            first[label] = tasks.begin(0, split=Split.TRAINING)
    torch.testing.assert_close(first["adds first"], 2 * (first["none"] + 1.5))
    torch.testing.assert_close(first["doubles first"], 2 * first["none"] + 1.5)


def test_a_wrapper_of_gymnasium_is_named_without_its_module() -> None:
    with closing(opened(wrapped(EnvWrapper(name="FrameStackObservation", kwargs={"stack_size": 3})), 2)) as tasks:
        assert tasks.spaces.observation.width == 12


def test_wrappers_change_no_task(folder: Path) -> None:
    plain, changed = wrapped(), wrapped(EnvWrapper(name="own:Adds"), folder=folder)
    with closing(opened(plain, 2)) as one, closing(opened(changed, 2)) as other:
        seen = (one.begin(3, split=Split.HELD_OUT), other.begin(3, split=Split.HELD_OUT))
        torch.testing.assert_close(seen[0] + 1, seen[1])


@pytest.mark.parametrize(
    ("wrapper", "found"),
    [
        (EnvWrapper(name="FlatenObservation"), "Did you mean FlattenObservation"),
        (EnvWrapper(name="own:Ads"), "Did you mean Adds"),
        (EnvWrapper(name="own:Adds", kwargs={"size": 3}), "own:Adds cannot be applied .*unexpected keyword.*'size'"),
        (EnvWrapper(name="own:broken"), "returned a str"),
    ],
)
def test_a_wrapper_that_does_not_fit_is_refused_by_its_name(wrapper: EnvWrapper, found: str, folder: Path) -> None:
    with pytest.raises(FamilySpecError, match=found):
        opened(wrapped(wrapper, folder=folder), 1)


def test_a_wrapper_in_a_file_is_found_in_the_files_folder(folder: Path) -> None:
    spec = family_from_declaration("CartPole-v1", wrappers=['own.py:Adds:{"amount": 2}'], folder=folder)
    assert spec.wrappers == (EnvWrapper(name="own:Adds", kwargs={"amount": 2}),)
    assert spec.import_paths == (str(folder),)


def test_a_preset_comes_before_other_wrappers_and_below_own_arguments() -> None:
    spec = family_from_declaration(
        "ALE/Pong-v5", preset="atari", wrappers=["FlattenObservation"], kwargs={"repeat_action_probability": 0.0}
    )
    names = [wrapper.name for wrapper in spec.wrappers]
    assert names == ["AtariPreprocessing", "FrameStackObservation", "FlattenObservation"]
    assert spec.kwargs == {"frameskip": 1, "repeat_action_probability": 0.0}


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(FamilySpecError, match="Write atari"):
        family_from_declaration("ALE/Pong-v5", preset="attari")


def test_the_atari_preset_gives_four_grey_frames_as_channels() -> None:
    ale = pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    import gymnasium

    preset = PRESETS["atari"]
    gymnasium.register_envs(ale)
    env = gymnasium.make("ALE/Pong-v5", **preset.kwargs)
    for wrapper in preset.wrappers:
        env = getattr(gymnasium.wrappers, wrapper.name)(env, **wrapper.kwargs)
    assert env.observation_space.shape == (4, 84, 84)
    env.close()


def test_a_tensor_family_takes_no_wrappers() -> None:
    with pytest.raises(FamilySpecError, match="no environment that could be wrapped"):
        family_from_declaration("bernoulli_bandits", wrappers=["FlattenObservation"])


def test_wrappers_survive_json_and_a_family_without_them_has_the_json_of_before() -> None:
    spec = wrapped(EnvWrapper(name="own:Adds", kwargs={"amount": 2}))
    assert FamilySpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert "wrappers" not in wrapped().to_json()
