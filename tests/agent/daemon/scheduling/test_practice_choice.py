"""The choice of the family to practise, over time: no family waits for long, also after it was paused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.config.time_shares import NEW_FAMILIES_SHARE
from agent.daemon.scheduling.family_choice import FLOOR, NEVER_PRACTISED
from agent.daemon.scheduling.practice_choice import PracticeChoice
from agent.daemon.scheduling.time_budgets import TimeBudgets
from memory.records import Family, FamilyState, FamilyTotals, JobKind
from tests.memory.making import make_spec

LEARNING = (0.0, 0.0, 0.0, 0.5, 0.5, 0.5)
LEARNED = (1.0,) * 6
"""Returns with which a family has the least weight."""

NOTHING = FamilyTotals(env_steps=0, episodes=0, trials=0, meta_updates=0)
PRACTISED = FamilyTotals(env_steps=1, episodes=1, trials=1, meta_updates=1)


def family(name: str) -> Family:
    return Family(
        id=1,
        name=name,
        state=FamilyState.ACTIVE,
        state_reason="",
        spec=make_spec(name),
        spaces=None,
        random_return=0.0,
        reference_return=1.0,
        strikes=0,
        quarantined_until=None,
        totals=PRACTISED,
        created_at=0.0,
    )


class Service:
    """A service that practises families, each slice of which takes some seconds of a clock that only it moves."""

    def __init__(self, slices_s: dict[str, float], returns: dict[str, tuple[float, ...]]) -> None:
        self.choice = PracticeChoice()
        self.choice.restore(dict.fromkeys(slices_s, 0.0))
        self.families = {name: family(name) for name in slices_s}
        self.slices_s, self.returns, self.now = slices_s, returns, 0.0

    def set_state(self, state: FamilyState, *names: str) -> None:
        for name in names:
            self.families[name] = replace(self.families[name], state=state)

    def practise(self, for_s: float, *, barred: set[str] | None = None) -> list[str]:
        """Practise for a time and return the families in turn; those that are barred wait after failures."""
        chosen, end = [], self.now + for_s
        while self.now < end:
            choice = self.choice.choose(
                self.families.values(),
                returns=self.returns,
                may_start=lambda name: name not in (barred or set()),
                now=self.now,
            )
            assert choice is not None
            took_s = self.slices_s[choice.family]
            self.now += took_s
            self.choice.note(choice.family, took_s=took_s, is_under_way=False, now=self.now)
            chosen.append(choice.family)
        return chosen


GOOD = {"cartpole": 3.0, "pendulum": 3.0}
SCORES = {"cartpole": LEARNING, "pendulum": LEARNING, "slow": LEARNED}


@pytest.mark.parametrize("state", [FamilyState.PAUSED, FamilyState.QUARANTINED, FamilyState.PENDING])
def test_a_family_of_small_weight_is_practised_soon_after_it_comes_back(state: FamilyState) -> None:
    service = Service(GOOD | {"slow": 0.5}, SCORES)
    service.practise(100.0)
    for _ in range(3):
        service.set_state(state, "slow")
        service.practise(50.0)
        service.set_state(FamilyState.ACTIVE, "slow")
        assert service.practise(50.0).count("slow") >= 8, "its share is a seventh, 7 s of 50"


def test_a_family_whose_weight_falls_does_not_wait_until_the_others_took_as_much() -> None:
    service = Service(GOOD | {"slow": 3.0}, SCORES | {"slow": LEARNING})
    service.practise(300.0)
    service.returns = SCORES
    assert "slow" in service.practise(60.0)


def test_a_family_that_waited_after_failures_does_not_take_all_time_afterwards() -> None:
    service = Service(GOOD | {"failing": 3.0}, SCORES | {"failing": LEARNING})
    service.practise(600.0, barred={"failing"})
    turns = service.practise(200.0)
    assert turns.count("failing") * 3.0 < 60.0 + 2 * 200.0 / 3
    assert {"cartpole", "pendulum"} <= set(turns)


def test_a_family_that_was_paused_in_the_middle_of_a_rollout_is_asked_for_at_once_when_it_returns() -> None:
    service = Service(GOOD | {"slow": 0.5}, SCORES)
    service.practise(30.0)
    for _ in range(6):
        service.choice.note("slow", took_s=0.0, is_under_way=True, now=service.now)
    service.set_state(FamilyState.PAUSED, "slow")
    service.practise(1.0)
    service.set_state(FamilyState.ACTIVE, "slow")
    assert "slow" in service.practise(4.0)


def test_shares_of_time_follow_the_weights_of_families_that_come_and_go() -> None:
    service = Service(GOOD | {"slow": 3.0}, SCORES)
    turns: list[str] = []
    for _ in range(20):
        service.set_state(FamilyState.PAUSED, "slow")
        service.practise(30.0)
        service.set_state(FamilyState.ACTIVE, "slow")
        turns += service.practise(120.0)
    share = turns.count("slow") / len(turns)
    assert share == pytest.approx(FLOOR / (FLOOR + 2 * 0.85), abs=0.05)


def test_the_first_slices_of_many_new_families_leave_half_of_the_time_to_known_ones() -> None:
    new = {f"new-{number}": 10.0 for number in range(20)}
    service = Service(GOOD | new, SCORES)
    for name in new:
        service.families[name] = replace(service.families[name], totals=NOTHING)
    budgets, first = TimeBudgets({JobKind.ADMIT: NEW_FAMILIES_SHARE}), set[str]()
    while service.now < 200.0:
        choice = service.choice.choose(
            service.families.values(),
            returns=SCORES,
            may_start=lambda _name: True,
            now=service.now,
            is_turn_of_new=bool(budgets.within([JobKind.ADMIT], now=service.now)),
        )
        assert choice is not None
        slice_s = service.slices_s[choice.family]
        service.now += slice_s
        service.choice.note(choice.family, took_s=slice_s, is_under_way=False, now=service.now)
        if choice.reason == NEVER_PRACTISED:
            budgets.note(JobKind.ADMIT, slice_s, now=service.now)
            first.add(choice.family)
        service.families[choice.family] = replace(service.families[choice.family], totals=PRACTISED)
    assert 8 <= len(first) <= 10


def test_new_families_are_practised_at_any_time_if_nothing_else_can_be() -> None:
    service = Service({"new": 3.0}, {})
    service.families["new"] = replace(service.families["new"], totals=NOTHING)
    choice = service.choice.choose(
        service.families.values(), returns={}, may_start=lambda _name: True, now=0.0, is_turn_of_new=False
    )
    assert choice is not None
