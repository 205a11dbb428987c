"""Tests of the check of the contract: each fault is found once, with its words, and sound environments have none."""

from __future__ import annotations

from typing import Any

import pytest

from envs.effort import Effort, TimeLimit
from envs.errors import WorkerFaultError
from envs.family import FamilySpec
from envs.findings import FindingKind, Severity
from envs.gymnasium.contract_findings import Contract, check_contract
from tests.envs.families import broken, family, opened, sound

EFFORT = Effort(contract_steps=60, contract_s=60.0)

FAULTS: dict[str, tuple[FindingKind, str, str]] = {
    "SeedIgnored": (FindingKind.SEED_IGNORED, "reset", "two new copies behave differently, from the first obs"),
    "SeedIgnoredByItsOwnGenerator": (FindingKind.SEED_IGNORED, "reset", "a new copy behaves alike for every seed"),
    "KeepsItsPlace": (FindingKind.RESET_KEEPS_STATE, "reset", "something of the steps before remains"),
    "DrawsFromGlobals": (FindingKind.GLOBAL_RANDOM, "step", "global random generators (random)"),
    "SameForEverySeed": (FindingKind.SEED_WITHOUT_EFFECT, "reset", "other seeds give the same observations"),
    "OutsideItsSpace": (
        FindingKind.OUTSIDE_SPACE,
        "step",
        "observation[1] is 1000.0, and its bounds are -100.0 to 100",
    ),
    "WrongDtype": (FindingKind.WRONG_DTYPE, "reset", "observation has dtype float64, and its space has float32"),
    "ReturnsAList": (FindingKind.WRONG_DTYPE, "reset", "observation should be an array of float32, but it is a list"),
    "NotFinite": (FindingKind.NOT_FINITE, "step", "observation[1] is nan (1 of its 2 numbers"),
    "WrongShape": (FindingKind.MALFORMED_OBSERVATION, "reset", "should be numbers of shape (2,)"),
    "ChoicesOutside": (FindingKind.MALFORMED_OBSERVATION, "reset", "observation[1] is 4, which MultiDiscrete([3 4])"),
    "OneActionTooMany": (FindingKind.ACTION_EDGE, "step", "at the action 2, which the action space Discrete(3) holds"),
    "ExclusiveBound": (FindingKind.ACTION_EDGE, "step", "the motor burns (contract_environments.py, line"),
    "ExclusiveChoices": (FindingKind.ACTION_EDGE, "step", "at the action [1, 2], [0, 2]"),
    "RewardOnReset": (FindingKind.REWARD_ON_RESET, "reset", "returned 3 values with a reward, 0.0"),
    "RewardForInfo": (FindingKind.REWARD_ON_RESET, "reset", "returned a number, 0.0, where info belongs"),
    "OldReset": (FindingKind.RESET_RESULT, "reset", "should return (observation, info)"),
    "TakesNoSeed": (FindingKind.OLD_INTERFACE, "reset", "does not provide a `seed` and `options`"),
    "FourValues": (FindingKind.OLD_INTERFACE, "step", "`truncated` is missing"),
    "TerminatesByTimeLimit": (FindingKind.TRUNCATION_MISSING, "step", "ended by its time limit"),
    "InfoIsNone": (FindingKind.INFO_NOT_DICT, "step", "info should be a dict, but it is NoneType"),
    "InfoOfResetIsAList": (FindingKind.INFO_NOT_DICT, "reset", "info should be a dict, but it is list"),
    "FlagIsNumber": (FindingKind.FLAG_NOT_BOOL, "step", "terminated should be True or False, but it is int: 0"),
    "RewardIsArray": (FindingKind.MALFORMED_REWARD, "step", "reward should be a number"),
    "RewardOfNoDimension": (FindingKind.UNUSUAL_REWARD, "step", "reward should be a float"),
    "RewardIsHuge": (FindingKind.NOT_FINITE, "step", "reward is 1e+300 and beyond the range of float32"),
    "RewardIsAHugeInteger": (FindingKind.NOT_FINITE, "step", "an integer beyond the range of float32"),
    "MaskAllowsNothing": (FindingKind.ACTION_MASK, "step", "allows no choice, so that all are allowed"),
    "MaskComesLate": (FindingKind.ACTION_MASK, "step", "the reset before it gave none"),
    "RewardIsNaN": (FindingKind.NOT_FINITE, "step", "reward is nan"),
    "ChangesItsSpace": (FindingKind.SPACE_CHANGED, "reset", "reset changed the action space from Discrete(3)"),
    "CloseRaises": (FindingKind.CLOSE_FAILED, "close", "RuntimeError: the window is gone (contract_env"),
}

UNREPLAYED = {"SeedIgnored", "SeedIgnoredByItsOwnGenerator", "KeepsItsPlace", "DrawsFromGlobals"}


def contract_of(spec: FamilySpec) -> Contract:
    tasks = opened(spec)
    try:
        return check_contract(tasks, EFFORT, TimeLimit(600.0))
    finally:
        tasks.close()


def of_contract(name: str, **settings: Any) -> FamilySpec:
    return family(f"contract_environments:{name}", **settings)


def test_an_array_as_reward_is_told_with_the_wrapper_that_weights_objectives() -> None:
    [found] = contract_of(of_contract("RewardIsArray")).findings
    assert "LinearReward" in found.hint


def test_an_observation_that_gymnasium_s_checker_cannot_compare_is_a_warning() -> None:
    found = contract_of(of_contract("ReturnsAnotherArray")).findings
    assert {each.kind: each.severity for each in found} == {
        FindingKind.WRONG_DTYPE: Severity.WARNING,
        FindingKind.CHECKER: Severity.WARNING,
    }
    assert "checker stopped at: ValueError" in found[-1].found


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_the_only_finding_and_names_call_and_values(name: str) -> None:
    kind, call, words = FAULTS[name]
    contract = contract_of(of_contract(name))
    [found] = contract.findings
    assert (found.kind, found.call) == (kind, call)
    assert words in found.found
    assert found.hint
    if found.severity is not Severity.REFUSED:
        assert contract.is_replayed is (name not in UNREPLAYED)


@pytest.mark.parametrize(
    "spec",
    [
        of_contract("Walk"),
        of_contract("MaskedActions"),
        of_contract("MaskedPairs"),
        of_contract("ObservedMask"),
        of_contract("TruncatedAtOnce"),
        family("CartPole-v1"),
        family("Pendulum-v1"),
        family("Acrobot-v1"),
        family("MountainCarContinuous-v0"),
        family("FrozenLake-v1"),
        family("Taxi-v4"),
        family("Blackjack-v1"),
        sound("BoxActions"),
        sound("HugeActions", kwargs={"bound": "float64"}),
        sound("ManySpaces"),
        sound("UnsignedObservation", kwargs={"kind": "box"}),
        sound("UnsignedObservation", kwargs={"kind": "choices"}),
        sound("UnsignedObservation", kwargs={"kind": "index"}),
        sound("ImageObservation"),
    ],
    ids=lambda spec: spec.entry + "".join(map(str, spec.kwargs.values())),
)
def test_an_environment_that_keeps_its_contract_has_no_fault(spec: FamilySpec) -> None:
    contract = contract_of(spec)
    # Gymnasium's checker has its own opinion of arrays that are returned again and of huge bounds.
    unfaulty = {FindingKind.SEED_WITHOUT_EFFECT, FindingKind.CHECKER}
    assert [found.text() for found in contract.findings if found.kind not in unfaulty] == []
    assert contract.is_replayed


def test_an_error_of_every_action_is_a_fault_and_not_one_of_the_edges() -> None:
    with pytest.raises(WorkerFaultError, match="step raised ValueError: the tower fell over"):
        contract_of(broken("RaisesAtOnce"))


def test_an_error_that_comes_after_some_steps_is_a_fault_and_not_one_of_the_edges() -> None:
    with pytest.raises(WorkerFaultError, match="step raised ValueError: the tower fell over"):
        contract_of(broken("Raises", kwargs={"calm_steps": 1}))


def test_a_seed_that_only_the_first_episode_follows_is_told_with_the_step() -> None:
    [found] = contract_of(of_contract("UnseededLater")).findings
    assert found.kind is FindingKind.SEED_IGNORED
    assert "two new copies behave differently, from step 15 on" in found.found


def test_the_times_of_one_copy_are_measured() -> None:
    times = contract_of(of_contract("Walk")).times
    assert times.keys() == {"make_s", "reset_s", "slowest_reset_s", "step_s", "step_cpu_s"}
    assert all(seconds >= 0 for seconds in times.values())
    assert times["slowest_reset_s"] >= times["reset_s"]
