"""The choice of the next family: progress and waiting time count, and every family is practised."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.daemon.scheduling.family_choice import FLOOR, Candidate, Choice, choose, progress, weight
from agent.daemon.scheduling.next_job import ConsecutiveFailures, Work, next_work
from memory.records import JobKind

scores = st.lists(st.floats(-2, 3), max_size=8).map(tuple)


def candidate(name: str, *, waited_s: float | None = 10.0, scores: tuple[float, ...] = ()) -> Candidate:
    return Candidate(name=name, created_at=0.0, waited_s=waited_s, returns=scores, reference_return=1.0)


def unscaled(name: str, *returns: float, waited_s: float = 10.0) -> Candidate:
    """A family whose random actions earn −1200 and whose reference is not known."""
    return Candidate(name=name, created_at=0.0, waited_s=waited_s, returns=returns, random_return=-1200.0)


@given(curves=st.lists(scores, min_size=1, max_size=12), slice_s=st.floats(0.5, 10))
def test_nobody_starves_whatever_the_scores(curves: list[tuple[float, ...]], slice_s: float) -> None:
    families = [
        replace(candidate(f"f{i}", waited_s=0.0, scores=curve), reference_return=1.0 if i % 2 else None)
        for i, curve in enumerate(curves)
    ]
    last = dict.fromkeys((f.name for f in families), 0)
    bound = len(families) * (1 / FLOOR + 1) + 2
    for turn in range(1, 200):
        waiting = [replace(f, waited_s=(turn - last[f.name]) * slice_s) for f in families]
        chosen = choose(waiting)
        assert chosen is not None
        last[chosen.family] = turn
        assert all(turn - at <= bound for at in last.values())


@given(curves=st.lists(scores, min_size=1, max_size=6))
def test_weights_lie_between_the_floor_and_one(curves: list[tuple[float, ...]]) -> None:
    for curve in curves:
        assert FLOOR <= weight(candidate("a", scores=curve)) <= 1 + 1e-9
        assert FLOOR <= weight(unscaled("a", *curve)) <= 1 + 1e-9


def test_the_family_that_progresses_goes_before_the_one_that_stands_still_after_equal_waits() -> None:
    rising = candidate("rising", scores=(0.5, 0.55, 0.6, 0.65))
    still = candidate("still", scores=(0.65, 0.65, 0.65, 0.65))
    chosen = choose([still, rising])
    assert chosen is not None
    assert chosen.family == "rising"
    assert chosen.reason == "mean score rose from 0.53 to 0.62 over the last 4 evaluations; waited 10s"


def test_a_family_that_is_being_forgotten_counts_as_progress_to_be_made() -> None:
    falling = candidate("falling", scores=(0.9, 0.8, 0.7, 0.6))
    still = candidate("still", scores=(0.6, 0.6, 0.6, 0.6))
    assert weight(falling) > weight(still)


def test_of_two_that_stand_still_the_one_further_from_its_reference_goes_first() -> None:
    far, near = candidate("far", scores=(0.2, 0.2)), candidate("near", scores=(1.0, 1.0))
    chosen = choose([near, far])
    assert chosen is not None
    assert chosen.family == "far"


def test_without_a_reference_values_are_between_random_actions_and_the_best_return_seen() -> None:
    assert unscaled("pendulum", -1200.0, -900.0, -600.0).values == (0.0, 0.5, 1.0)
    assert unscaled("pendulum", -1500.0, -600.0).values == (-1 / 3, 2 / 3)
    assert unscaled("pendulum", -1200.0, -1200.0).values == (0.0, 0.0)


def test_without_a_reference_a_rising_return_goes_before_one_that_stands_still() -> None:
    rising, still = unscaled("rising", -1200.0, -1100.0, -800.0, -700.0), unscaled("still", -700, -700, -700, -700)
    chosen = choose([still, rising])
    assert chosen is not None
    assert chosen.reason == "mean return rose from -1150 to -750 over the last 4 evaluations; waited 10s"
    assert choose([still]) == Choice(
        family="still", reason="mean return stayed at -700 over the last 4 evaluations; waited 10s"
    )


def test_families_never_practised_go_first_and_the_oldest_of_them_before_the_others() -> None:
    veteran = candidate("veteran", waited_s=1e6)
    new = [Candidate(name=name, created_at=at, waited_s=None) for name, at in (("b", 2.0), ("a", 1.0))]
    chosen = choose([veteran, *new])
    assert chosen is not None
    assert chosen.family == "a"
    assert chosen.reason == "never practised yet"


def test_there_is_no_choice_without_families() -> None:
    assert choose([]) is None


def test_progress_compares_the_later_half_with_the_earlier() -> None:
    assert progress((0.1,)) is None
    assert progress((0.1, 0.3)) is not None
    assert abs((progress((0.0, 0.2, 0.5, 0.6, 0.8)) or 0) - 0.6) < 1e-9


def test_requests_go_before_admissions_before_due_jobs_before_practice() -> None:
    asked = Work(kind=JobKind.CONSOLIDATE, reason="requested", request_id=1)
    practice = choose([candidate("a")])
    order = []
    requested, pending, due, may_practise = [asked], ["new"], [JobKind.EVALUATE], True
    while True:
        work = next_work(
            requested=requested, pending=pending, due=due, choose=lambda ok=may_practise: practice if ok else None
        )
        order.append(work.kind if work else None)
        if requested:
            requested = []
        elif pending:
            pending = []
        elif due:
            due = []
        elif may_practise:
            may_practise = False
        else:
            break
    assert order == [JobKind.CONSOLIDATE, JobKind.ADMIT, JobKind.EVALUATE, JobKind.PRACTISE, None]


def test_a_family_that_fails_is_set_aside_for_longer_and_longer_until_it_succeeds() -> None:
    setbacks = ConsecutiveFailures()
    waits = []
    now = 0.0
    for _ in range(12):
        setbacks.note_failure(JobKind.PRACTISE, "a", now)
        began = now
        while not setbacks.allows(JobKind.PRACTISE, "a", now):
            now += 0.25
        waits.append(now - began)
    assert waits[:4] == [0.25, 0.5, 1.0, 2.0]
    assert waits[-1] == 60.0
    setbacks.forget(JobKind.PRACTISE, "a")
    assert setbacks.allows(JobKind.PRACTISE, "a", now)
    assert setbacks.allows(JobKind.EVALUATE, "a", 0.0)


def test_practice_goes_between_two_jobs_that_are_due() -> None:
    choice = Choice(family="bandits", reason="waited")

    def next_kind(*, owed: bool, choose: Choice | None = choice) -> JobKind | None:
        work = next_work(requested=[], pending=[], due=[JobKind.EVALUATE], choose=lambda: choose, is_practice_owed=owed)
        return None if work is None else work.kind

    assert next_kind(owed=False) is JobKind.EVALUATE
    assert next_kind(owed=True) is JobKind.PRACTISE
    assert next_kind(owed=True, choose=None) is JobKind.EVALUATE
