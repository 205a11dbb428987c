"""Tests of plays in the background: the trainer waits for a limited time, and the next call takes the result."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.plays import WAITING_S, BackgroundPlays, PlayStoppedError, UnderWayError

LONG_S = 30.0
FAMILY, OTHER, THIRD = 1, 2, 3
OPTIONS: dict[str, Any] = {"patience_s": LONG_S, "most_at_once": 2, "on_wait": lambda: None}


class Blocked:
    """A play that goes on until it is released."""

    def __init__(self, result: Any = "played") -> None:
        self.release, self.begun = threading.Event(), threading.Event()
        self.result, self.count = result, 0

    def __call__(self) -> Any:
        self.count += 1
        self.begun.set()
        assert self.release.wait(LONG_S)
        return self.result


@pytest.fixture
def blocked() -> Iterator[Blocked]:
    play = Blocked()
    yield play
    play.release.set()


def test_the_result_of_a_quick_play_is_returned() -> None:
    plays = BackgroundPlays(**OPTIONS)
    assert plays.run(FAMILY, "rollout", lambda: lambda: threading.current_thread() is threading.main_thread()) is False


def test_a_play_that_takes_longer_goes_on_and_its_result_is_taken_later(blocked: Blocked) -> None:
    plays = BackgroundPlays(**{**OPTIONS, "patience_s": 0.01})
    with pytest.raises(UnderWayError, match="rollout goes on in the background"):
        plays.run(FAMILY, "rollout", lambda: blocked)
    assert plays.under_way() == {FAMILY}
    assert plays.run(OTHER, "rollout", lambda: lambda: "other") == "other"
    with pytest.raises(UnderWayError):
        plays.run(FAMILY, "rollout", lambda: blocked)
    blocked.release.set()
    assert plays.run(FAMILY, "rollout", lambda: blocked, is_patient=True) == "played"
    assert blocked.count == 1
    assert plays.under_way() == set()


def test_a_result_is_kept_until_it_is_forgotten_or_another_is_asked_for() -> None:
    plays, results = BackgroundPlays(**OPTIONS), iter("abc")
    run: Callable[[int], str] = lambda token: plays.run(FAMILY, "rollout", lambda: lambda: next(results), token=token)  # noqa: E731
    assert [run(0), run(0), run(1)] == ["a", "a", "b"]
    assert plays.has_ended(FAMILY, "rollout")
    plays.forget(FAMILY, "rollout")
    assert not plays.has_ended(FAMILY, "rollout")
    assert run(1) == "c"


def test_what_a_play_raises_is_raised_where_its_result_is_taken_and_only_once() -> None:
    plays = BackgroundPlays(**OPTIONS)
    with pytest.raises(ZeroDivisionError):
        plays.run(FAMILY, "rollout", lambda: lambda: 1 // 0)
    assert plays.run(FAMILY, "rollout", lambda: lambda: "again") == "again"


def test_a_family_has_one_play_at_a_time(blocked: Blocked) -> None:
    plays = BackgroundPlays(**{**OPTIONS, "patience_s": 0.01})
    plays.begin(FAMILY, "rollout", lambda: blocked)
    assert blocked.begun.wait(LONG_S)
    other = Blocked()
    plays.begin(FAMILY, "evaluation", lambda: other)
    with pytest.raises(UnderWayError):
        plays.run(FAMILY, "evaluation", lambda: other)
    assert other.count == 0
    blocked.release.set()
    other.release.set()
    assert plays.run(FAMILY, "evaluation", lambda: other, is_patient=True) == "played"
    assert plays.run(FAMILY, "rollout", lambda: lambda: "not played again") == "played"


def test_a_play_that_took_longer_than_the_patience_is_not_waited_for_again(blocked: Blocked) -> None:
    plays = BackgroundPlays(**{**OPTIONS, "patience_s": 0.01})
    with pytest.raises(UnderWayError):
        plays.run(FAMILY, "rollout", lambda: blocked, token=0)
    blocked.release.set()
    plays.run(FAMILY, "rollout", lambda: blocked, token=0, is_patient=True)
    assert plays.is_slow(FAMILY, "rollout")
    assert not plays.is_slow(FAMILY, "evaluation")
    next_play = Blocked()
    with pytest.raises(UnderWayError):
        plays.run(FAMILY, "rollout", lambda: next_play, token=1)
    next_play.release.set()


def test_the_trainer_waits_for_a_play_that_is_under_way_if_there_is_nothing_else_to_do(blocked: Blocked) -> None:
    waits: list[None] = []

    def on_wait() -> None:
        waits.append(None)
        blocked.release.set()

    plays = BackgroundPlays(**{**OPTIONS, "on_wait": on_wait}, has_others=lambda _id: False)
    plays.begin(FAMILY, "rollout", lambda: blocked)
    assert plays.run(FAMILY, "rollout", lambda: blocked) == "played"
    assert waits


def test_the_waiting_ends_when_another_family_has_a_result(blocked: Blocked) -> None:
    plays = BackgroundPlays(**OPTIONS, has_others=lambda _id: False)
    other = Blocked()
    plays.begin(OTHER, "rollout", lambda: other)
    plays.begin(FAMILY, "rollout", lambda: blocked)
    other.release.set()
    with pytest.raises(UnderWayError):
        plays.run(FAMILY, "rollout", lambda: blocked)
    assert plays.has_ended(OTHER, "rollout")


def test_there_is_a_use_for_families_with_a_result_and_for_quick_ones(blocked: Blocked) -> None:
    plays = BackgroundPlays(**{**OPTIONS, "patience_s": 0.01})
    assert plays.has_use_for(FAMILY, "rollout"), "nothing is known of it"
    with pytest.raises(UnderWayError):
        plays.run(FAMILY, "rollout", lambda: blocked)
    assert not plays.has_use_for(FAMILY, "rollout"), "it is under way"
    blocked.release.set()
    plays.run(FAMILY, "rollout", lambda: blocked, is_patient=True)
    assert plays.has_use_for(FAMILY, "rollout"), "its result was not taken"
    plays.forget(FAMILY, "rollout")
    assert not plays.has_use_for(FAMILY, "rollout"), "it is slow"


def test_slow_families_wait_for_a_place_and_quick_ones_do_not(blocked: Blocked) -> None:
    plays = BackgroundPlays(**{**OPTIONS, "most_at_once": 1})
    plays.begin(FAMILY, "rollout", lambda: blocked)
    plays.begin(OTHER, "rollout", lambda: blocked)
    assert plays.under_way() == {FAMILY}
    with pytest.raises(UnderWayError, match="waits for a place"):
        plays.run(OTHER, "rollout", lambda: blocked, is_patient=False)
    assert plays.run(OTHER, "rollout", lambda: lambda: "quick") == "quick"


def test_a_stop_of_the_trainer_ends_the_waiting(blocked: Blocked) -> None:
    def on_wait() -> None:
        raise JobInterruptedError

    plays = BackgroundPlays(**{**OPTIONS, "on_wait": on_wait})
    with pytest.raises(JobInterruptedError):
        plays.run(FAMILY, "rollout", lambda: blocked)


def test_the_tasks_of_a_stopped_play_are_closed_when_it_has_ended() -> None:
    plays, closed_in, began = BackgroundPlays(**OPTIONS), [], threading.Event()

    def play() -> None:
        began.set()
        while True:
            plays.check()

    plays.begin(FAMILY, "rollout", lambda: play)
    assert began.wait(LONG_S)
    plays.stop(FAMILY, then=lambda: closed_in.append(threading.current_thread().name))
    assert plays.run(FAMILY, "rollout", lambda: lambda: "next", is_patient=True) == "next"
    assert closed_in == ["rollout-1"]


def test_the_tasks_of_a_family_without_a_play_are_closed_at_once() -> None:
    plays, closed = BackgroundPlays(**OPTIONS), []
    plays.run(FAMILY, "rollout", lambda: lambda: "played")
    plays.stop(FAMILY, then=lambda: closed.append(True))
    assert closed == [True]
    assert not plays.has_ended(FAMILY, "rollout")


def test_a_play_that_may_not_overlap_is_waited_for() -> None:
    plays = BackgroundPlays(**{**OPTIONS, "patience_s": 0.0}, may_overlap=False)
    plays.begin(FAMILY, "rollout", lambda: lambda: 1 // 0)
    assert plays.under_way() == set()
    assert plays.run(FAMILY, "rollout", lambda: lambda: "played", is_patient=False) == "played"


def test_waiting_in_the_trainers_own_thread_beats_its_heart() -> None:
    beats: list[None] = []
    plays = BackgroundPlays(**{**OPTIONS, "on_wait": lambda: beats.append(None)})
    plays.check()
    assert plays.run(FAMILY, "rollout", lambda: lambda: plays.check() or len(beats)) == 1


def test_closing_stops_the_plays() -> None:
    plays, ended = BackgroundPlays(**OPTIONS), threading.Event()

    def play() -> None:
        try:
            while True:
                plays.check()
        except PlayStoppedError:
            ended.set()

    plays.begin(FAMILY, "rollout", lambda: play)
    plays.close()
    assert ended.is_set()
    assert plays.under_way() == set()


class Clock:
    """A monotonic clock that goes on only while the trainer waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits = 0

    def monotonic(self) -> float:
        return self.now

    def wait(self) -> None:
        self.waits += 1
        self.now += 1.0


def waited_s(plays: BackgroundPlays, clock: Clock, **options: Any) -> float:
    """Return how long the trainer waits for a rollout that does not end meanwhile."""
    began, play = clock.now, Blocked()
    with pytest.raises(UnderWayError):
        plays.run(FAMILY, "rollout", lambda: play, **options)
    waited = clock.now - began
    play.release.set()
    while FAMILY in plays.under_way():
        pass
    return waited


def took(plays: BackgroundPlays, clock: Clock, seconds: float) -> None:
    """Have a rollout played that takes so many seconds."""

    def play() -> None:
        clock.now += seconds

    plays.forget(FAMILY, "rollout")
    plays.run(FAMILY, "rollout", lambda: play, token=seconds)
    plays.forget(FAMILY, "rollout")


@pytest.mark.parametrize(("usual_s", "expected_s"), [(0.25, 1.0), (1.0, 3.0), (4.0, 6.0)])
def test_a_play_is_waited_for_a_few_times_as_long_as_the_last_one_took_within_the_patience(
    usual_s: float, expected_s: float
) -> None:
    clock = Clock()
    plays = BackgroundPlays(
        patience_s=6.0, most_at_once=2, on_wait=clock.wait, monotonic=clock.monotonic, has_others=lambda _id: True
    )
    took(plays, clock, usual_s)
    assert waited_s(plays, clock) == expected_s


def test_a_play_of_which_nothing_is_known_is_waited_for_with_the_whole_patience() -> None:
    clock = Clock()
    plays = BackgroundPlays(patience_s=6.0, most_at_once=2, on_wait=clock.wait, monotonic=clock.monotonic)
    assert waited_s(plays, clock) == 6.0


def test_a_result_of_another_family_does_not_end_the_waiting_for_a_quick_play(blocked: Blocked) -> None:
    other = Blocked()
    other.release.set()
    plays = BackgroundPlays(**{**OPTIONS, "on_wait": blocked.release.set}, has_others=lambda _id: True)
    plays.begin(OTHER, "rollout", lambda: other)
    while plays.have_results() != {OTHER}:
        pass
    assert plays.run(FAMILY, "rollout", lambda: blocked) == "played"


def test_families_have_results_from_the_end_of_their_plays_until_a_job_sees_them(blocked: Blocked) -> None:
    plays = BackgroundPlays(**OPTIONS)
    plays.begin(FAMILY, "rollout", lambda: blocked)
    assert plays.have_results() == set()
    blocked.release.set()
    while FAMILY in plays.under_way():
        pass
    assert plays.have_results() == {FAMILY}
    plays.run(FAMILY, "rollout", lambda: blocked)
    assert plays.have_results() == set()


def test_what_a_play_raised_is_raised_before_another_play_of_its_family_begins() -> None:
    plays, other = BackgroundPlays(**OPTIONS), Blocked()
    plays.begin(FAMILY, "rollout", lambda: lambda: 1 // 0)
    while FAMILY in plays.under_way():
        pass
    with pytest.raises(ZeroDivisionError):
        plays.run(FAMILY, "evaluation", lambda: other)
    other.release.set()
    assert plays.run(FAMILY, "evaluation", lambda: other) == "played"
    assert other.count == 1


def test_the_kind_of_the_play_under_way_is_known(blocked: Blocked) -> None:
    plays = BackgroundPlays(**OPTIONS)
    assert plays.kind_under_way(FAMILY) is None
    plays.begin(FAMILY, "rollout", lambda: blocked)
    assert plays.kind_under_way(FAMILY) == "rollout"
    blocked.release.set()
    while FAMILY in plays.under_way():
        pass
    assert plays.kind_under_way(FAMILY) is None


def slow_plays(clock: Callable[[], float]) -> BackgroundPlays:
    """Return plays with one place, all of which are known to be slow."""
    plays = BackgroundPlays(patience_s=0.0, most_at_once=1, on_wait=lambda: None, monotonic=clock)
    for family in (FAMILY, OTHER, THIRD):
        with contextlib.suppress(UnderWayError):
            plays.run(family, "rollout", lambda: lambda: time.sleep(0.001))
        plays.run(family, "rollout", lambda: lambda: None, is_patient=True)
        plays.forget(family, "rollout")
    return plays


def waits(plays: BackgroundPlays, family: int, play: Callable[[], Any]) -> bool:
    """Ask for a play; return whether it has to wait for a place."""
    try:
        plays.run(family, "rollout", lambda: play)
    except UnderWayError as error:
        return "waits for a place" in str(error)
    return False


def test_a_place_goes_to_the_family_that_has_waited_for_the_longest_time(blocked: Blocked) -> None:
    plays = slow_plays(time.monotonic)
    plays.begin(FAMILY, "rollout", lambda: blocked)
    assert blocked.begun.wait(LONG_S)
    assert waits(plays, OTHER, blocked)
    assert waits(plays, THIRD, blocked)
    blocked.release.set()
    plays.run(FAMILY, "rollout", lambda: blocked, is_patient=True)
    plays.begin(FAMILY, "rollout", lambda: blocked)
    assert plays.under_way() == set(), "it does not take its place again before the others"
    assert plays.have_places() == {OTHER}
    assert waits(plays, THIRD, blocked)
    assert not waits(plays, OTHER, blocked)


def test_a_family_that_is_not_asked_for_any_more_loses_its_turn(blocked: Blocked) -> None:
    now = 0.0
    plays = slow_plays(lambda: now)
    plays.begin(FAMILY, "rollout", lambda: blocked)
    assert waits(plays, OTHER, blocked)
    now = 2.0 * WAITING_S
    blocked.release.set()
    plays.run(FAMILY, "rollout", lambda: blocked, is_patient=True)
    assert plays.have_places() == set()
    assert not waits(plays, THIRD, blocked)
