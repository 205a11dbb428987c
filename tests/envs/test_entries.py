"""Entries that name Python files, and interpreters of virtual environments."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from envs.declaration import family_from_declaration
from envs.entries import file_entry, interpreter_of, is_python_file, portable_entry, shown_entry
from envs.errors import FamilySpecError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "maze.py").write_text("")
    package = tmp_path / "games" / "grids"
    package.mkdir(parents=True)
    for place in (package.parent, package):
        (place / "__init__.py").write_text("")
    (package / "rooms.py").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("entry", "is_file"),
    [
        ("maze.py", True),
        ("./mazes/maze.py:Maze", True),
        ("maze.py:Outer.Inner", True),
        ("maze:Maze", False),
        ("CartPole-v1", False),
        ("ale_py:ALE/Pong-v5", False),
        ("./images", False),
    ],
)
def test_only_names_that_end_in_py_are_python_files(entry: str, is_file: bool) -> None:
    assert is_python_file(entry) is is_file


def test_a_file_is_a_module_in_its_folder(folder: Path) -> None:
    named = file_entry("maze.py:Maze", folder=folder)
    assert (named.entry, named.import_path, named.default_name) == ("maze:Maze", str(folder), "Maze")


def test_a_file_without_a_class_stands_for_its_only_class_and_gives_the_name(folder: Path) -> None:
    named = file_entry(str(folder / "maze.py"))
    assert (named.entry, named.default_name) == ("maze:*", "maze")


def test_a_file_in_a_package_is_imported_from_above_the_package(folder: Path) -> None:
    named = file_entry("games/grids/rooms.py:Room", folder=folder)
    assert (named.entry, named.import_path) == ("games.grids.rooms:Room", str(folder))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nothing.py", "there is no file"),
        ("folder.py", "it is a folder"),
    ],
)
def test_a_file_that_is_not_there_is_refused_with_the_reason(name: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(FamilySpecError, match=found):
        file_entry(name, folder=tmp_path)


@pytest.mark.parametrize(
    "name", ["two-words.py", "two words.py", "maze.v2.py", "2048.py", "random.py", "gymnasium.py", "torch.py"]
)
def test_a_file_whose_name_cannot_be_imported_or_is_a_library_s_stays_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("")
    named = file_entry(f"{name}:Maze", folder=tmp_path)
    assert (named.entry, named.import_path) == (f"{tmp_path / name}:Maze", str(tmp_path))
    assert file_entry(named.entry) == named, "so that an exported family is added again as it was"
    assert shown_entry(file_entry(name, folder=tmp_path).entry) == str(tmp_path / name)


def test_a_file_named_as_a_package_of_learnd_s_own_is_imported_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "memory.py").write_text("")
    assert file_entry("memory.py:Maze", folder=tmp_path).entry == "memory:Maze"


def test_a_folder_that_is_no_package_s_name_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "my-game").mkdir()
    for name in ("__init__.py", "rooms.py"):
        (tmp_path / "my-game" / name).write_text("")
    named = file_entry("my-game/rooms.py:Room", folder=tmp_path)
    assert (named.entry, named.import_path) == ("rooms:Room", str(tmp_path / "my-game"))


def test_the_tasks_of_a_file_do_not_depend_on_its_folder() -> None:
    assert portable_entry("/home/me/my-env.py:Maze") == "my-env.py:Maze"
    assert [portable_entry(entry) for entry in ("maze:Maze", "ALE/Pong-v5")] == ["maze:Maze", "ALE/Pong-v5"]


def test_a_declared_file_runs_in_its_own_folder_before_other_import_paths(folder: Path) -> None:
    spec = family_from_declaration("maze.py:BigMaze", folder=folder, import_paths=["/elsewhere"])
    assert (spec.name, spec.entry) == ("bigmaze", "maze:BigMaze")
    assert spec.import_paths == (str(folder), "/elsewhere")


def test_the_folder_of_a_virtual_environment_stands_for_its_interpreter(tmp_path: Path) -> None:
    link = tmp_path / "venv" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to(sys.executable)
    assert interpreter_of(tmp_path / "venv") == link, "the link itself, by whose place its packages are found"
    assert interpreter_of(link) == link


@pytest.mark.parametrize(
    ("name", "found"), [("none", "there is no such file"), (".", "it has no bin/python"), ("text", "not a program")]
)
def test_a_path_without_an_interpreter_is_refused(name: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("")
    with pytest.raises(FamilySpecError, match=found):
        interpreter_of(tmp_path / name)


def test_an_entry_is_shown_as_a_user_writes_it() -> None:
    assert [shown_entry(entry) for entry in ("maze:*", "games.maze:*", "maze:Maze", "CartPole-v1")] == [
        "maze.py",
        "games/maze.py",
        "maze:Maze",
        "CartPole-v1",
    ]
