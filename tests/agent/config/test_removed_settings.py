"""Removed settings: they are accepted with a warning from every source, and have no effect."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config.loading import load_settings
from agent.config.removed_settings import REMOVED_SETTINGS, IgnoredValue, split_removed
from agent.config.settings import ConsolidationSettings, Settings, setting_fields


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CONFIGURATION_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))


def test_values_of_removed_settings_are_split_from_the_others() -> None:
    values = {"data_dir": "/srv", "memory": {"old": 3, "max_size": 7}, "rl2": {"older": "x"}}
    kept, ignored = split_removed(values, source=".".join, removed={"memory.old": "it is gone", "rl2.older": "it went"})
    assert kept == {"data_dir": "/srv", "memory": {"max_size": 7}, "rl2": {}}
    assert ignored == [
        IgnoredValue(key="memory.old", value="3", source="memory.old", reason="it is gone"),
        IgnoredValue(key="rl2.older", value="'x'", source="rl2.older", reason="it went"),
    ]
    assert str(ignored[0]) == "memory.old = 3 (memory.old) has no effect: it is gone"
    assert values["memory"] == {"old": 3, "max_size": 7}


def test_every_source_may_hold_removed_settings_and_each_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "learnd.toml"
    file.write_text('[consolidation]\nouter_step = "sideways"\ntolerance = 0.1\n')
    monkeypatch.setenv("LEARND_CONSOLIDATION__RATE", "0.9")
    settings = load_settings(file, {"consolidation": {"inner_updates": 3, "trials_tensor": None}})
    assert settings.consolidation == ConsolidationSettings(tolerance=0.1)
    assert {ignored.key: (ignored.value, ignored.source) for ignored in settings.ignored} == {
        "consolidation.outer_step": ("'sideways'", str(file)),
        "consolidation.rate": ("'0.9'", "variable LEARND_CONSOLIDATION__RATE"),
        "consolidation.inner_updates": ("3", "option"),
    }


def test_settings_that_are_all_in_use_give_no_warning(tmp_path: Path) -> None:
    file = tmp_path / "learnd.toml"
    file.write_text("[consolidation]\ntolerance = 0.1\n")
    assert load_settings(file).ignored == ()


def test_no_setting_is_both_removed_and_in_use() -> None:
    assert not REMOVED_SETTINGS.keys() & {key for key, _ in setting_fields()}
    assert all(key.split(".")[0] in Settings.model_fields for key in REMOVED_SETTINGS)
