"""Tests of shares of time: they follow the families' weights, whatever a slice of a family costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from agent.daemon.scheduling.background_families import FIRST_WAIT_S, LONGEST_WAIT_S, BackgroundFamilies
from agent.daemon.scheduling.family_choice import FLOOR, Candidate, choose, weight
from agent.daemon.scheduling.practice_time import CATCH_UP_S, HALF_LIFE_S, PracticeTime

LEARNING = (0.0, 0.0, 0.0, 0.5, 0.5, 0.5)
STUCK = (1.0,) * 6


def candidate(name: str, returns: tuple[float, ...] = LEARNING) -> Candidate:
    return Candidate(name=name, created_at=0.0, waited_s=1.0, returns=returns, reference_return=1.0)


def shares(slices_s: dict[str, float], candidates: list[Candidate], *, for_s: float = 3000.0) -> dict[str, float]:
    """Return the share of time of each family, if each of its slices takes so long."""
    time, now, taken = PracticeTime(), 0.0, Counter[str]()
    practised_at = dict.fromkeys(slices_s, 0.0)
    while now < for_s:
        virtual_s = time.of({c.name: weight(c) for c in candidates}, now=now)
        present = [replace(c, waited_s=now - practised_at[c.name], virtual_s=virtual_s[c.name]) for c in candidates]
        chosen = choose(present)
        assert chosen is not None
        name = chosen.family
        now += slices_s[name]
        time.add(name, slices_s[name], now=now)
        practised_at[name] = now
        taken[name] += slices_s[name]
    return {name: taken[name] / now for name in slices_s}


def test_families_of_equal_weight_share_the_time_equally_whatever_their_slices_cost() -> None:
    found = shares({"dear": 20.0, "cheap": 3.0, "cheapest": 0.5}, [candidate(n) for n in ("dear", "cheap", "cheapest")])
    assert found == pytest.approx(dict.fromkeys(found, 1 / 3), abs=0.04)


def test_shares_of_time_follow_the_weights() -> None:
    families = [candidate("learning"), candidate("stuck", STUCK)]
    weights = {c.name: weight(c) for c in families}
    assert weights["stuck"] == pytest.approx(FLOOR)
    found = shares({"learning": 3.0, "stuck": 10.0}, families)
    expected = {name: w / sum(weights.values()) for name, w in weights.items()}
    assert found == pytest.approx(expected, abs=0.04)


def test_a_family_that_could_not_be_practised_catches_up_on_a_minute_at_most() -> None:
    time, weights = PracticeTime(), {"a": 1.0, "b": 0.5, "back": 1.0}
    time.of(weights, now=0.0)
    time.add("a", 400.0, now=0.0)
    time.add("b", 200.0, now=0.0)
    time.limit_lags({"a", "b"})
    assert time.of(weights, now=0.0) == {"a": 400.0, "b": 400.0, "back": 400.0 - CATCH_UP_S}


def test_a_family_that_could_be_chosen_keeps_what_it_is_behind() -> None:
    time, weights = PracticeTime(), {"dear": 1.0, "cheap": 1.0}
    time.of(weights, now=0.0)
    time.add("dear", 400.0, now=0.0)
    time.limit_lags(weights)
    assert time.of(weights, now=0.0) == {"dear": 400.0, "cheap": 0.0}


def test_a_family_joins_at_the_least_virtual_time_whatever_its_weight() -> None:
    time, weights = PracticeTime(), {"a": 1.0, "b": 0.5}
    time.of(weights, now=0.0)
    time.add("a", 100.0, now=0.0)
    time.add("b", 40.0, now=0.0)
    assert time.of(weights | {"light": FLOOR}, now=0.0) == {"a": 100.0, "b": 80.0, "light": 80.0}
    time.add("light", 3.0, now=0.0)
    assert time.of({"a": 1.0, "light": FLOOR}, now=0.0) == {"a": 100.0, "light": pytest.approx(95.0)}


def test_time_that_was_taken_counts_half_after_the_half_life() -> None:
    time = PracticeTime()
    time.add("a", 100.0, now=10.0)
    assert time.of({"a": 1.0}, now=10.0 + HALF_LIFE_S) == pytest.approx({"a": 50.0})


def test_time_is_divided_by_the_weight_when_it_is_taken() -> None:
    time = PracticeTime()
    time.of({"a": 1.0}, now=0.0)
    time.add("a", 100.0, now=0.0)
    assert time.of({"a": FLOOR}, now=0.0) == {"a": 100.0}
    time.add("a", 1.0, now=0.0)
    assert time.of({"a": 1.0}, now=0.0) == {"a": pytest.approx(100.0 + 1.0 / FLOOR)}


def test_a_family_that_was_not_practised_while_others_were_has_its_past_forgotten() -> None:
    time = PracticeTime()
    time.add("a", 100.0, now=0.0)
    time.of({"b": 1.0}, now=0.0)
    assert time.of({"a": 1.0, "b": 1.0}, now=0.0) == {"a": 0.0, "b": 0.0}


def test_a_family_in_the_background_is_asked_again_after_a_moment_if_there_are_others() -> None:
    background, families = BackgroundFamilies(), [candidate("slow"), candidate("quick")]
    assert background.note("slow", is_under_way=True, now=100.0)
    assert [c.name for c in background.without_asked(families, now=100.1)] == ["quick"]
    assert len(background.without_asked(families, now=100.0 + FIRST_WAIT_S)) == 2
    assert [c.name for c in background.without_asked(families[:1], now=100.1)] == ["slow"]
    background.note("quick", is_under_way=True, now=100.1)
    assert [c.name for c in background.without_asked(families, now=100.15)] == ["slow"], "asked the longest ago"
    background.note("quick", is_under_way=False, now=100.2)
    assert not background.note("slow", is_under_way=False, now=100.2)
    assert len(background.without_asked(families, now=100.3)) == 2


def test_a_family_that_is_under_way_for_long_is_asked_for_less_often() -> None:
    background, families, now, waits = BackgroundFamilies(), [candidate("slow"), candidate("quick")], 0.0, []
    for _ in range(6):
        background.note("slow", is_under_way=True, now=now)
        asked_at = now
        while len(background.without_asked(families, now=now)) == 1:
            now += 0.25
        waits.append(now - asked_at)
    assert waits == [2.0, 4.0, *[LONGEST_WAIT_S] * 4]
    background.note("slow", is_under_way=False, now=now)
    background.note("slow", is_under_way=True, now=now)
    assert len(background.without_asked(families, now=now + FIRST_WAIT_S)) == 2


def test_a_family_in_the_background_is_asked_at_once_when_there_is_a_result() -> None:
    background, families = BackgroundFamilies(), [candidate("slow"), candidate("dear"), candidate("quick")]
    for _ in range(8):
        background.note("slow", is_under_way=True, now=100.0)
        background.note("dear", is_under_way=True, now=100.0)
    background.note_results(["slow", "paused"])
    assert [c.name for c in background.without_asked(families, now=100.1)] == ["slow", "quick"]
    background.note("slow", is_under_way=True, now=100.1)
    assert [c.name for c in background.without_asked(families, now=100.2)] == ["quick"]
