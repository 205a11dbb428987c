from __future__ import annotations

from typing import Any

import pytest

from agent.cli.schedule import readable_trigger
from agent.job_requests import requested_job
from memory.folder import DataFolder
from memory.records import JobKind, JobOutcome, Request
from memory.store import Store
from tests.agent.cli.conftest import Learnd


def test_jobs_and_their_last_runs_are_listed(learnd: Learnd) -> None:
    answer = learnd.json("schedule", "list", "--runs", "3")
    jobs = {job["job"]: job for job in answer["jobs"]}
    assert jobs["evaluate"]["trigger"] == "interval:60"
    assert jobs["backup"]["last_outcome"] is None
    assert [run["outcome"] for run in answer["runs"]] == ["succeeded"] * 3
    page = learnd("schedule", "list").stdout
    assert "every 1m" in page
    assert "cron 0 3 * * *" in page


def test_the_trainers_time_is_listed_by_kind_of_job_and_family(learnd: Learnd, filled: DataFolder) -> None:
    with Store.open(filled) as store:
        for kind, family in ((JobKind.PRACTISE, "cartpole"), (JobKind.EVALUATE, None), (JobKind.PRUNE, None)):
            store.jobs.finish(store.jobs.start(kind, family=family, reason="due"), JobOutcome.SUCCEEDED)
    times = {(entry["job"], entry["family"]): entry for entry in learnd.json("schedule", "list")["times"]}
    assert times["practise", "cartpole"]["budget"] is None
    assert times["evaluate", None]["budget"] == 0.2
    assert ("prune", None) not in times
    assert sum(entry["share"] for entry in times.values()) == pytest.approx(1.0)
    assert "the trainer's time in the last 1h" in learnd("schedule", "list").stdout


def test_a_run_that_goes_on_in_the_background_is_told(learnd: Learnd, filled: DataFolder) -> None:
    with Store.open(filled) as store:
        run_id = store.jobs.start(JobKind.PRACTISE, family="cartpole", reason="waited 3s")
        store.jobs.finish(run_id, JobOutcome.SUCCEEDED, detail={"under_way": "rollout goes on"})
        run_id = store.jobs.start(JobKind.EVALUATE, reason="due")
        store.jobs.finish(run_id, JobOutcome.SUCCEEDED, detail={"under_way": ["cartpole"]})
    page = " ".join(learnd("schedule", "list", "--runs", "2").stdout.split())
    assert "in the background: rollout goes on" in page
    assert "in the background: cartpole" in page


def test_before_the_first_start_of_the_daemon_there_is_no_schedule(empty: Learnd) -> None:
    assert "no data yet" in empty("schedule", "list").stdout
    empty("env", "add", "bernoulli_bandits", "--no-check")
    assert "no job has run yet" in empty("schedule", "list").stdout


def test_a_failed_run_shows_what_went_wrong(learnd: Learnd, filled: DataFolder) -> None:
    with Store.open(filled) as store:
        run_id = store.jobs.start(JobKind.PRACTISE, family="cartpole", reason="waited 3s")
        store.jobs.finish(run_id, JobOutcome.FAILED, detail={"fault": "raised", "found": "the pole fell"})
    assert "the pole fell" in learnd("schedule", "list", "--runs", "1").stdout
    assert "the pole fell" in learnd("env", "show", "cartpole").stdout
    assert learnd.json("env", "show", "cartpole")["last_runs"][0]["error"] == "the pole fell"


def test_a_job_that_is_off_is_never_due(learnd: Learnd, filled: DataFolder) -> None:
    with Store.open(filled) as store:
        store.jobs.set_schedule(JobKind.PRUNE, "off", next_due_at=253402214400.0)
    jobs = {job["job"]: job for job in learnd.json("schedule", "list")["jobs"]}
    assert jobs["prune"]["next_due_at"] is None


def test_asking_for_a_job_is_a_row_that_the_daemon_takes(learnd: Learnd, filled: DataFolder) -> None:
    answer = learnd.json("schedule", "run-now", "evaluate", "--family", "cartpole")
    assert answer["is_daemon_running"] is False
    with Store.open(filled) as store:
        (request,) = store.requests.take()
    assert (request.id, request.kind) == (answer["request_id"], "run_job")
    assert request.payload == {"job": "evaluate", "family": "cartpole"}


@pytest.mark.parametrize(
    ("asked", "heard"),
    [
        (("backup",), (JobKind.BACKUP, None)),
        (("evaluate",), (JobKind.EVALUATE, None)),
        (("practise", "--family", "cartpole"), (JobKind.PRACTISE, "cartpole")),
    ],
)
def test_what_is_asked_for_is_what_control_hears(
    asked: tuple[str, ...], heard: tuple[JobKind, str | None], learnd: Learnd, filled: DataFolder
) -> None:
    learnd("schedule", "run-now", *asked)
    with Store.open(filled) as store:
        (request,) = store.requests.take()
    assert requested_job(request) == heard


@pytest.mark.parametrize(
    ("kind", "payload"),
    [("sing", {"job": "backup"}), ("run_job", {"job": "sing"}), ("run_job", {"job": "practise"}), ("run_job", {})],
)
def test_a_request_for_nothing_that_can_be_done_is_refused(kind: str, payload: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):
        requested_job(Request(id=1, kind=kind, payload=payload, created_at=0.0))


def test_people_hear_when_it_runs(learnd: Learnd, filled: DataFolder) -> None:
    assert "after the next start of the daemon" in learnd("schedule", "run-now", "prune").stdout
    with filled.hold():
        assert "as soon as the trainer is free" in learnd("schedule", "run-now", "evaluate").stdout
        assert "at once, or after a backup or verify that runs" in learnd("schedule", "run-now", "prune").stdout


def test_an_unknown_job_suggests_the_nearest(learnd: Learnd) -> None:
    assert learnd.json("schedule", "run-now", "consolidat", code=1)["error"]["hint"] == "Did you mean consolidate?"


def test_an_unknown_family_is_refused(learnd: Learnd) -> None:
    assert "error" in learnd.json("schedule", "run-now", "evaluate", "--family", "nope", code=1)


def test_a_family_where_none_belongs_is_a_usage_error(learnd: Learnd) -> None:
    learnd("schedule", "run-now", "prune", "--family", "cartpole", code=2)
    learnd("schedule", "run-now", "practise", code=2)


def test_triggers_are_readable() -> None:
    assert readable_trigger("interval:21600") == "every 6h"
    assert readable_trigger("cron:0 3 * * *") == "cron 0 3 * * *"
    assert readable_trigger("off") == "off"


def test_the_time_zone_is_shown(learnd: Learnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARND_SERVICE__TIME_ZONE", "Asia/Tokyo")
    assert learnd.json("schedule", "list")["time_zone"] == "Asia/Tokyo"
    assert "time zone of cron lines and windows: Asia/Tokyo" in learnd("schedule", "list").stdout
