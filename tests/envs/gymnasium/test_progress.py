"""Tests of time-outs: each limits one copy of the environment, not a whole request, and the error names the copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from envs.errors import FaultReason, WorkerFaultError
from envs.family import Split
from envs.gymnasium import progress as worker_progress
from envs.gymnasium.batch import WorkerTaskBatch
from envs.gymnasium.host.progress import Stage as StageOfHost
from envs.gymnasium.progress import AnswerDeadline, Stage
from envs.limits import WorkerLimits
from envs.pace import KNOWN_AFTER, Pace
from tests.envs.families import LIMITS, all_active, family

ONE_SECOND = replace(LIMITS, step_timeout_s=1.0, watch_interval_s=0.1)
COPIES = 12
QUICK = Pace(longest_step_s=0.0, longest_reset_s=0.0)


@contextmanager
def slow(tmp_path: Any, *, limits: WorkerLimits, **kwargs: Any) -> Iterator[WorkerTaskBatch]:
    spec = family("launching_environments:Slow", kwargs={"folder": str(tmp_path), **kwargs})
    tasks = WorkerTaskBatch(spec, num_trials=COPIES, device="cpu", limits=limits)
    try:
        yield tasks
    finally:
        tasks.close()


def begin_and_step(tasks: WorkerTaskBatch) -> None:
    tasks.begin(0, split=Split.TRAINING)
    tasks.step(torch.zeros(tasks.num_trials, dtype=torch.int64), all_active(tasks.num_trials))


def test_host_and_learner_number_the_stages_alike() -> None:
    assert {stage.name: stage.value for stage in StageOfHost} == {stage.name: stage.value for stage in Stage}
    assert worker_progress.DONE_TO_A_COPY.keys() == set(Stage)


def test_a_deadline_starts_again_with_each_copy() -> None:
    cells = np.array([0, Stage.RESETTING, 1])
    deadline = AnswerDeadline(replace(LIMITS, step_timeout_s=2.0))
    deadline.follow(cells, 3)
    deadline.start(10.0)
    assert not deadline.has_passed(11.9)
    cells[:] = 1, Stage.RESETTING, 2
    assert not deadline.has_passed(12.1)
    assert not deadline.has_passed(14.0)
    assert deadline.has_passed(14.1)
    assert "copy 2 of 3 was being reset" in deadline.describe()
    assert "within 2 s" in deadline.describe()
    assert "workers.step_timeout_s" in deadline.describe()


def test_making_a_copy_has_the_time_of_a_start() -> None:
    cells = np.array([0, Stage.MAKING, 1])
    deadline = AnswerDeadline(replace(LIMITS, step_timeout_s=2.0, start_timeout_s=60.0))
    deadline.follow(cells, 3)
    deadline.start(0.0)
    assert not deadline.has_passed(59.0)
    assert deadline.has_passed(60.0)
    assert "(workers.start_timeout_s): copy 1 of 3 was being made" in deadline.describe()


def test_before_copies_are_opened_the_limit_is_that_of_a_start() -> None:
    deadline = AnswerDeadline(replace(LIMITS, step_timeout_s=2.0, start_timeout_s=60.0))
    deadline.start(0.0)
    assert not deadline.has_passed(59.0)
    assert deadline.has_passed(60.0)
    assert "workers.start_timeout_s" in deadline.describe()


def stepping(deadline: AnswerDeadline, cells: Any, duration_s: float, *, began: float = 0.0) -> None:
    """Let the worker step one copy for a time, looked at every half second, and answer."""
    cells[:] = 0, Stage.STEPPING, cells[2] + 1
    deadline.start(began)
    for look in range(1, int(2 * duration_s) + 1):
        assert not deadline.has_passed(began + look / 2)
    deadline.end()
    deadline.num_answers += 1


def followed(limits: WorkerLimits) -> tuple[AnswerDeadline, Any]:
    cells, deadline = np.array([0, Stage.STEPPING, 1]), AnswerDeadline(limits)
    deadline.follow(cells, 3)
    return deadline, cells


def test_a_worker_that_was_quick_so_far_hangs_after_five_seconds() -> None:
    deadline, _cells = followed(LIMITS)
    deadline.num_answers = KNOWN_AFTER
    deadline.start(0.0)
    assert not deadline.has_passed(4.9)
    assert deadline.has_passed(5.0)
    assert "(workers.step_timeout_s, adapted because it usually takes less than a second)" in deadline.describe()


def test_a_worker_of_which_little_is_known_has_the_time_of_the_setting() -> None:
    deadline, _cells = followed(LIMITS)
    deadline.num_answers = KNOWN_AFTER - 1
    deadline.start(0.0)
    assert not deadline.has_passed(29.9)
    assert deadline.has_passed(30.0)


def test_a_simulator_whose_steps_take_ten_seconds_keeps_its_time() -> None:
    deadline, cells = followed(LIMITS)
    stepping(deadline, cells, 10.0)
    deadline.num_answers = KNOWN_AFTER
    stepping(deadline, cells, 25.0, began=100.0)
    assert deadline.limit_s == 75.0


def test_a_new_worker_has_the_limits_that_follow_from_earlier_ones() -> None:
    quick, _cells = followed(replace(LIMITS, pace=QUICK))
    quick.start(0.0)
    assert quick.limit_s == 5.0
    slow, _cells = followed(replace(LIMITS, pace=replace(QUICK, longest_step_s=20.0)))
    slow.start(0.0)
    assert slow.limit_s == 60.0


def test_steps_and_resets_have_limits_of_their_own() -> None:
    deadline, cells = followed(replace(LIMITS, pace=replace(QUICK, longest_reset_s=20.0)))
    deadline.start(0.0)
    assert deadline.limit_s == 5.0
    cells[:] = 0, Stage.RESETTING, 2
    deadline.start(1.0)
    assert deadline.limit_s == 60.0


def test_a_step_that_hangs_does_not_lengthen_the_limit_while_it_lasts() -> None:
    deadline, _cells = followed(replace(LIMITS, pace=QUICK))
    deadline.start(0.0)
    assert not deadline.has_passed(4.5)
    assert deadline.limit_s == 5.0
    assert deadline.has_passed(5.0)


def test_the_pace_of_a_worker_replaces_that_of_earlier_ones_once_it_is_known() -> None:
    deadline, cells = followed(replace(LIMITS, pace=Pace(longest_step_s=20.0, steps_per_s=60.0)))
    stepping(deadline, cells, 2.0)
    assert deadline.pace == Pace(longest_step_s=20.0, steps_per_s=60.0)
    deadline.num_answers = KNOWN_AFTER
    assert deadline.pace == Pace(longest_step_s=2.0, longest_reset_s=0.0, steps_per_s=60.0)


def test_a_worker_learns_from_its_answers_that_it_is_quick(tmp_path: Any) -> None:
    with slow(tmp_path, limits=ONE_SECOND) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        assert tasks.pace == Pace()
        for _ in range(KNOWN_AFTER):
            begin_and_step(tasks)
        assert tasks.pace == QUICK


def test_copies_whose_resets_and_steps_together_exceed_the_limit_are_no_fault(tmp_path: Any) -> None:
    with slow(tmp_path, limits=ONE_SECOND, resetting=0.15, stepping=0.12) as tasks:
        begin_and_step(tasks)


def test_copies_that_take_long_to_make_together_are_no_fault(tmp_path: Any) -> None:
    limits = replace(ONE_SECOND, start_timeout_s=3.0)
    with slow(tmp_path, limits=limits, making=0.4) as tasks:
        tasks.begin(0, split=Split.TRAINING)


def test_the_checkers_calls_are_timed_one_by_one(tmp_path: Any) -> None:
    with slow(tmp_path, limits=ONE_SECOND, resetting=0.3) as tasks:
        assert tasks.check()["failure"] is None


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"making": 0.01}, r"workers\.start_timeout_s\): copy 5 of 12 was being made"),
        ({"resetting": 0.01}, r"workers\.step_timeout_s\): copy 5 of 12 was being reset"),
        ({"stepping": 0.01}, r"within 1 s.*workers\.step_timeout_s\): copy 5 of 12 was being stepped"),
    ],
)
def test_one_copy_that_hangs_is_named(kwargs: dict[str, Any], words: str, tmp_path: Any) -> None:
    limits = replace(ONE_SECOND, start_timeout_s=3.0)
    with slow(tmp_path, limits=limits, hangs=5, **kwargs) as tasks:
        with pytest.raises(WorkerFaultError, match=words) as caught:
            begin_and_step(tasks)
        assert caught.value.reason is FaultReason.HUNG


def test_a_caller_is_called_while_a_worker_is_waited_for(tmp_path: Any) -> None:
    waits: list[None] = []
    spec = family("launching_environments:Slow", kwargs={"folder": str(tmp_path), "resetting": 0.3})
    tasks = WorkerTaskBatch(spec, num_trials=3, device="cpu", limits=ONE_SECOND, on_wait=lambda: waits.append(None))
    try:
        tasks.begin(0, split=Split.TRAINING)
    finally:
        tasks.close()
    assert len(waits) >= 2
