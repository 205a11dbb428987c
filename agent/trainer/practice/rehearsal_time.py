"""The time that rehearsal takes of practice: a share of it, however many families there are."""

from __future__ import annotations

SHARE = 0.4
"""The largest share of the time of practice that rehearsal takes, with measuring what is being lost."""

SHORTEST_S = 0.5
"""Seconds in a slice for which rehearsal is not bounded."""

BEGIN_SHARE = 0.5
"""The share of rehearsal's time in a slice in which families are measured and trials are prepared."""


class RehearsalTime:
    """The time of rehearsal, over slices.

    Measuring one family and preparing its trials cannot be interrupted. What they take above the share is owed: the
    next slices have less rehearsal, or none, until it is made up for.
    """

    def __init__(self) -> None:
        self._owed_s = 0.0

    def begin_s(self, slice_s: float) -> float:
        """Return the seconds for measuring and preparing at the start of a slice; 0 for a slice without rehearsal.

        Args:
            slice_s: the length of the slice.
        """
        left_s = SHARE * max(slice_s, SHORTEST_S / SHARE) - self._owed_s
        return max(SHORTEST_S, BEGIN_SHARE * left_s) if left_s > 0.0 else 0.0

    def allows(self, spent_s: float, *, passed_s: float) -> bool:
        """Return whether rehearsal that spent seconds of a slice so far may take a further step."""
        return spent_s <= max(SHORTEST_S, SHARE * passed_s - self._owed_s)

    def note(self, *, spent_s: float, passed_s: float) -> None:
        """Note that rehearsal spent seconds of a slice that took ``passed_s``."""
        if spent_s > SHORTEST_S or self._owed_s > 0.0:
            self._owed_s = max(0.0, self._owed_s + spent_s - SHARE * passed_s)
