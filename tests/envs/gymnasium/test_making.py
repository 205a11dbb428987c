"""Tests of what a worker makes of an entry, and of the hint that it gives where it finds nothing."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from envs.errors import FamilySpecError
from envs.gymnasium.host import making_hints
from envs.gymnasium.host.providers import installed_providers, well_known_provider
from tests.envs.families import family, opened

ONE = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

class _Base(gymnasium.Env):
    pass

class Shown(gymnasium.Wrapper):
    pass

class Pole(CartPoleEnv):
    pass
"""
TWO = ONE + "\nclass Cart(Pole):\n    pass\n"


def opened_from(text: str, folder: Path, entry: str = "poles:*") -> Any:
    (folder / "poles.py").write_text(text)
    return closing(opened(family(entry, import_paths=(str(folder),)), 1))


def test_the_only_environment_class_of_a_file_is_taken_and_its_name_is_kept(tmp_path: Path) -> None:
    with opened_from(ONE, tmp_path) as tasks:
        assert tasks.spec.entry == "poles:Pole"
        assert tasks.spaces.observation.width == 4


def test_several_environment_classes_of_a_file_are_listed(tmp_path: Path) -> None:
    with pytest.raises(FamilySpecError, match=r"2 environment classes: Pole, Cart.*Write poles.py:Pole or poles.py:Ca"):
        opened_from(TWO, tmp_path)


def test_a_file_without_an_environment_class_says_what_counts(tmp_path: Path) -> None:
    with pytest.raises(FamilySpecError, match=r"no environment class of its own.*poles.py:FUNCTION"):
        opened_from("import gymnasium\nfrom gymnasium import Env\n", tmp_path)


def test_an_id_whose_well_known_package_is_installed_is_made_without_naming_the_package() -> None:
    pytest.importorskip("ale_py")
    entry = "ALE/Pong-v5"
    with closing(opened(family(entry, kwargs={"obs_type": "ram"}, import_paths=()), 1)) as tasks:
        assert tasks.spec.entry == entry
        assert tasks.spaces.observation.width == 128


def test_an_id_whose_well_known_package_is_missing_names_the_package_and_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(making_hints, "is_installed", lambda module: False)
    hint = making_hints.unknown_id_hint("ALE/Pong-v5")
    assert "pip install ale-py" in hint
    assert "ale_py:ALE/Pong-v5" in hint


@pytest.mark.parametrize(
    ("env_id", "package"),
    [
        ("ALE/Breakout-v5", "ale-py"),
        ("MinAtar/Breakout-v1", "MinAtar"),
        ("MiniGrid-DoorKey-5x5-v0", "minigrid"),
        ("highway-fast-v0", "highway-env"),
        ("FetchReach-v4", "gymnasium-robotics"),
        ("popgym-RepeatFirstEasy-v0", "popgym"),
    ],
)
def test_well_known_ids_have_a_package(env_id: str, package: str) -> None:
    provider = well_known_provider(env_id)
    assert provider is not None
    assert provider.package == package


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Ant-v5", "Maze-v0"])
def test_other_ids_have_none(env_id: str) -> None:
    assert well_known_provider(env_id) is None


def test_an_id_is_registered_by_the_function_that_its_package_declares_for_its_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = "gymnasium.register('Poles/Pole-v0', 'gymnasium.envs.classic_control:CartPoleEnv')"
    (tmp_path / "declared_poles.py").write_text(f"import gymnasium\ndef register():\n    {register}\n")
    folder = tmp_path / "declared_poles-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: declared_poles\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[gymnasium.envs]\nPoles = declared_poles:register\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with closing(opened(family("Poles/Pole-v0", import_paths=()), 1)) as tasks:
        assert tasks.spaces.observation.width == 4
    with pytest.raises(FamilySpecError, match="Poles/Stick-v0"):
        opened(family("Poles/Stick-v0", import_paths=()), 1)


@pytest.mark.parametrize("is_of_gym_021", [False, True])
def test_an_id_that_is_registered_with_the_old_gym_is_told(
    is_of_gym_021: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {"SuperMario-v0": None}
    registration = SimpleNamespace(registry=SimpleNamespace(env_specs=ids) if is_of_gym_021 else ids)
    monkeypatch.setitem(sys.modules, "gym.envs.registration", registration)
    assert "old package gym" in making_hints.unknown_id_hint("SuperMario-v0")
    assert "old package gym" not in making_hints.unknown_id_hint("SuperLuigi-v0")


class _File:
    """A file of an installed package."""

    suffix, size = ".py", 100

    def __init__(self, module: str, text: str) -> None:
        self.parts, self._text = (module, "registration.py"), text

    def read_binary(self) -> bytes:
        return self._text.encode()


def test_an_installed_package_that_names_an_id_is_found_by_its_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'register(id="Warehouse-v2")'
    packages = [
        SimpleNamespace(name="one", requires=["gymnasium>=1.0"], files=[_File("rware", text)]),
        SimpleNamespace(name="one", requires=["gymnasium"], files=[_File("other", 'register(id="Warehouses-v2")')]),
        SimpleNamespace(name="one", requires=["numpy"], files=[_File("unrelated", text)]),
    ]
    monkeypatch.setattr("importlib.metadata.distributions", lambda: packages)
    assert installed_providers("Warehouse-v2") == ["rware"]
    assert "write rware:Warehouse-v2" in making_hints.unknown_id_hint("Warehouse-v2")


@pytest.mark.parametrize(
    "env_id", ["CartPoll-v1", "CartPole", "cartpole-v1", "CartPole-v9", "CartPole-v1 ", "CARTPOLE", "gym/CartPoles-v1"]
)
def test_an_id_with_another_version_none_or_a_misspelling_gets_the_nearest_newest_ones(env_id: str) -> None:
    hint = making_hints.unknown_id_hint(env_id)
    assert hint.startswith("Did you mean CartPole-v1")
    assert "CartPole-v0" not in hint
    assert "gymnasium:" not in hint


def test_an_id_of_a_well_known_package_in_other_letters_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making_hints, "is_installed", lambda module: False)
    assert "pip install ale-py" in making_hints.unknown_id_hint("ale/pong-v5")


NEEDY = """
import gymnasium
from gymnasium import spaces

class Needy(gymnasium.Env):
    def __init__(self, size, *, colour="red"):
        pass

class Spaceless(gymnasium.Env):
    action_space = spaces.Discrete(2)

class Team:
    possible_agents = ["a", "b"]

class Plain:
    def reset(self): pass
    def step(self, action): pass

def a_class():
    return Needy

an_environment = Spaceless()
"""


@pytest.mark.parametrize(
    ("entry", "kwargs", "words"),
    [
        ("poles:Needy", {}, r"needs the argument size\. Give it: --kwarg size=VALUE"),
        ("poles:Needy", {"size": 1, "color": "blue"}, r"takes no argument 'color'\. Did you mean colour\?"),
        ("CartPole-v1", {"size": 1}, r"'CartPole-v1' takes no argument 'size'\. It takes: sutton_barto_reward"),
        ("poles:Spaceless", {}, r"a Spaceless without observation_space\. Set self\.observation_space"),
        ("poles:Team", {}, "several agents"),
        ("poles:Plain", {}, r"Derive its class from gymnasium\.Env"),
        ("poles:a_class", {}, "It is the class Needy: name the class, or return an instance"),
        ("poles:an_environment", {}, r"is a Spaceless, which cannot make environments\. Name its class"),
        ("poles:Needy.inner", {}, r"poles\.Needy has no 'inner'\. Write poles:CLASS"),
    ],
)
def test_what_cannot_be_made_says_what_to_write_instead(
    entry: str, kwargs: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / "poles.py").write_text(NEEDY)
    with pytest.raises(FamilySpecError, match=words):
        opened(family(entry, kwargs=kwargs, import_paths=(str(tmp_path),)), 1)
