"""The answers of /api/v1: their values, their revalidation and their cost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.daemon.health import Problem, RedReason
from agent.daemon.web.resources import PREFIX, RESOURCES, Resource
from agent.daemon.web.service_models import Health
from agent.daemon.web.values import Failed
from memory.records import CurveMetric, FamilyState, JobKind, JobOutcome
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.cli.filled_store import fill
from tests.agent.cli.hostile import fill_with_hostile_text, hidden_characters
from tests.agent.daemon.web.conftest import Site

FAMILIES = ("bandits", "cartpole", "arm")


def _paths(resource: Resource) -> list[str]:
    return [resource.path.replace("{name}", name) for name in (FAMILIES if resource.has_family else ("",))]


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.path)
def test_every_answer_has_exactly_the_fields_of_its_model(resource: Resource, site: Site) -> None:
    for path in _paths(resource):
        resource.model.model_validate(site.json(path))


@pytest.mark.parametrize("metric", list(CurveMetric))
def test_the_curve_of_every_metric_fits_its_model(metric: CurveMetric, site: Site) -> None:
    model = next(r.model for r in RESOURCES if r.path.endswith("/curves"))
    model.model_validate(site.json(f"/families/arm/curves?metric={metric}"))


def test_a_store_without_data_fits_the_models_too(tmp_path: Path, new_site: Callable[..., Site]) -> None:
    folder = fill(tmp_path / "new", story=(), rounds=0)
    site = new_site(on=folder)
    for resource in RESOURCES:
        if not resource.has_family:
            resource.model.model_validate(site.json(resource.path))


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("/families", ["env", "list"]),
        ("/families/cartpole", ["env", "show", "cartpole"]),
        ("/families/arm", ["env", "show", "arm"]),
        ("/versions", ["policy", "list", "--all"]),
        ("/jobs?runs=7", ["schedule", "list", "--runs", "7"]),
        ("/memory", ["memory", "stats"]),
        ("/matrix", ["curves", "--matrix"]),
        ("/matrix?over=time", ["curves", "--matrix", "--over", "time"]),
    ],
)
def test_an_answer_has_the_values_of_the_command(path: str, command: list[str], site: Site) -> None:
    answer, told = site.json(path), Learnd(site.folder.path).json(*command)
    for values in (answer, told):
        values.pop("disk_free_bytes", None)
    assert answer == told


def test_a_curve_has_the_values_of_the_command(site: Site) -> None:
    told = Learnd(site.folder.path).json("curves", "cartpole", "--metric", "trial_return")
    assert site.json("/families/cartpole/curves?metric=trial_return") == told["families"][0]


def test_the_status_has_the_values_of_the_command(tmp_path: Path, new_site: Callable[..., Site]) -> None:
    folder = fill(tmp_path / "learnd", rounds=2)
    row = {"pid": os.getpid(), "state": "running", "started_at": 5.0, "listen": "127.0.0.1:9464", "reasons": []}
    with Store.open(folder) as store, folder.hold():
        store.daemon_status.set(row)
        store.jobs.start(JobKind.PRACTISE, family="cartpole", reason="waited longest")
        answer = new_site(on=folder).json("/status")
        assert answer == Learnd(folder.path).json("status")
    assert answer["state"] == "running"
    assert answer["running"][0]["reason"] == "waited longest"


def test_health_says_what_to_do(site: Site) -> None:
    assert site.json("/health") == {"status": "ok", "reasons": []}
    site.problems.append(Problem(reason=RedReason.DISK_FULL, found="1 MiB is free", hint="Free disk space."))
    answer = site.json("/health")
    Health.model_validate(answer)
    assert answer == {
        "status": "red",
        "reasons": [{"reason": "disk_full", "found": "1 MiB is free", "hint": "Free disk space."}],
    }
    assert site.get("/healthz").json() == answer


def test_events_are_the_newest_first_and_name_rejections_and_failures(
    tmp_path: Path, new_site: Callable[..., Site]
) -> None:
    folder = fill(tmp_path / "learnd", rounds=15)
    with Store.open(folder) as store:
        run = store.jobs.start(JobKind.BACKUP, reason="due")
        store.jobs.finish(run, JobOutcome.FAILED, error="the disk is full")
        store.initializations.roll_back(reason="worse")
        run = store.jobs.start(JobKind.PRACTISE, family="acrobot", reason="due")
        store.jobs.finish(run, JobOutcome.FAILED, detail={"fault": "raised", "found": "it raised"})
    events = new_site(on=folder).json("/events")["events"]
    assert [event["at"] for event in events] == sorted((event["at"] for event in events), reverse=True)
    told = {(event["kind"], event["title"], event["text"], event["severity"]) for event in events}
    assert ("rejection", "candidate rejected", "cartpole fell by 0.08", "warning") in told
    assert ("job", "backup failed", "the disk is full", "error") in told
    assert ("rollback", "version 2 rolled back to 1", "worse", "warning") in told
    assert ("strike", "fault of acrobot in practise", "it raised", "warning") in told
    assert any(event["kind"] == "family" and event["family"] == "cartpole" for event in events)


def test_quarantines_are_told_after_their_end(tmp_path: Path, new_site: Callable[..., Site]) -> None:
    folder = fill(tmp_path / "learnd", rounds=1)
    with Store.open(folder) as store:
        until = time.time() + 3600.0
        store.families.set_state("acrobot", FamilyState.QUARANTINED, reason="it crashed", quarantined_until=until)
        store.families.set_state("acrobot", FamilyState.ACTIVE)
    (quarantine,) = new_site(on=folder).json("/quarantines?limit=5")["quarantines"]
    assert (quarantine["family"], quarantine["reason"]) == ("acrobot", "it crashed")
    assert quarantine["began_at"] <= quarantine["until"] < until


def test_trends_are_scores_and_returns_where_there_is_no_scale(site: Site) -> None:
    trends = {trend["name"]: trend for trend in site.json("/trends")["families"]}
    assert trends["cartpole"]["metric"] == "eval_score"
    assert (trends["arm"]["metric"], trends["arm"]["values"][-1]) == ("eval_return", -640.0)


def test_a_client_that_has_the_answer_gets_304_until_the_answer_changes(site: Site) -> None:
    first = site.get("/api/v1/families")
    again = site.get("/api/v1/families", if_none_match=first.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")
    assert site.get("/api/v1/families", if_none_match='W/"other"').status_code == 200
    assert (
        site.get("/api/v1/families", if_none_match='"x", ' + first.headers["etag"].removeprefix("W/")).status_code
        == 304
    )


def test_an_answer_is_compressed_for_clients_that_accept_gzip(site: Site) -> None:
    plain = site.get("/api/v1/versions", accept_encoding="identity")
    packed = site.get("/api/v1/versions", accept_encoding="br, gzip;q=0.8")
    refused = site.get("/api/v1/versions", accept_encoding="gzip;q=0")
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2
    assert packed.json() == plain.json() == refused.json()
    assert "content-encoding" not in plain.headers.keys() | refused.headers.keys()


def test_any_number_of_clients_costs_one_reading_between_two_changes_of_the_store(site: Site) -> None:
    async def crowd() -> None:
        answers = await asyncio.gather(*(site.request("/api/v1/status") for _ in range(40)))
        assert {answer.status_code for answer in answers} == {200}

    asyncio.run(crowd())
    assert site.reader.num_calls == 1
    site.revision += 1
    asyncio.run(crowd())
    assert site.reader.num_calls == 2


def test_an_unknown_family_is_answered_with_404_and_the_nearest_names(site: Site) -> None:
    answer = site.get("/api/v1/families/cartpol")
    assert (answer.status_code, answer.json()["error"]["hint"]) == (404, "Did you mean cartpole?")


@pytest.mark.parametrize("path", ["/api/v1/none", "/api/v2/status", "/none"])
def test_an_unknown_path_is_answered_in_json_with_where_the_paths_are_listed(path: str, site: Site) -> None:
    answer = site.get(path)
    assert answer.status_code == 404
    assert Failed.model_validate(answer.json()).error.subject == path
    assert "/api/v1 lists the paths" in answer.json()["error"]["hint"]


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/families/cartpole/curves?metric=nothing", "one of eval_score"),
        ("/versions?limit=0", "from 1 to 1000"),
        ("/versions?limit=1001", "from 1 to 1000"),
        ("/jobs?runs=many", "a whole number"),
        ("/status?all=1", "Known: none"),
    ],
)
def test_a_wrong_parameter_is_answered_with_400_and_what_is_allowed(path: str, hint: str, site: Site) -> None:
    answer = site.get(f"/api/v1{path}")
    assert answer.status_code == 400
    assert hint in answer.json()["error"]["hint"]


def test_a_store_that_cannot_be_read_is_answered_with_503_and_health_still_answers(
    tmp_path: Path, new_site: Callable[..., Site]
) -> None:
    folder = fill(tmp_path / "learnd", rounds=1)
    with contextlib.closing(sqlite3.connect(folder.store_path)) as database, database:
        database.execute("UPDATE job_runs SET detail = 'no JSON'")
    site = new_site(on=folder)
    answer = site.get("/api/v1/jobs")
    assert answer.status_code == 503
    assert "does not hold JSON" in answer.json()["error"]["found"]
    assert site.get("/api/v1/health").status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/login", f"{PREFIX}/status", f"{PREFIX}/stream", "/static/page.css"]
)
def test_no_method_writes(method: str, path: str, site: Site) -> None:
    answer = site.get(path, method=method)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/healthz", f"{PREFIX}/status", f"{PREFIX}/stream"])
def test_a_head_request_is_answered(path: str, site: Site) -> None:
    assert site.get(path, method="HEAD").status_code == 200


def test_foreign_text_cannot_leave_its_json_string(tmp_path: Path, new_site: Callable[..., Site]) -> None:
    site = new_site(on=fill_with_hostile_text(tmp_path / "learnd"))
    for path in ("/status", "/families/bandits", "/jobs", "/events"):
        answer = site.get(f"/api/v1{path}")
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not hidden_characters(answer.text)


def test_the_index_names_every_resource(site: Site) -> None:
    assert set(site.json("")["resources"]) == {PREFIX + r.path for r in RESOURCES} | {f"{PREFIX}/health"}


def test_kept_answers_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.daemon.http.answers.MAX_KEPT_BYTES", 1)
    site.json("/families")
    site.json("/memory")
    site.json("/families")
    assert site.reader.num_calls == 3
