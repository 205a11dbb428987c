"""Events in the log when health changes, with the reasons."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from agent.daemon.health import Problem, RedReason

log = structlog.get_logger(__name__)


class HealthLog:
    """A logger of changes of health. What was found about a lasting reason may change without an event."""

    def __init__(self) -> None:
        self._reasons: frozenset[RedReason] = frozenset()

    def note(self, problems: Sequence[Problem]) -> None:
        """Log the difference to the problems of the last call, if there is one."""
        reasons = frozenset(problem.reason for problem in problems)
        began, ended = sorted(reasons - self._reasons), sorted(self._reasons - reasons)
        self._reasons = reasons
        if began:
            log.error("health is red", began=began, ended=ended, reasons=[str(problem) for problem in problems])
        elif ended and problems:
            log.warning("health is still red", ended=ended, reasons=[str(problem) for problem in problems])
        elif ended:
            log.info("health is good again", ended=ended)
