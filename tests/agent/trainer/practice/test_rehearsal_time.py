"""The time of rehearsal: it keeps to its share of practice, however long measuring and preparing families takes."""

from __future__ import annotations

import pytest

from agent.trainer.practice.rehearsal_time import SHARE, SHORTEST_S, RehearsalTime


class Practice:
    """Slices of practice on a clock that only work moves.

    Args:
        item_s: seconds of measuring one family, and of preparing one; eight families are losing something.
        step_s: seconds of a step of rehearsal, one of which is due after each minibatch of ``minibatch_s``.
    """

    def __init__(self, *, item_s: float, step_s: float, minibatch_s: float = 0.1) -> None:
        self.time = RehearsalTime()
        self.item_s, self.step_s, self.minibatch_s = item_s, step_s, minibatch_s
        self.passed_s = self.spent_s = 0.0
        self.num_rehearsing = 0

    def practise(self, slice_s: float = 3.0) -> None:
        passed_s = spent_s = 0.0
        within_s = self.time.begin_s(slice_s)
        if within_s > 0.0:
            self.num_rehearsing += 1
            for part in (within_s / 2.0, within_s):
                spent_s += self.item_s
                while spent_s < part:
                    spent_s += self.item_s
        passed_s += spent_s
        while passed_s < slice_s:
            passed_s += self.minibatch_s
            if within_s > 0.0 and self.time.allows(spent_s, passed_s=passed_s):
                spent_s, passed_s = spent_s + self.step_s, passed_s + self.step_s
        self.time.note(spent_s=spent_s, passed_s=passed_s)
        self.passed_s, self.spent_s = self.passed_s + passed_s, self.spent_s + spent_s


@pytest.mark.parametrize(("item_s", "step_s"), [(0.02, 0.3), (0.4, 0.1), (1.5, 0.1), (5.0, 1.0)])
def test_rehearsal_keeps_to_its_share_and_goes_on(item_s: float, step_s: float) -> None:
    practice = Practice(item_s=item_s, step_s=step_s)
    for _ in range(200):
        practice.practise()
    assert practice.spent_s <= (SHARE + 0.02) * practice.passed_s
    assert practice.spent_s >= 0.25 * practice.passed_s
    assert practice.num_rehearsing > 5


def test_short_rehearsal_is_not_bounded() -> None:
    time = RehearsalTime()
    for _ in range(10):
        assert time.begin_s(1e-6) >= SHORTEST_S
        assert time.allows(SHORTEST_S, passed_s=1e-6)
        time.note(spent_s=0.4, passed_s=0.5)


def test_quick_slices_without_debt_rehearse_as_before() -> None:
    practice = Practice(item_s=0.01, step_s=0.02)
    practice.practise()
    assert practice.num_rehearsing == 1
    assert practice.time.begin_s(3.0) == pytest.approx(0.5 * SHARE * 3.0)
