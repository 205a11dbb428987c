"""The dashboard and the alert rules ask only for metrics that the daemon exposes, and Prometheus understands them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.daemon.snapshot import read_snapshot
from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint
from memory.store import Store
from tests.agent.daemon.exposition import metrics_text
from tests.repository import ROOT

MONITORING = ROOT / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana" / "learnd.json").read_text())
METRIC = re.compile(r"\b(?:learnd|process)_[a-z_]+\b")
LABEL_MATCHERS = re.compile(r"\b((?:learnd|process)_[a-z_]+)\{([^}]*)\}")
RECORDED = re.compile(r"\b[a-z_]+:[a-z_]+:[a-z0-9_]+\b")
NOT_OURS = {"instance"}

NAMES_TO_KEEP = {
    "learnd_build_info",
    "learnd_env_steps_total",
    "learnd_episodes_total",
    "learnd_trials_total",
    "learnd_meta_updates_total",
    "learnd_eval_score",
    "learnd_eval_return",
    "learnd_forgetting",
    "learnd_forward_transfer",
    "learnd_average_performance",
    "learnd_rehearsal_kl",
    "learnd_rehearsal_share",
    "learnd_met_return",
    "learnd_trial_return",
    "learnd_episode_return",
    "learnd_loss",
    "learnd_uncertainty",
    "learnd_memory_episodes",
    "learnd_memory_size_bytes",
    "learnd_wal_size_bytes",
    "learnd_policy_version",
    "learnd_consolidations_total",
    "learnd_job_runs_total",
    "learnd_job_duration_seconds",
    "learnd_job_last_success_timestamp_seconds",
    "learnd_learner_restarts_total",
    "learnd_worker_restarts_total",
    "learnd_families",
}

MEASURES = (
    CurveMetric.FORGETTING,
    CurveMetric.PERFORMANCE,
    CurveMetric.FORWARD_TRANSFER,
    CurveMetric.REHEARSAL_KL,
    CurveMetric.REHEARSAL_SHARE,
)

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


@pytest.fixture
def exposed(filled: DataFolder) -> dict[str, set[str]]:
    """Return the labels of every series name that the daemon's registry exposes for a filled store."""
    with Store.open(filled) as store:
        store.counters.add("worker_restarts", {"family": "cartpole", "reason": "killed"})
        store.curves.commit_evaluation("cartpole", [CurvePoint(metric=metric, value=0.5) for metric in MEASURES])
        labelled = ((CurveMetric.UNCERTAINTY, "5"), (CurveMetric.MET_RETURN, "memory"))
        points = [CurvePoint(metric=metric, label=label, value=0.7) for metric, label in labelled]
        store.curves.commit_evaluation("cartpole", points)
    with Store.open(filled, is_reader=True) as store:
        snapshot = read_snapshot(store, None)
    text = metrics_text(snapshot)
    labels: dict[str, set[str]] = {}
    for name, pairs in re.findall(r"^([a-z_]+)(\{[^}]*\})? ", text, re.MULTILINE):
        labels.setdefault(name, set()).update(re.findall(r'([a-z_]+)="', pairs))
    return labels


def every_panel() -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", [])


def every_query() -> list[str]:
    """Every expression of the dashboard's panels and annotations."""
    targets = [target["expr"] for panel in every_panel() for target in panel.get("targets", [])]
    return targets + [annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]]


def as_prometheus_reads(query: str) -> str:
    """The query with Grafana's variables filled in."""
    filled_in = query.replace("$__rate_interval", "1m").replace("$instance", "a").replace("$family", "cartpole")
    assert "$" not in filled_in
    return filled_in


def every_rule() -> str:
    return "".join((MONITORING / name).read_text() for name in ("recording.yml", "alerts.yml"))


def rules(name: str, kind: str) -> dict[str, dict[str, Any]]:
    """The rules of a file by their names; ``kind`` is "alert" or "record"."""
    groups = yaml.safe_load((MONITORING / name).read_text())["groups"]
    return {rule[kind]: rule for group in groups for rule in group["rules"]}


ALERTS = rules("alerts.yml", "alert")
RECORDS = rules("recording.yml", "record")
TEST_FILES = ("alerts_test.yml", "alerts_long_test.yml")
RULE_TESTS = [test for name in TEST_FILES for test in yaml.safe_load((MONITORING / name).read_text())["tests"]]


def test_the_dashboard_asks_only_for_what_is_exposed(exposed: dict[str, set[str]]) -> None:
    asked = {name for query in every_query() for name in METRIC.findall(query)}
    variables = json.dumps(DASHBOARD["templating"])
    assert asked | set(METRIC.findall(variables)) <= set(exposed)


def test_the_dashboard_shows_every_metric_there_is_to_keep() -> None:
    asked = {name for query in every_query() for name in METRIC.findall(query)}
    assert asked | set(METRIC.findall(json.dumps(DASHBOARD["templating"]))) >= NAMES_TO_KEEP


def test_the_rules_ask_only_for_what_is_exposed(exposed: dict[str, set[str]]) -> None:
    expressions = [rule["expr"] for rule in (*ALERTS.values(), *RECORDS.values())]
    asked = {name for expression in expressions for name in METRIC.findall(RECORDED.sub("", expression))}
    assert asked
    assert asked <= set(exposed)


def test_every_label_asked_for_is_one_of_the_metric(exposed: dict[str, set[str]]) -> None:
    for query in [*every_query(), every_rule()]:
        for name, matchers in LABEL_MATCHERS.findall(query):
            labels = set(re.findall(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"', matchers))
            assert labels - NOT_OURS <= exposed[name], query


def test_panels_are_told_apart_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in every_panel()]
    assert len(ids) == len(set(ids))
    cells: set[tuple[int, int]] = set()
    for panel in every_panel():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own


def test_every_panel_names_the_chosen_data_source() -> None:
    for panel in every_panel():
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["title"]


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_tested_firing_and_not_firing_and_says_what_to_do(alert: str) -> None:
    checks = [check for test in RULE_TESTS for check in test.get("alert_rule_test", ()) if check["alertname"] == alert]
    assert {bool(check["exp_alerts"]) for check in checks} == {True, False}
    assert ALERTS[alert]["annotations"].keys() == {"summary", "description", "runbook"}
    assert ALERTS[alert]["labels"]["severity"] in {"critical", "warning"}
    assert f"`{alert}`" in (ROOT / "docs" / "operating.md").read_text()


@pytest.mark.parametrize("record", RECORDS)
def test_every_recorded_sum_is_tested(record: str) -> None:
    checks = [check for test in RULE_TESTS for check in test.get("promql_expr_test", ())]
    assert any(record in check["expr"] and check["exp_samples"] for check in checks)


def test_rules_use_only_sums_that_are_recorded() -> None:
    used = {name for rule in ALERTS.values() for name in RECORDED.findall(rule["expr"])}
    assert used <= set(RECORDS)


@promtool
def test_prometheus_understands_the_rules_and_the_example() -> None:
    for words in (["check", "rules", "recording.yml", "alerts.yml"], ["check", "config", "prometheus.yml"]):
        subprocess.run(["promtool", *words], cwd=MONITORING, check=True, capture_output=True, timeout=60)


@promtool
@pytest.mark.parametrize("name", TEST_FILES)
def test_the_rules_fire_on_what_they_are_for(name: str) -> None:
    words = ["promtool", "test", "rules", name]
    ended = subprocess.run(words, cwd=MONITORING, check=False, capture_output=True, text=True, timeout=110)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@promtool
def test_prometheus_understands_every_query_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"query:{n}", "expr": as_prometheus_reads(q)} for n, q in enumerate(every_query())]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    ended = subprocess.run(
        ["promtool", "check", "rules", "--lint=none", str(file)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
