"""Ways to name an environment, and environments that are refused with the right reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.conftest import Learnd

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "entry",
    [
        "my_env:MyEnv",
        "registers:My/Line-v0",
        "registers:MyEnv",
        "spaces_envs:MultiDiscreteAction",
        "spaces_envs:DictTextObs",
        "spaces_envs:DictAction",
    ],
)
def test_an_environment_of_a_user_is_admitted(entry: str, learnd: Learnd, inputs: Callable[[str], Path]) -> None:
    added = learnd("env", "add", entry, "--name", "fed", "--path", str(inputs("feeding")))
    assert added.returncode == 0, added.stdout
    assert "fed is active" in added.stdout


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("spaces_envs:DictSequenceObs", "part 'seen' of the observation space"),
        ("spaces_envs:NoSeedKw", "does not provide a `seed`"),
        ("spaces_envs:OldApi", "does not provide a `seed` and `options` keyword argument"),
        ("spaces_envs:NeedsArg", "missing 1 required positional argument: 'size'"),
        ("spaces_envs:vectorised", "Name a single environment"),
        ("spaces_envs:nothing", "must return the environment that it makes"),
        ("my_env.py:MyEnv", "there is no file"),
    ],
)
def test_what_cannot_be_practised_is_refused_with_its_reason(
    entry: str, words: str, learnd: Learnd, inputs: Callable[[str], Path]
) -> None:
    folder = inputs("feeding")
    module, _, name = entry.partition(":")
    if not module.endswith(".py") and name not in (folder / f"{module}.py").read_text():
        pytest.skip(f"the input has no {name}")
    added = learnd("env", "add", entry, "--name", "fed", "--path", str(folder))
    assert added.returncode == 1, added.stdout
    assert words in " ".join(added.stdout.split())
