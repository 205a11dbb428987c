"""Settings that are valid alone and cannot work together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.config.settings import Settings
from agent.config.units import format_duration


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """A setting that cannot work with another one.

    Attributes:
        key: its dotted name.
        value: its value in its written form.
        allowed: a description of the values that work with the other setting.
    """

    key: str
    value: str
    allowed: str


def conflicts(settings: Settings) -> Iterator[tuple[Conflict, ...]]:
    """Yield each conflict, as seen from each setting that takes part in it."""
    learner, workers = settings.learner, settings.workers
    yield from _first_above_longest(
        "learner.restart_first_s", learner.restart_first_s, "learner.restart_max_s", learner.restart_max_s
    )
    yield from _first_above_longest(
        "workers.quarantine_first_s", workers.quarantine_first_s, "workers.quarantine_max_s", workers.quarantine_max_s
    )


def _first_above_longest(
    first: str, first_s: float, longest: str, longest_s: float
) -> Iterator[tuple[Conflict, Conflict]]:
    """Yield the two sides of the conflict of a first duration that is longer than the longest."""
    if first_s > longest_s:
        first_text, longest_text = format_duration(first_s), format_duration(longest_s)
        yield (
            Conflict(key=first, value=first_text, allowed=f"at most {longest}, which is {longest_text}"),
            Conflict(key=longest, value=longest_text, allowed=f"at least {first}, which is {first_text}"),
        )
