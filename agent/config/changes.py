"""The difference between two settings: what changed, and what a running service can take over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agent.config.section import Section
from agent.config.settings import Settings, setting_fields

NEEDS_RESTART = frozenset(
    {
        "data_dir",
        "service.listen",
        "service.allowed_hosts",
        "service.token_file",
        "service.protect_metrics",
        "service.time_zone",
        "learner.seed",
        "stream.embedded_default",
    }
)
"""The settings that are read once, at the start of the service."""

DAEMON_ONLY = frozenset(
    {
        *NEEDS_RESTART,
        "service.log_level",
        "practise.windows",
        "jobs.evaluate",
        "jobs.consolidate",
        "jobs.checkpoint",
        "jobs.prune",
        "jobs.backup",
        "jobs.verify",
        "learner.start_timeout_s",
        "learner.stall_timeout_s",
        "learner.restart_first_s",
        "learner.restart_max_s",
        "learner.crash_loop_restarts",
        "learner.crash_loop_window_s",
        "memory.max_size",
        "memory.max_age",
        "memory.keep_backups",
        "memory.keep_rejected",
        "memory.backup_command",
        "evaluation.share",
        "consolidation.share",
        "few_shot.learner",
        "few_shot.regression_learner",
        "reference.default",
        "reference.steps",
        "reference.nice",
        "stream.folder",
    }
)
"""The settings that the trainer does not use. A change of another one needs a new trainer process."""


@dataclass(frozen=True, kw_only=True)
class SettingsChange:
    """A change from the settings in force to new ones.

    Attributes:
        settings: the new settings in force; what needs a restart keeps its old value.
        changed: the keys whose values are taken over.
        needs_restart: the keys whose new values need a restart of the service.
    """

    settings: Settings
    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]

    @property
    def needs_trainer(self) -> bool:
        """Return whether the trainer must be started again."""
        return not DAEMON_ONLY.issuperset(self.changed)


def change_between(old: Settings, new: Settings) -> SettingsChange:
    """Return the change from the settings in force to new ones."""
    differing = [key for key, _ in setting_fields() if _value(old, key) != _value(new, key)]
    kept = [key for key in differing if key in NEEDS_RESTART]
    return SettingsChange(
        settings=_with_values_of(old, new, kept),
        changed=tuple(key for key in differing if key not in kept),
        needs_restart=tuple(kept),
    )


def _value(settings: Settings, key: str) -> Any:
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _with_values_of(old: Settings, new: Settings, keys: Iterable[str]) -> Settings:
    """Return the new settings with the old values of some keys."""
    for key in keys:
        section, _, name = key.rpartition(".")
        inner: Section | None = getattr(new, section) if section else None
        update = {name: _value(old, key)}
        new = new.model_copy(update=update if inner is None else {section: inner.model_copy(update=update)})
    return new
