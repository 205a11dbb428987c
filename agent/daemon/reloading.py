"""Reload of the settings while the service runs, at SIGHUP: new ones are taken over, wrong ones are reported."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from agent.config.changes import SettingsChange, change_between
from agent.config.settings import Settings
from agent.errors import SettingsError

log = structlog.get_logger(__name__)


class SettingsReload:
    """The settings in force, and their reload.

    Args:
        settings: the settings of the start.
        load: reads the settings from all sources, as at the start; None if they cannot be read again.
        apply: takes over a change.
    """

    def __init__(
        self, settings: Settings, *, load: Callable[[], Settings] | None, apply: Callable[[SettingsChange], None]
    ) -> None:
        self.settings = settings
        self._load = load
        self._apply = apply
        self.problem = ""
        """The problems of the newest settings, which are not in force; empty if there are none."""
        self.needs_restart: tuple[str, ...] = ()
        """The settings whose new values need a restart of the service."""

    def reload(self) -> None:
        """Read the settings again and take them over; if they are wrong, keep those in force."""
        if self._load is None:
            log.warning("settings cannot be reloaded; restart the service to change them")
            return
        try:
            new = self._load()
        except SettingsError as error:
            problems = [str(problem) for problem in error.problems]
            self.problem = f"{error.subject}: " + "; ".join(problems)
            log.error("settings are wrong; the old ones stay in force", file=error.subject, problems=problems)  # noqa: TRY400 -- a traceback would add nothing
            return
        self.problem = ""
        for ignored in new.ignored:
            log.warning("removed setting has no effect", setting=ignored.key, reason=ignored.reason)
        change = change_between(self.settings, new)
        self.settings = change.settings
        self.needs_restart = change.needs_restart
        self._apply(change)
        log.info("settings reloaded", changed=list(change.changed))
        if change.needs_restart:
            log.warning("settings need a restart of the service to take effect", settings=list(change.needs_restart))
