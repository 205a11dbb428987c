"""The lane of measured references: real daemon, real store, and a fake measuring process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from agent.config.settings import Settings
from agent.daemon.references.lane import SEARCH_PERIOD_S, ReferenceLane
from agent.daemon.store.thread import StoreThread
from agent.job_requests import RUN_JOB, payload_of
from envs.family import FamilySource, FamilySpec
from envs.reference import ReferenceRule
from memory.folder import DataFolder
from memory.records import Family, FamilyState, JobKind, JobOutcome, JobRun
from memory.store import Store
from tests.agent.daemon.clocks import FakeClock
from tests.agent.daemon.daemon_process import QUICK, DaemonProcess, until

CONFIG = QUICK + "[stream]\nembedded_default = false\n"
NAME = "arm"


def arm(name: str = NAME, *, steps: int = 100, rule: ReferenceRule = ReferenceRule.THRESHOLD) -> FamilySpec:
    return FamilySpec(
        name=name, source=FamilySource.GYMNASIUM, entry="arms:Arm", reference_rule=rule, reference_steps=steps
    )


def add(folder: Path, spec: FamilySpec | None = None) -> None:
    with Store.open(DataFolder(folder)) as store:
        spec = spec or arm()
        store.families.add(spec)


def service(folder: Path, behaviour: str) -> DaemonProcess:
    return DaemonProcess(folder, config=CONFIG, options=("--reference-behaviour", behaviour))


def family(folder: Path) -> Family:
    with Store.open(DataFolder(folder), is_reader=True) as store:
        return store.families.get(NAME)


def runs(folder: Path) -> list[JobRun]:
    """Return the measurements, oldest first."""
    with Store.open(DataFolder(folder), is_reader=True) as store:
        return store.jobs.runs(kind=JobKind.REFERENCE)[::-1]


def outcomes(folder: Path) -> list[JobOutcome | None]:
    return [run.outcome for run in runs(folder)]


def measuring(running: DaemonProcess) -> psutil.Process | None:
    for child in psutil.Process(running.process.pid).children():
        if "tests.agent.daemon.fake_reference" in child.cmdline():
            return child
    return None


def num_runs(running: DaemonProcess, outcome: JobOutcome) -> float:
    """Return the number of measurements with that outcome in the metrics, which are up to a second old."""
    return running.metric("learnd_job_runs_total", job="reference", outcome=outcome)


def set_state(folder: Path, state: FamilyState) -> None:
    with Store.open(DataFolder(folder)) as store:
        store.families.set_state(NAME, state)


def test_a_measured_return_becomes_the_reference_once_and_gives_scores(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    add(folder)
    with service(folder, "good") as running:
        until(lambda: family(folder).reference_return, "the reference is measured")
        until(lambda: running.metric("learnd_eval_score", family=NAME) == 0.25, "the score is in the metrics")
        assert running.metric("learnd_eval_return", family=NAME) == 0.5
        until(lambda: num_runs(running, JobOutcome.SUCCEEDED) == 1, "the measurement is counted")
    found = family(folder)
    measured = found.require_spec().measured_reference
    assert measured is not None
    assert (found.reference_return, measured.mean_return, measured.steps) == (2.0, 2.0, 100)
    assert "PPO of fake 1.0" in found.require_spec().reference_source
    with service(folder, "good") as running:
        until(lambda: running.metric("learnd_meta_updates_total", family=NAME) > 0, "it practises after a restart")
        assert outcomes(folder) == [JobOutcome.SUCCEEDED]


def test_a_return_that_is_not_above_random_actions_gives_no_reference_and_is_not_measured_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    add(folder)
    with service(folder, "poor") as running:
        until(lambda: outcomes(folder) == [JobOutcome.SUCCEEDED], "the measurement ended")
        steps = running.metric("learnd_env_steps_total", family=NAME)
        until(lambda: running.metric("learnd_env_steps_total", family=NAME) > steps, "practice goes on")
        assert outcomes(folder) == [JobOutcome.SUCCEEDED]
    assert family(folder).reference_return is None
    measured = family(folder).require_spec().measured_reference
    assert measured is not None
    assert measured.mean_return == 0.0


def test_a_failed_measurement_is_counted_waits_and_shows_its_reason_and_health_stays_good(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    add(folder)
    with service(folder, "fail") as running:
        until(lambda: JobOutcome.FAILED in outcomes(folder), "the measurement failed")
        until(lambda: running.metric("learnd_meta_updates_total", family=NAME) > 0, "the family is practised")
        until(lambda: num_runs(running, JobOutcome.FAILED) == 1, "the failure is counted")
        assert running.health() == (200, [])
        with running.store() as store:
            failure = store.references.failures()[NAME]
            assert (failure.count, "the dog ate it" in failure.error) == (1, True)
            [report] = store.overview.family_reports()
            assert report["reference_failure"]["count"] == 1
            store.requests.add(RUN_JOB, payload_of(JobKind.REFERENCE, NAME))
        until(lambda: outcomes(folder) == [JobOutcome.FAILED] * 2, "a request does not wait for the next attempt")
    assert family(folder).strikes == 0


def test_a_process_that_exits_without_a_result_has_failed_with_its_last_line(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    add(folder)
    with service(folder, "exit"):
        until(lambda: JobOutcome.FAILED in outcomes(folder), "the measurement failed")
    assert "exit status 7" in runs(folder)[0].error
    assert "no such library" in runs(folder)[0].error


def test_a_killed_measuring_process_has_failed_and_practice_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    add(folder)
    with service(folder, "endless") as running:
        child = until(lambda: measuring(running), "a measurement runs")
        until(lambda: running.metric("learnd_meta_updates_total", family=NAME) > 0, "the family is practised meanwhile")
        child.kill()
        until(lambda: JobOutcome.FAILED in outcomes(folder), "the measurement failed")
        assert "SIGKILL" in runs(folder)[0].error
        updates = running.metric("learnd_meta_updates_total", family=NAME)
        until(lambda: running.metric("learnd_meta_updates_total", family=NAME) > updates, "practice goes on")


def test_a_measurement_survives_a_kill_of_the_trainer(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    add(folder)
    with service(folder, "endless") as running:
        child = until(lambda: measuring(running), "a measurement runs")
        os.kill(running.learner_pid(), signal.SIGKILL)
        until(lambda: running.metric("learnd_learner_restarts_total", reason="killed") == 1, "the restart is counted")
        updates = running.metric("learnd_meta_updates_total", family=NAME)
        until(lambda: running.metric("learnd_meta_updates_total", family=NAME) > updates, "practice goes on")
        assert measuring(running) == child


def test_a_measurement_runs_again_after_a_kill_of_the_daemon_without_waiting(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    add(folder)
    with service(folder, "endless") as running:
        until(lambda: measuring(running), "a measurement runs")
    with service(folder, "good"):
        until(lambda: family(folder).reference_return, "it is measured after the restart")
    assert outcomes(folder) == [JobOutcome.INTERRUPTED, JobOutcome.SUCCEEDED]


def num_resumed(folder: Path) -> int:
    """Return how often the measured reference went on from its checkpoint."""
    measured = family(folder).require_spec().measured_reference
    assert measured is not None
    return measured.num_resumed


def test_a_measurement_goes_on_from_its_checkpoint_after_a_restart_of_the_daemon(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    add(folder)
    checkpoints = DataFolder(folder).measurements_path
    with service(folder, "endless"):
        until(lambda: checkpoints.exists() and list(checkpoints.iterdir()), "a measurement runs")
    with service(folder, "good"):
        until(lambda: family(folder).reference_return, "it is measured after the restart")
        until(lambda: not list(checkpoints.iterdir()), "its checkpoint is removed")
    assert num_resumed(folder) == 1


def test_a_measurement_goes_on_from_its_checkpoint_after_a_pause_of_the_family(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    add(folder)
    checkpoints = DataFolder(folder).measurements_path
    with service(folder, "endless"):
        until(lambda: checkpoints.exists() and list(checkpoints.iterdir()), "a measurement runs")
        set_state(folder, FamilyState.PAUSED)
        until(lambda: outcomes(folder) == [JobOutcome.INTERRUPTED], "the measurement ended")
    with service(folder, "good"):
        set_state(folder, FamilyState.ACTIVE)
        until(lambda: family(folder).reference_return, "it is measured")
    assert num_resumed(folder) == 1


def test_a_failed_measurement_begins_again_from_its_start(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    add(folder)
    with service(folder, "fail"):
        until(lambda: JobOutcome.FAILED in outcomes(folder), "the measurement failed")
        until(lambda: not list(DataFolder(folder).measurements_path.iterdir()), "its checkpoint is removed")


def test_a_stop_of_the_daemon_ends_the_measurement_and_is_no_failure(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    add(folder)
    with service(folder, "endless") as running:
        child = until(lambda: measuring(running), "a measurement runs")
        running.stop()
        assert not child.is_running()
    assert outcomes(folder) == [JobOutcome.INTERRUPTED]


def test_pausing_the_family_ends_its_measurement_and_resuming_continues_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    add(folder)
    with service(folder, "endless") as running:
        child = until(lambda: measuring(running), "a measurement runs")
        set_state(folder, FamilyState.PAUSED)
        until(lambda: outcomes(folder) == [JobOutcome.INTERRUPTED], "the measurement ended")
        assert not child.is_running()
        assert runs(folder)[0].error == "it is paused"
        set_state(folder, FamilyState.ACTIVE)
        until(lambda: measuring(running), "it is measured again")


def test_removing_the_family_ends_its_measurement(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    add(folder)
    with service(folder, "endless") as running:
        child = until(lambda: measuring(running), "a measurement runs")
        set_state(folder, FamilyState.REMOVED)
        until(lambda: outcomes(folder) == [JobOutcome.INTERRUPTED], "the measurement ended")
        assert not child.is_running()
        assert runs(folder)[0].error == "the family was removed"


def test_progress_is_in_the_running_job_of_the_overview(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    add(folder, arm(steps=300))
    with service(folder, "endless") as running:

        def progress() -> dict[str, object] | None:
            with running.store() as store:
                jobs = store.overview.overview()["running"]
            return next((job["progress"] for job in jobs if job["job"] == "reference" and job["progress"]), None)

        until(lambda: (progress() or {}).get("steps_done") == 150, "the progress is recorded")
        assert progress() == {"phase": "training", "steps_done": 150, "steps": 300}


def test_a_family_without_the_wish_is_not_measured(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    add(folder, arm(rule=ReferenceRule.NONE))
    with service(folder, "good") as running:
        until(lambda: running.metric("learnd_meta_updates_total", family=NAME) > 0, "the family is practised")
        assert outcomes(folder) == []
        with running.store() as store:
            store.requests.add(RUN_JOB, payload_of(JobKind.REFERENCE, NAME))
        until(lambda: family(folder).reference_return == 2.0, "a request measures it")


def test_a_search_that_found_no_family_is_not_repeated_at_once(tmp_path: Path) -> None:
    folder, clock, searches = DataFolder(tmp_path), FakeClock(), []

    async def use() -> list[str | None]:
        writer = StoreThread("store-writer", lambda: Store.open(folder))
        await writer.open()
        call = writer.call

        async def counted(function: Callable[[Store], Any]) -> Any:
            searches.append(clock.monotonic())
            return await call(function)

        writer.call = counted  # type: ignore[method-assign]
        lane = ReferenceLane(Settings(), folder=folder, writer=writer, clock=clock)
        found = []
        for _ in range(6):
            work = await lane.next_work([])
            found.append(None if work is None else work.family)
            add_active(folder)
            clock.advance(SEARCH_PERIOD_S / 4)
        await writer.close()
        return found

    assert asyncio.run(use()) == [None, None, None, None, NAME, NAME]
    assert searches == [0.0, SEARCH_PERIOD_S, 1.25 * SEARCH_PERIOD_S]


def add_active(folder: DataFolder) -> None:
    """Add a family whose reference is not known, unless there is one."""
    with Store.open(folder) as store:
        if not store.families.all():
            store.families.add(arm())
            store.families.admit(NAME, spaces={}, random_return=0.0, reference_return=None)
