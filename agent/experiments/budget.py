"""The budget of a run: seconds of processor time, or a number of updates."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from agent.config.units import format_duration, parse_duration
from agent.errors import AgentError

BUDGET_FORM = 'Write seconds of processor time as "60s", "5m" or "1h30m", or updates as "500u".'
_UPDATES = re.compile(r"\s*(\d[\d_]*)\s*u\s*")


class BudgetError(AgentError):
    """A budget that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A limit on a run in seconds or in updates; one of the two is None.

    Attributes:
        cpu_s: seconds of processor time for drawing tasks and learning from them; scoring is not counted.
        updates: outer steps.
    """

    cpu_s: float | None = None
    updates: int | None = None

    def fraction_spent(self, *, cpu_s: float, updates: int, planned_updates: int) -> float:
        """Return the share that is spent, 0 to 1: of the time, or of the planned updates if the limit is in updates."""
        return min(1.0, updates / planned_updates if self.cpu_s is None else cpu_s / self.cpu_s)

    def planned_updates(self, seconds_per_update: float) -> int:
        """Return the number of outer steps that the budget allows, at least one.

        Args:
            seconds_per_update: processor seconds of an outer step.
        """
        allowed = self.updates if self.cpu_s is None else int(self.cpu_s / seconds_per_update)
        return max(1, allowed or 1)

    def __str__(self) -> str:
        """Return the budget in the form that :func:`parse_budget` reads."""
        return f"{self.updates}u" if self.cpu_s is None else format_duration(self.cpu_s)


def parse_budget(text: str) -> Budget:
    """Read a budget.

    Args:
        text: a duration with its unit ("60s", "5m"), or a number of updates ("500u").

    Raises:
        BudgetError: the text is neither, or the budget is zero.
    """
    match = _UPDATES.fullmatch(text)
    if match is not None:
        if int(match[1]) < 1:
            raise _refusal(text, "it allows no update.")
        return Budget(updates=int(match[1]))
    if _is_bare_number(text):
        raise _refusal(text, "it has no unit.")
    try:
        cpu_s = parse_duration(text)
    except ValueError:
        raise _refusal(text, "it is neither a duration nor a number of updates.") from None
    if cpu_s <= 0:
        raise _refusal(text, "it allows no time.")
    return Budget(cpu_s=cpu_s)


def _is_bare_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _refusal(text: str, found: str) -> BudgetError:
    return BudgetError(operation="reading budget", subject=text, found=found, hint=BUDGET_FORM)
