"""The turns of slow and fast families, over hours of simulated time: daemon's choice and trainer's plays together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

import agent.trainer.plays
from agent.daemon.scheduling.practice_choice import PracticeChoice
from agent.trainer.plays import BackgroundPlays, UnderWayError
from tests.agent.daemon.scheduling.test_practice_choice import family

ROLLOUT, PLACES = "rollout", 4


@dataclass
class Rollout:
    """A rollout that ends at a time of the simulated clock."""

    ends_at: float
    is_over: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> str:
        assert self.is_over.wait(30.0)
        return "trials"


class Service:
    """A trainer and its daemon on a clock that only work and waiting move.

    Args:
        rollouts_s: seconds of a rollout of each family; its updates take ``update_s``.
    """

    update_s = 0.5

    def __init__(self, rollouts_s: dict[str, float]) -> None:
        self.now = 0.0
        self.rollouts_s = rollouts_s
        self.families = {name: replace(family(name), id=number) for number, name in enumerate(rollouts_s)}
        self.choice = PracticeChoice()
        self.choice.restore(dict.fromkeys(rollouts_s, 0.0))
        self.plays = BackgroundPlays(
            patience_s=3.0, most_at_once=PLACES, on_wait=lambda: self.pass_time(0.1), monotonic=lambda: self.now
        )
        self.rollouts: dict[int, Rollout] = {}
        self.slices: dict[str, list[float]] = {name: [] for name in rollouts_s}
        self.took_s = dict.fromkeys(rollouts_s, 0.0)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for family_id, rollout in list(self.rollouts.items()):
            if rollout.ends_at <= self.now:
                rollout.is_over.set()
                del self.rollouts[family_id]
                while family_id in self.plays.under_way():
                    time.sleep(0)

    def run(self, for_s: float) -> None:
        end = self.now + for_s
        while self.now < end:
            chosen = self.choice.choose(self.families.values(), returns={}, may_start=lambda _name: True, now=self.now)
            assert chosen is not None
            began = self.now
            is_under_way = not self._practise(chosen.family)
            self.pass_time(0.05)
            took_s = self.now - began
            self.took_s[chosen.family] += took_s
            self.choice.note(chosen.family, took_s=took_s, is_under_way=is_under_way, now=self.now)
            ready = self.plays.have_results() | self.plays.have_places()
            self.choice.note_results(name for name, known in self.families.items() if known.id in ready)

    def _practise(self, name: str) -> bool:
        """Practise a family for a slice, as the trainer does; return whether it learned something."""
        family_id, began = self.families[name].id, self.now
        try:
            self.plays.run(family_id, ROLLOUT, lambda: self._prepared(name))
            while True:
                self.plays.forget(family_id, ROLLOUT)
                self.pass_time(self.update_s)
                if self.plays.is_slow(family_id, ROLLOUT) or self.now - began >= 3.0:
                    break
                self.plays.run(family_id, ROLLOUT, lambda: self._prepared(name))
        except UnderWayError:
            return False
        self.slices[name].append(self.now)
        if self.plays.is_slow(family_id, ROLLOUT):
            self.plays.begin(family_id, ROLLOUT, lambda: self._prepared(name))
        return True

    def _prepared(self, name: str) -> Callable[[], str]:
        rollout = Rollout(ends_at=self.now + self.rollouts_s[name])
        self.rollouts[self.families[name].id] = rollout
        return rollout


@pytest.fixture(autouse=True)
def quick_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent.trainer.plays, "CHECK_S", 0.0001)


SLOW = {f"slow-{number}": 20.0 for number in range(8)}
FAST = {"fast-1": 0.2, "fast-2": 0.2}


def test_each_of_more_slow_families_than_places_gets_its_turn_and_fast_ones_keep_their_share() -> None:
    service = Service(SLOW | FAST)
    service.run(1200.0)
    counts = {name: len(slices) for name, slices in service.slices.items()}
    ideal = 1200.0 / 20.0 * PLACES / len(SLOW)
    assert min(counts[name] for name in SLOW) > 0.7 * ideal
    assert max(counts[name] for name in SLOW) < 1.3 * ideal
    pauses = [later - earlier for slices in service.slices.values() for earlier, later in pairwise(slices)]
    assert max(pauses) < 80.0
    shares = {name: took_s / service.now for name, took_s in service.took_s.items()}
    assert min(shares[name] for name in FAST) > 0.35
