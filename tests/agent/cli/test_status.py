from __future__ import annotations

import os

import pytest

from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint, JobKind
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.cli.unscaled import add_unscaled

RETURN_KEYS = {"eval_score", "eval_return", "trial_return"}
FAMILY_KEYS = {"name", "state", "env_steps", "trials", "episodes", "meta_updates"} | RETURN_KEYS


def test_status_has_the_promised_keys(learnd: Learnd) -> None:
    status = learnd.json("status")
    assert {"state", "pid", "policy_version", "families", "running", "health", "since", "device"} <= set(status)
    assert [family["name"] for family in status["families"]][:2] == ["bandits", "mdps"]
    assert all(set(family) >= FAMILY_KEYS for family in status["families"])


def test_status_tells_what_was_learned(learnd: Learnd) -> None:
    status = learnd.json("status")
    cartpole = next(family for family in status["families"] if family["name"] == "cartpole")
    assert cartpole["env_steps"] == 96_000
    assert cartpole["meta_updates"] == 40
    assert 0.5 < cartpole["eval_score"] < 1
    assert status["policy_version"] == 2
    assert status["learner_steps"] == 60


def test_without_a_daemon_the_state_is_stopped_whatever_the_row_says(learnd: Learnd, filled: DataFolder) -> None:
    with Store.open(filled) as store:
        store.daemon_status.set({"state": "running", "pid": 4242, "started_at": 1.0, "reasons": ["old"]})
    status = learnd.json("status")
    assert (status["state"], status["pid"], status["since"]) == ("stopped", None, None)
    assert status["health"] == {"is_healthy": False, "reasons": []}


@pytest.mark.parametrize(("state", "is_orderly"), [("running", False), ("stopping", False), ("stopped", True)])
def test_a_stopped_service_says_whether_it_ended_in_order(
    state: str, is_orderly: bool, learnd: Learnd, filled: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with Store.open(filled) as store:
        store.daemon_status.set({"state": state, "pid": 4242, "started_at": 1.0})
    assert learnd.json("status")["has_ended_in_order"] is is_orderly
    page = learnd("status").stdout
    assert ("learnd stopped without an orderly end, last seen" in page) is not is_orderly
    assert ("start it again: learnd run" in page) is not is_orderly


def test_a_backup_is_called_one_and_not_a_service_that_was_killed(filled: DataFolder) -> None:
    with Store.open(filled) as store:
        store.daemon_status.set({"state": "running", "pid": 4242, "started_at": 1.0})
        backup = store.back_up(keep=1)
    page = Learnd(backup.path)("status").stdout
    assert page.startswith("learnd stopped · a backup · ")
    assert "orderly end" not in page


def test_a_service_that_never_ran_or_runs_has_no_end(learnd: Learnd, empty: Learnd, filled: DataFolder) -> None:
    assert empty.json("status")["has_ended_in_order"] is None
    with filled.hold():
        assert learnd.json("status")["has_ended_in_order"] is None


def test_with_a_daemon_its_row_is_believed(learnd: Learnd, filled: DataFolder) -> None:
    with Store.open(filled) as store, filled.hold():
        row = {"state": "running", "pid": os.getpid(), "started_at": 1.5, "device": "cpu", "listen": "127.0.0.1:9"}
        store.daemon_status.set({**row, "reasons": ["learner_crash_loop: it dies"]})
        run = store.jobs.start(JobKind.PRACTISE, family="cartpole", reason="waited longest")
        status = learnd.json("status")
        page = learnd("status").stdout
    assert (status["state"], status["pid"], status["since"]) == ("running", os.getpid(), 1.5)
    assert status["health"] == {"is_healthy": False, "reasons": ["learner_crash_loop: it dies"]}
    assert [(job["run_id"], job["family"]) for job in status["running"]] == [(run, "cartpole")]
    assert "waited longest" in page
    assert "learner_crash_loop" in page
    assert page.splitlines()[1].endswith("· http://127.0.0.1:9/"), "the address of the page"


def test_a_daemon_that_has_not_written_its_row_yet_is_starting(learnd: Learnd, filled: DataFolder) -> None:
    with Store.open(filled) as store:
        store.daemon_status.set({"state": "stopped", "pid": 1, "started_at": 1.0})
    with filled.hold():
        status = learnd.json("status")
    assert (status["state"], status["pid"]) == ("starting", os.getpid())


def test_a_run_that_a_dead_daemon_left_open_does_not_run(learnd: Learnd, filled: DataFolder) -> None:
    with Store.open(filled) as store:
        store.jobs.start(JobKind.EVALUATE, reason="due")
    assert learnd.json("status")["running"] == []


def test_people_see_every_family(learnd: Learnd) -> None:
    page = learnd("status").stdout
    for name in ("bandits", "mdps", "cartpole", "acrobot", "frozenlake", "pendulum", "stopped"):
        assert name in page


def test_the_page_says_where_its_returns_come_from(
    learnd: Learnd, filled: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    practice = "trial return: in the newest slice of practice"
    evaluation = "in the newest evaluation, on tasks never trained on"
    assert f"{practice} · score: {evaluation}" in learnd("status").stdout
    add_unscaled(filled)
    assert f"{practice} · score, held-out return: {evaluation}" in learnd("status").stdout


def test_a_family_without_a_reference_shows_its_return(
    learnd: Learnd, filled: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert "held-out" not in learnd("status").stdout
    add_unscaled(filled)
    (unscaled,) = [family for family in learnd.json("status")["families"] if family["name"] == "arm"]
    assert (unscaled["eval_score"], unscaled["eval_score_standard_error"]) == (None, None)
    assert (unscaled["eval_return"], unscaled["eval_return_standard_error"]) == (-640.0, 31.0)
    assert "-640 ± 31" in learnd("status").stdout
    page = learnd("env", "show", "arm").stdout
    assert "no reference (a return that scores 1) is declared, so returns are shown instead of scores" in page
    assert "-640 ± 31" in page


def test_a_refused_family_says_why(learnd: Learnd, filled: DataFolder) -> None:
    with Store.open(filled) as store:
        store.families.set_state(
            "acrobot", store.families.get("acrobot").state.REFUSED, reason="no module named [pygame]"
        )
    assert "no module named [pygame]" in learnd("status").stdout


@pytest.mark.parametrize("every", ["0", "-1"])
def test_watching_needs_a_period(learnd: Learnd, every: str) -> None:
    learnd("status", "--watch", "--every", every, code=2)


def measured(folder: DataFolder, name: str, **measures: float) -> None:
    with Store.open(folder) as store:
        points = [CurvePoint(metric=CurveMetric(metric), value=value) for metric, value in measures.items()]
        store.curves.commit_evaluation(name, points)


def test_what_a_family_lost_is_a_column_once_it_has_lost_something(
    learnd: Learnd, filled: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    measured(filled, "cartpole", performance=0.8, forgetting=-0.004)
    assert "forgetting" not in learnd("status").stdout
    measured(filled, "cartpole", performance=0.25, forgetting=0.625)
    header, cartpole = (
        next(line for line in learnd("status").stdout.splitlines() if text in line) for text in ("updates", "cartpole")
    )
    assert header.index("forgetting") < cartpole.index("0.62") + 4 <= header.index("forgetting") + len("forgetting")
    report = next(family for family in learnd.json("status")["families"] if family["name"] == "cartpole")
    assert (report["performance"], report["forgetting"]) == (0.25, 0.625)
    assert learnd.json("status")["families"][0]["forgetting"] is None
