"""The version is read once: an upgrade does not change it in a running process."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator

import pytest

from agent import running_version as module
from agent.running_version import running_version


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    running_version.cache_clear()
    yield
    running_version.cache_clear()


def _gone(_: str) -> str:
    raise importlib.metadata.PackageNotFoundError("learnd")


def test_the_version_is_that_of_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    first = running_version()
    assert first == importlib.metadata.version("learnd")
    monkeypatch.setattr(module, "version", _gone)
    assert running_version() == first


def test_an_installation_that_does_not_say_its_version_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "version", _gone)
    assert running_version() == "unknown"


def test_a_learner_of_another_version_than_controls_ends_with_a_sentence_before_it_opens_anything() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "agent.trainer", "--control-version", "0.0.0", "--settings", "{}", "--channel-fd", "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 6
    assert ran.stderr == f"learnd {running_version()} is installed, but the daemon runs 0.0.0: restart the service.\n"
