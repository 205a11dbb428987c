"""Removed settings: they are accepted with a warning from every source, and have no effect."""

from __future__ import annotations

from agent.config.removed_settings import IgnoredValue, split_removed


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
