"""The examination of a family keeps within its time, and says what it did not look at."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from envs.effort import Effort, TimeLimit, thorough
from envs.examination import Examination, _affordable_copies, examine
from envs.findings import FindingKind
from envs.gymnasium.variations import Distribution, Variation
from tests.envs.families import LIMITS, family

COPIES = 24

CLOSING_S = 5.0
"""Time in which a worker is interrupted, closes its copies and ends, with some more for a busy machine."""


def examined(
    folder: Path, effort: Effort, *, variations: tuple[Variation, ...] = (), **kwargs: Any
) -> tuple[Examination, float]:
    """Examine an environment that takes its time; return the examination and the seconds that it took."""
    spec = family("launching_environments:Slow", kwargs={"folder": str(folder), **kwargs}, variations=variations)
    begun = time.monotonic()
    found = examine(spec, limits=LIMITS, num_copies=COPIES, effort=effort, report=lambda phase, units: None)
    return found, time.monotonic() - begun


def not_checked(found: Examination) -> list[str]:
    return [each.found for each in found.findings if each.kind is FindingKind.NOT_CHECKED]


def test_slow_resets_do_not_make_the_check_longer_than_its_time(tmp_path: Path) -> None:
    varying = Variation(name="resetting", distribution=Distribution.UNIFORM, low=0.3, high=0.5)
    found, took_s = examined(tmp_path, thorough(4.0), variations=(varying,))
    assert took_s < 4.0 + CLOSING_S
    assert found.random_return is not None
    told = " ".join(not_checked(found))
    for part in ("Gymnasium's checker", "share a world", f"{COPIES} copies at once"):
        assert part in told
    assert not found.refusals
    assert found.num_copies < COPIES


def test_a_call_that_outlasts_the_check_is_interrupted(tmp_path: Path) -> None:
    found, took_s = examined(tmp_path, thorough(4.0), resetting=60.0)
    assert took_s < 4.0 + CLOSING_S
    assert "no episode was played" in found.refusals[0].found
    assert not_checked(found) == [
        "Not checked whether the environment keeps its contract: no time was left.",
        "Not checked whether tasks differ and are independent: no time was left.",
    ]


def test_a_copy_that_is_not_made_in_time_is_told(tmp_path: Path) -> None:
    found, took_s = examined(tmp_path, replace(Effort(), whole_s=0.5), making=20.0)
    assert took_s < 0.5 + CLOSING_S
    [refusal] = found.findings
    assert "its first copy was not made" in refusal.found


def test_long_episodes_are_played_by_as_few_copies_as_can_end_them_in_time() -> None:
    spec = family("contract_environments:Walk", max_episode_steps=100_000)
    found = Examination(spec=spec, max_episode_steps=100_000, times={"step_s": 1e-3})
    assert 0.5 < _affordable_copies(found, Effort(), TimeLimit(600.0)) < 2.0
    found.times = {"step_s": 2e-5}
    assert _affordable_copies(found, Effort(), TimeLimit(600.0)) > 32.0
    found.max_episode_steps = None
    assert _affordable_copies(found, Effort(), TimeLimit(600.0)) > 1e6
