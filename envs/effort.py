"""Limits of the time that a check of a family and its parts may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


class TimeUpError(Exception):
    """The time of a check is over."""


class TimeLimit:
    """A limit of time of a check or of a part of it, which begins when it is made.

    Args:
        within_s: the time in seconds.
        monotonic: the clock.
    """

    def __init__(self, within_s: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._end = monotonic() + within_s

    def left_s(self) -> float:
        """Return the seconds that are left, at least 0."""
        return max(0.0, self._end - self._monotonic())

    def part(self, share: float) -> TimeLimit:
        """Return the limit of a part that may take a share of what is left."""
        return TimeLimit(share * self.left_s(), monotonic=self._monotonic)

    def check(self) -> None:
        """Check that time is left.

        Raises:
            TimeUpError: none is.
        """
        if self.left_s() <= 0.0:
            raise TimeUpError


@dataclass(frozen=True, kw_only=True)
class Effort:
    """The limits of the parts of a check.

    Attributes:
        whole_s: time of the whole check; a call of the environment that is at work then is interrupted.
        contract_steps: steps of one run of the check of the contract.
        contract_s: time of the first of about five such runs; the others take as many steps.
        spaces_s: time after which no further tasks are begun to compare their spaces.
        world_s: time for stepping copies alone and in turn, without their resets.
        variations_s: time for comparing tasks that differ in one variation, without their first resets.
        most_s: a comparison that is expected to take longer is not made.
        enough_s: time after which no further batch of random trials is started.
        longest_s: time after which the running batch is stopped if an episode has ended.
        patience_s: time to wait for the end of a first episode if a step limit is known.
        endless_s: time to wait for the end of a first episode if no step limit is known.
        is_thorough: whether the check goes on after a refusal, to report everything.
    """

    whole_s: float = 600.0
    contract_steps: int = 200
    contract_s: float = 1.0
    spaces_s: float = 0.5
    world_s: float = 1.5
    variations_s: float = 1.5
    most_s: float = 6.0
    enough_s: float = 3.0
    longest_s: float = 30.0
    patience_s: float = 300.0
    endless_s: float = 30.0
    is_thorough: bool = False


def thorough(max_time_s: float) -> Effort:
    """Return the effort of a check whose verdict does not depend on the load of the machine.

    It counts steps and episodes, and time only as the end of its patience.

    Args:
        max_time_s: time that the whole check may take.
    """
    return Effort(
        whole_s=max_time_s,
        contract_s=max_time_s / 20,
        spaces_s=max_time_s / 20,
        world_s=max_time_s / 5,
        variations_s=max_time_s / 10,
        most_s=max_time_s / 4,
        longest_s=min(30.0, max_time_s),
        patience_s=max_time_s,
        endless_s=max_time_s,
        is_thorough=True,
    )
