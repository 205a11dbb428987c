"""A family is tried before it is practised: measured where it is sound, refused where it is broken."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import envs.admission
from envs.admission import probe
from envs.effort import Effort
from envs.errors import EnvsError, FamilySpecError, FaultReason, UnsupportedSpaceError, WorkerFaultError
from envs.family import FamilySource, FamilySpec, Split
from envs.gymnasium import task_checks
from envs.gymnasium.task_drawing import draw_tasks
from envs.random_actions import random_actions
from envs.reference import ReferenceRule
from envs.registry import default_stream, open_tasks
from envs.spaces import ActionKind, ActionSpec
from tests.envs.families import FEW_STEPS, LIMITS, broken, family, sound

SHORT = Effort(enough_s=0.05, spaces_s=0.05)
ALL_STEPS = task_checks.MAX_STEPS


@pytest.fixture(autouse=True)
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envs.admission, "QUICK", replace(SHORT, contract_steps=FEW_STEPS))
    monkeypatch.setattr(task_checks, "MAX_STEPS", FEW_STEPS)


@pytest.mark.parametrize("spec", default_stream(), ids=lambda spec: spec.name)
def test_every_default_family_is_admitted(spec: FamilySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envs.admission, "QUICK", SHORT)
    monkeypatch.setattr(task_checks, "MAX_STEPS", ALL_STEPS)
    admission = probe(spec, limits=LIMITS)
    assert admission.reference_return is not None
    assert admission.reference_return > admission.random_return + 3 * admission.random_standard_error
    assert admission.reference_source
    assert admission.steps_per_s > 0
    assert admission.warnings == []


@pytest.mark.parametrize("name", ["bandits", "mdps"])
def test_the_declared_random_return_is_what_random_actions_earn(name: str) -> None:
    spec = next(spec for spec in default_stream() if spec.name == name)
    measured = probe(replace(spec, random_return=None), limits=LIMITS)
    assert measured.random_return == pytest.approx(spec.random_return, abs=5 * measured.random_standard_error)


@pytest.mark.parametrize(
    "spec", [s for s in default_stream() if s.source is FamilySource.GYMNASIUM], ids=lambda spec: spec.name
)
def test_every_default_environment_passes_gymnasium_s_checker_with_a_task_s_values_set(spec: FamilySpec) -> None:
    [task] = draw_tasks(spec, Split.TRAINING, 0, 1)
    env = gymnasium.make(spec.entry, disable_env_checker=True, **{**spec.kwargs, **task.kwargs})
    for name, value in task.attributes.items():
        setattr(env.unwrapped, name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(env.unwrapped, skip_render_check=True, skip_close_check=True)


def test_the_registered_threshold_is_the_reference_where_none_is_declared() -> None:
    admission = probe(family("CartPole-v1", episodes_per_trial=2), limits=LIMITS)
    assert admission.reference_return == 950.0
    assert "475" in admission.reference_source
    assert admission.random_return == pytest.approx(2 * 22, abs=8)
    assert admission.random_standard_error > 0


@pytest.mark.parametrize("rule", [ReferenceRule.PPO, ReferenceRule.NONE])
def test_a_registered_threshold_is_not_used_if_the_reference_is_measured_or_not_wanted(rule: ReferenceRule) -> None:
    admission = probe(family("CartPole-v1", episodes_per_trial=2, reference_rule=rule), limits=LIMITS)
    assert (admission.reference_return, admission.reference_source) == (None, "")


def test_without_threshold_or_declaration_there_is_no_reference() -> None:
    admission = probe(sound("Counter"), limits=LIMITS)
    assert admission.reference_return is None
    assert admission.random_return == 3 * (1 + 2 + 3 + 4)
    assert admission.random_standard_error == 0
    assert any("share an object" in warning for warning in admission.warnings)


def test_an_environment_that_does_not_replay_is_admitted_with_a_warning() -> None:
    admission = probe(sound("GlobalNoise"), limits=LIMITS)
    assert any("depend on the global random generators (random, numpy.random)" in text for text in admission.warnings)


def test_advice_about_wrappers_is_no_warning_about_the_environment() -> None:
    assert probe(sound("wrapped_pendulum"), limits=LIMITS).warnings == []


def test_a_fault_of_the_environment_in_a_wrapper_is_the_only_warning() -> None:
    [warning] = probe(sound("wrapped_array_reward", max_episode_steps=10), limits=LIMITS).warnings
    assert warning.startswith("step: reward should be a float, but it is ndarray")


def test_a_deprecation_in_a_library_is_no_warning_about_the_environment() -> None:
    assert probe(sound("wrapped_aged_library", max_episode_steps=10), limits=LIMITS).warnings == []


def test_a_reference_no_higher_than_random_is_refused() -> None:
    with pytest.raises(FamilySpecError, match="not above the return of random actions"):
        probe(sound("Counter", reference_return=30.0), limits=LIMITS)


def test_what_gymnasium_s_checker_refuses_is_refused() -> None:
    with pytest.raises(EnvsError, match="checker rejects"):
        probe(broken("NoMetadata"), limits=LIMITS)


def test_an_observation_outside_its_bounds_is_a_warning_with_index_value_and_bounds() -> None:
    [warning] = [text for text in probe(broken("OutOfBounds"), limits=LIMITS).warnings if "bounds" in text]
    assert warning.startswith("reset: observation[0] is 1000.0, and its bounds are -100.0 to 100.0 (3 of its 3 numbers")


@pytest.mark.parametrize(
    ("name", "reason"), [("RaisesWhileMaking", FaultReason.START_FAILED), ("KillsItself", FaultReason.KILLED)]
)
def test_a_broken_environment_is_refused_with_its_reason(name: str, reason: FaultReason) -> None:
    with pytest.raises(WorkerFaultError) as caught:
        probe(broken(name), limits=LIMITS)
    assert caught.value.reason is reason


def test_an_environment_that_raises_when_it_is_stepped_is_refused() -> None:
    with pytest.raises(EnvsError, match="the tower fell over"):
        probe(broken("Raises"), limits=LIMITS)


def test_an_unsupported_space_is_refused() -> None:
    with pytest.raises(UnsupportedSpaceError):
        probe(broken("TextAction"), limits=LIMITS)


@pytest.mark.parametrize("bound", ["float32", "float64"])
def test_a_huge_range_of_actions_is_admitted_and_measured_as_unbounded(bound: str) -> None:
    admission = probe(sound("HugeActions", kwargs={"bound": bound}), limits=LIMITS)
    assert abs(admission.random_return) < 12
    assert admission.random_standard_error > 0


def test_a_family_whose_episodes_never_end_is_refused_with_what_to_set() -> None:
    effort = Effort(longest_s=0.5, endless_s=0.5, contract_s=0.2)
    with pytest.raises(FamilySpecError, match=r"no episode ended.*Set a step limit \(--max-steps\)"):
        probe(broken("Endless"), limits=LIMITS, effort=effort)


def test_a_missing_step_limit_is_said_only_if_an_episode_did_not_end() -> None:
    effort = Effort(enough_s=0.1, longest_s=0.5, contract_s=0.2)
    assert not any("limit of steps" in text for text in probe(sound("Counter"), limits=LIMITS, effort=effort).warnings)
    spec = broken("EndsAtTimes", episodes_per_trial=1)
    assert any("No limit of steps is known" in text for text in probe(spec, limits=LIMITS, effort=effort).warnings)


def test_a_first_episode_that_ends_late_is_waited_for_if_a_step_limit_is_known() -> None:
    effort = Effort(enough_s=0.1, longest_s=0.2, endless_s=0.2, contract_s=0.1)
    spec = broken("Endless", max_episode_steps=400, episodes_per_trial=1)
    admission = probe(spec, limits=LIMITS, num_copies=2, effort=effort)
    assert admission.report["episodes"]["longest"] == 400


def test_admission_measures_episodes_rewards_and_times() -> None:
    report = probe(sound("Counter"), limits=LIMITS).report
    assert report["is_replayed"] is True
    assert report["num_copies"] == 16
    episodes, rewards = report["episodes"], report["rewards"]
    assert (episodes["shortest"], episodes["longest"], episodes["num_truncated"]) == (4, 4, 0)
    assert (rewards["lowest"], rewards["highest"], rewards["mean_return"]) == (1.0, 4.0, 10.0)
    assert report["one_copy"].keys() == {"make_s", "reset_s", "slowest_reset_s", "step_s", "step_cpu_s"}


def test_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.random_play.MAX_TRIALS", 64)
    told: list[tuple[str, int]] = []
    effort = Effort(enough_s=60.0)  # the trials are enough before the time is up
    probe(sound("Counter"), limits=LIMITS, effort=effort, progress=lambda phase, units: told.append((phase, units)))
    phases = [phase for phase, _ in told if phase != "waiting"]  # reported while the worker is slow
    assert phases[:2] == ["opening", "checking"]
    units = [units for phase, units in told if phase == "playing at random"]
    assert units == sorted(units)
    assert len(units) > 3


def test_random_actions_have_the_kind_of_their_space() -> None:
    generator = torch.Generator().manual_seed(0)
    multi = random_actions(ActionSpec(kind=ActionKind.MULTI_DISCRETE, choices=(2, 5), start=(0, 0)), 500, generator)
    assert multi.max(0).values.tolist() == [1, 4]
    flat = random_actions(ActionSpec(kind=ActionKind.CONTINUOUS, low=(0.0,), high=(9.0,)), 500, generator)
    assert flat.min() < -0.95
    assert flat.max() > 0.95


def test_a_tensor_family_that_is_not_there_is_refused_with_those_that_are() -> None:
    spec = FamilySpec(name="x", source=FamilySource.TENSOR, entry="chess")
    with pytest.raises(FamilySpecError, match="bernoulli_bandits, tabular_mdps"):
        open_tasks(spec, None, num_trials=1, device="cpu")


@pytest.mark.parametrize("num_copies", [3, 20])
def test_a_family_is_tried_with_as_many_copies_as_it_is_practised_with(num_copies: int, tmp_path: Path) -> None:
    spec = family("launching_environments:Recorded", kwargs={"folder": str(tmp_path)})
    probe(spec, limits=LIMITS, num_copies=num_copies)
    # The check of the contract and Gymnasium's checker have one each of their own.
    assert len(list(tmp_path.glob("closed-*"))) == num_copies + 2


def test_a_family_whose_copies_are_slow_together_is_admitted(tmp_path: Path) -> None:
    spec = family(
        "launching_environments:Slow", kwargs={"folder": str(tmp_path), "resetting": 0.1}, episodes_per_trial=1
    )
    limits = replace(LIMITS, step_timeout_s=1.0, watch_interval_s=0.1)
    assert probe(spec, limits=limits, num_copies=16).random_return == 10.0
