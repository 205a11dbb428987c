"""Case output-in-latin-1: characters that stdout's encoding lacks are replaced, by every command and by the service."""

from __future__ import annotations

import json

import pytest

from tests.cases.conftest import Learnd

pytestmark = pytest.mark.slow


@pytest.fixture(
    params=[
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["latin-1", "ascii", "cp1252", "locale C"],
)
def narrow(request: pytest.FixtureRequest, learnd: Learnd) -> Learnd:
    """The command in a locale that has no box-drawing characters."""
    learnd.environment = request.param
    return learnd


def test_commands_replace_what_the_encoding_lacks(narrow: Learnd) -> None:
    added = narrow("env", "add", "bernoulli_bandits", "--name", "bandits")
    assert "Traceback" not in added.stdout
    assert added.returncode == 0
    assert "bandits is active" in added.stdout
    for words in (["status"], ["doctor"], ["env", "show", "bandits"], ["schedule", "list"], ["--help"]):
        ended = narrow(*words)
        assert "Traceback" not in ended.stdout
        assert "Error" not in ended.stdout
        assert ended.returncode == 0, ended.stdout
    families = json.loads(narrow("env", "list", "--json").stdout)["families"]
    assert [family["name"] for family in families] == ["bandits"]


def test_the_service_logs_in_a_narrow_encoding(narrow: Learnd) -> None:
    assert narrow("env", "add", "bernoulli_bandits", "--name", "bandits").returncode == 0
    ended = narrow("run", "--for", "15")
    assert "Traceback" not in ended.stdout
    assert ended.returncode == 0, ended.stdout
