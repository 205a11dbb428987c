"""The default folders: a table of what the environment says and which folders follow."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config.paths import default_data_dir, settings_file

VARIABLES = ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "STATE_DIRECTORY", "CONFIGURATION_DIRECTORY", "LEARND_CONFIG")


def use_environment(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"HOME": "/home/user"}, "/home/user/.local/state/learnd"),
        ({"HOME": "/root"}, "/root/.local/state/learnd"),
        ({"HOME": "/home/user", "XDG_STATE_HOME": ""}, "/home/user/.local/state/learnd"),
        ({"HOME": "/home/user", "XDG_STATE_HOME": "/state"}, "/state/learnd"),
        ({"HOME": "/home/user", "XDG_STATE_HOME": "/state/"}, "/state/learnd"),
        ({"HOME": "/home/user", "XDG_STATE_HOME": "~/state"}, "~/state/learnd"),
        ({"HOME": "/home/user", "XDG_STATE_HOME": "state"}, "state/learnd"),
        ({"HOME": "/home/user", "XDG_STATE_HOME": "/state", "STATE_DIRECTORY": "/var/lib/learnd"}, "/var/lib/learnd"),
        ({"HOME": "/home/user", "STATE_DIRECTORY": "/var/lib/learnd:/var/lib/more"}, "/var/lib/learnd"),
        ({"HOME": "/home/user", "STATE_DIRECTORY": ""}, "/home/user/.local/state/learnd"),
    ],
)
def test_the_data_folder_follows_from_the_environment(
    environment: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_environment(monkeypatch, environment)
    assert default_data_dir() == Path(folder)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({}, ".config/learnd"),
        ({"XDG_CONFIG_HOME": ""}, ".config/learnd"),
        ({"XDG_CONFIG_HOME": "HOME/xdg"}, "xdg/learnd"),
        ({"XDG_CONFIG_HOME": "HOME/xdg", "CONFIGURATION_DIRECTORY": "HOME/etc:HOME/more"}, "etc"),
        ({"CONFIGURATION_DIRECTORY": ""}, ".config/learnd"),
    ],
)
def test_the_settings_file_follows_from_the_environment(
    environment: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    values = {name: value.replace("HOME", str(tmp_path)) for name, value in environment.items()}
    use_environment(monkeypatch, {"HOME": str(tmp_path), **values})
    assert settings_file() is None
    file = tmp_path / folder / "learnd.toml"
    for path in (file, tmp_path / ".config" / "learnd" / "learnd.toml"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert settings_file() == file
