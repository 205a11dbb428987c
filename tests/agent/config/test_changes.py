"""The change between two settings: what a running service takes over, and what needs a restart."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from agent.config.changes import DAEMON_ONLY, NEEDS_RESTART, change_between
from agent.config.settings import Settings, setting_fields
from tests.repository import ROOT


def test_equal_settings_change_nothing() -> None:
    change = change_between(Settings(), Settings())
    assert (change.changed, change.needs_restart, change.needs_trainer) == ((), (), False)


def test_what_needs_a_restart_keeps_its_old_value() -> None:
    old = Settings(data_dir=Path("/old"), service={"listen": "127.0.0.1:1"})
    new = Settings(
        data_dir=Path("/new"), service={"listen": "127.0.0.1:2", "log_level": "debug"}, learner={"seed": 3, "nice": 7}
    )
    change = change_between(old, new)
    assert change.needs_restart == ("data_dir", "service.listen", "learner.seed")
    assert change.changed == ("service.log_level", "learner.nice")
    settings = change.settings
    assert (settings.data_dir, settings.service.listen, settings.learner.seed) == (Path("/old"), "127.0.0.1:1", 0)
    assert (settings.service.log_level, settings.learner.nice) == ("debug", 7)


@pytest.mark.parametrize(
    ("section", "values", "needs_trainer"),
    [
        ("service", {"log_level": "debug"}, False),
        ("jobs", {"backup": "1h"}, False),
        ("memory", {"keep_rejected": 3}, False),
        ("memory", {"keep_checkpoints": 3}, True),
        ("few_shot", {"learner": "versa"}, False),
        ("few_shot", {"regression_learner": "versa"}, False),
        ("few_shot", {"planned_updates": 100}, True),
        ("practise", {"windows": ["22:00-06:00"]}, False),
        ("practise", {"slice_s": "5s"}, True),
        ("rl2", {"hidden_size": 32}, True),
        ("workers", {"max_strikes": 2}, True),
    ],
)
def test_a_new_trainer_is_needed_only_for_what_it_uses(
    section: str, values: dict[str, object], needs_trainer: bool
) -> None:
    assert change_between(Settings(), Settings(**{section: values})).needs_trainer is needs_trainer


def test_every_listed_key_is_a_setting() -> None:
    assert {key for key, _ in setting_fields()} >= DAEMON_ONLY >= NEEDS_RESTART


@pytest.mark.parametrize(
    ("effect", "keys"),
    [("change within a second", DAEMON_ONLY - NEEDS_RESTART), ("need a restart of the service", NEEDS_RESTART)],
)
def test_the_manual_says_what_a_reload_does_with_each_setting(effect: str, keys: frozenset[str]) -> None:
    manual = (ROOT / "docs" / "operating.md").read_text()
    (row,) = (line for line in manual.splitlines() if line.startswith("|") and f"| {effect}" in line)
    patterns = re.findall(r"`(\S+)`", row.split("|")[1])
    named = {key for key, _ in setting_fields() if any(fnmatch(key, pattern) for pattern in patterns)}
    assert named == keys


@pytest.mark.parametrize("values", [{"token_file": "/etc/learnd/token"}, {"protect_metrics": True}])
def test_who_may_read_changes_at_a_restart(values: dict[str, object]) -> None:
    change = change_between(Settings(), Settings(service=values))
    assert change.needs_restart == tuple(f"service.{name}" for name in values)
    assert not change.needs_trainer
