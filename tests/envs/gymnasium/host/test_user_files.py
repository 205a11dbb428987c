"""A worker loads a user's file whatever its name, and a library of the same name stays what it is."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from envs.declaration import family_from_declaration
from envs.family import Split
from tests.envs.families import LIMITS, opened

TEXT = """
import gymnasium
import {library} as library
import sibling

assert library.{member}, "the library is the user's file"


class Room(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(sibling.SIZE)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        import {library}
        return len([{library}.{member}]), {{}}

    def step(self, action):
        return 0, 1.0, True, False, {{}}
"""


@pytest.mark.parametrize(
    ("name", "library", "member"),
    [
        ("2 rooms-v1.0", "json", "dumps"),
        ("random", "random", "Random"),
        ("gymnasium", "gymnasium", "make"),
        ("yaml", "yaml", "safe_load"),
    ],
)
def test_a_file_is_loaded_and_hides_no_library(name: str, library: str, member: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text(TEXT.format(library=library, member=member))
    (tmp_path / "sibling.py").write_text("SIZE = 7")
    spec = family_from_declaration(f"{name}.py", folder=tmp_path)
    with closing(opened(spec, 2, limits=LIMITS)) as tasks:
        assert tasks.spec.entry == f"{tmp_path / name}.py:Room"
        assert tasks.spaces.observation.size == 7
        assert tasks.begin(0, split=Split.TRAINING)[:, 0].tolist() == [1.0, 1.0]


def test_a_file_in_a_package_of_a_library_s_name_reaches_its_neighbours(tmp_path: Path) -> None:
    package = tmp_path / "random"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "size.py").write_text("SIZE = 7")
    text = TEXT.format(library="random", member="Random").replace("import sibling", "from . import size as sibling")
    (package / "room-1.py").write_text(text)
    spec = family_from_declaration("random/room-1.py:Room", folder=tmp_path)
    with closing(opened(spec, 1, limits=LIMITS)) as tasks:
        assert tasks.spaces.observation.size == 7
