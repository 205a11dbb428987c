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

from agent.daemon.metrics.declarations import METRICS
from agent.daemon.metrics.snapshot_samples import LOSS_PARTS
from agent.daemon.store.snapshot import read_snapshot
from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint
from memory.store import Store
from monitoring.dashboards.all_dashboards import dashboard_files
from tests.agent.daemon.exposition import metrics_text
from tests.repository import ROOT

MONITORING = ROOT / "monitoring"
FOLDER = MONITORING / "grafana" / "dashboards"
DASHBOARDS = {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
METRIC = re.compile(r"\b(?:learnd|process)_[a-z_]+\b")
LABEL_MATCHERS = re.compile(r"\b((?:learnd|process)_[a-z_]+)\{([^}]*)\}")
RECORDED = re.compile(r"\b[a-z_]+:[a-z_]+:[a-z0-9_]+\b")
NOT_OURS = {"instance"}
VARIABLES = {
    "__rate_interval": "1m",
    "__range": "1h",
    "instance": "a",
    "family": "cartpole",
    "one_family": "cartpole",
    "top": "10",
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
        labelled = [
            (CurveMetric.UNCERTAINTY, "5"),
            (CurveMetric.MET_RETURN, "memory"),
            (CurveMetric.MET_TRIAL_RETURN, "memory"),
            (CurveMetric.ZERO_SHOT_SCORE, "fresh"),
            *((CurveMetric.LOSS, part) for part in LOSS_PARTS),
        ]
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
    """Every panel of every dashboard, without rows."""
    for dashboard in DASHBOARDS.values():
        yield from (panel for panel in dashboard["panels"] if panel["type"] != "row")


def every_query() -> list[str]:
    """Every expression of the dashboards' panels and annotations."""
    annotations = [a["expr"] for dashboard in DASHBOARDS.values() for a in dashboard["annotations"]["list"]]
    return [target["expr"] for panel in every_panel() for target in panel["targets"]] + annotations


def every_variable() -> str:
    return json.dumps([dashboard["templating"] for dashboard in DASHBOARDS.values()])


def as_prometheus_reads(query: str) -> str:
    """The query with Grafana's variables filled in."""
    for variable, value in VARIABLES.items():
        query = query.replace(f"${variable}", value)
    assert "$" not in query
    return query


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


def test_the_dashboards_are_those_that_the_code_makes() -> None:
    made = dashboard_files()
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == made, "run `make monitoring`"


def test_the_dashboards_ask_only_for_what_is_exposed(exposed: dict[str, set[str]]) -> None:
    asked = {name for query in every_query() for name in METRIC.findall(RECORDED.sub("", query))}
    assert asked | set(METRIC.findall(every_variable())) <= set(exposed)
    assert {name for query in every_query() for name in RECORDED.findall(query)} <= set(RECORDS)


def test_the_dashboards_show_every_metric() -> None:
    asked = {name for query in every_query() for name in METRIC.findall(query)}
    asked |= {name for query in every_query() for record in RECORDED.findall(query)
              for name in METRIC.findall(RECORDS[record]["expr"])}  # fmt: skip
    assert asked | set(METRIC.findall(every_variable())) >= set(METRICS)


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


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_panels_are_told_apart_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = {"x": 0, "y": 0, **panel["gridPos"]}
        assert place["x"] + place["w"] <= 24
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own


def test_every_panel_has_the_chosen_data_source_a_description_and_a_unit() -> None:
    for panel in every_panel():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_kl_gradient_norm_and_entropy_do_not_share_an_axis() -> None:
    parts = {"learnd_kl", "learnd_gradient_norm", "learnd_entropy", "learnd_clip_fraction", "learnd_explained_variance"}
    for panel in every_panel():
        assert len({name for target in panel["targets"] for name in parts & set(METRIC.findall(target["expr"]))}) <= 1


def test_with_many_families_no_panel_is_repeated_and_none_has_a_line_for_each(exposed: dict[str, set[str]]) -> None:
    for panel in every_panel():
        assert "repeat" not in panel
        for target in panel["targets"]:
            expr = target["expr"]
            by_family = "{{family}}" in target["legendFormat"]
            assert not by_family or "topk" in expr or 'family="$one_family"' in expr, panel["title"]


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_each_dashboard_links_to_the_others_and_marks_what_happened(dashboard: dict[str, Any]) -> None:
    others = {f"/d/{other['uid']}" for other in DASHBOARDS.values()} - {f"/d/{dashboard['uid']}"}
    assert {link["url"] for link in dashboard["links"]} == others
    marked = " ".join(annotation["expr"] for annotation in dashboard["annotations"]["list"])
    for metric in ("learnd_policy_version", "learnd_consolidations_total", "learnd_learner_restarts_total"):
        assert metric in marked


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_tested_firing_and_not_firing_and_says_what_to_do(alert: str) -> None:
    checks = [check for test in RULE_TESTS for check in test.get("alert_rule_test", ()) if check["alertname"] == alert]
    assert {bool(check["exp_alerts"]) for check in checks} == {True, False}
    assert ALERTS[alert]["annotations"].keys() == {"summary", "description", "runbook"}
    assert ALERTS[alert]["labels"]["severity"] in {"critical", "warning"}


@pytest.mark.parametrize("alert", ALERTS)
def test_the_manual_says_what_to_do_in_the_words_of_the_alert(alert: str) -> None:
    manual = (ROOT / "docs" / "operating.md").read_text()
    (row,) = (line for line in manual.splitlines() if line.startswith(f"| `{alert}` |"))
    _, severity, _, what_to_do = (cell.strip() for cell in row.strip("|").split(" | "))
    assert severity == ALERTS[alert]["labels"]["severity"]
    runbook = ALERTS[alert]["annotations"]["runbook"].replace("{{ $labels.family }}", "NAME")
    assert re.sub(r"\[(.*?)\]\(.*?\)", r"\1", what_to_do).replace("`", "") == runbook


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
