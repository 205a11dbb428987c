"""Each row of the manual's table of faults seen from outside is true: metric, alert and line of /healthz.

That the page has the colour is tested in ``tests/browser``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.daemon.health import RedReason
from agent.daemon.metrics.declarations import METRICS
from memory.folder import DataFolder
from memory.store import Store
from tests.memory.making import add_active_family
from tests.monitoring.fault_table import FaultRow, fault_rows
from tests.monitoring.faults import ACTS
from tests.monitoring.outside_faults import FAULTS, Beside, Seen, seen
from tests.monitoring.test_monitoring import METRIC, MONITORING, every_rule, promtool

ROWS = {row.fault: row for row in fault_rows()}
INTERVAL_MIN = 2
NUM_HEALTHY, NUM_FAULTY = 10, 95
"""Scrapes before a fault and with it; the alert on quarantines needs two hours and one more."""

LEARNING = "learnd_meta_updates_total"
"""The counter that shows whether learning goes on."""

Sample = tuple[str, tuple[tuple[str, str], ...]]
Change = tuple[Seen, Seen]


@pytest.fixture(scope="module", params=ROWS.values(), ids=list(ROWS))
def row(request: pytest.FixtureRequest) -> FaultRow:
    found: FaultRow = request.param
    return found


@pytest.fixture(scope="module")
def change(row: FaultRow, tmp_path_factory: pytest.TempPathFactory) -> Change:
    """Return what is seen of a service before the row's fault and with it."""
    with Store.open(DataFolder(tmp_path_factory.mktemp("data") / "learnd")) as store:
        add_active_family(store)
        beside = Beside()
        before = seen(store, beside)
        FAULTS[row.fault](store, beside)
        return before, seen(store, beside)


def test_the_table_has_every_fault_that_is_made_here() -> None:
    assert set(ROWS) == set(FAULTS)


def test_the_metric_shows_the_fault(row: FaultRow, change: Change) -> None:
    sample = (row.metric, tuple(sorted(row.labels.items())))
    before, after = change
    assert row.metric in METRICS
    assert after.samples[sample] > before.samples[sample]


def test_health_has_the_lines(row: FaultRow, change: Change) -> None:
    before, after = change
    assert before.problems == []
    lines = [f"{problem.reason}: {problem.found}" for problem in after.problems] or ["ok"]
    assert row.has_health(lines), lines
    assert row.colour.startswith("red") == bool(after.problems)


@promtool
def test_exactly_the_named_alerts_fire(row: FaultRow, change: Change, tmp_path: Path) -> None:
    firing = 'count by (alertname) (max_over_time(ALERTS{alertstate="firing"}[6h])) > bool 0'
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(row.alerts)]
    interval, end = f"{INTERVAL_MIN}m", f"{INTERVAL_MIN * (NUM_HEALTHY + NUM_FAULTY)}m"
    test = {
        "interval": interval,
        "input_series": input_series(*change),
        "promql_expr_test": [{"expr": firing, "eval_time": end, "exp_samples": expected}],
    }
    for name in ("recording.yml", "alerts.yml"):
        shutil.copy(MONITORING / name, tmp_path)
    content = {
        "rule_files": ["recording.yml", "alerts.yml"],
        "evaluation_interval": interval,
        "tests": [test],
    }
    (tmp_path / "test.yml").write_text(json.dumps(content))
    command = ["promtool", "test", "rules", "test.yml"]
    ended = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_each_alert_is_seen_to_reach_a_webhook(row: FaultRow) -> None:
    assert row.alerts <= {name for act in ACTS for fault in act for name, _ in fault.alerts}


def test_the_alert_on_red_health_is_seen_to_reach_a_webhook_for_every_reason() -> None:
    alerts = [alert for act in ACTS for fault in act for alert in fault.alerts]
    assert {labels["reason"] for name, labels in alerts if name == "LearndUnhealthy"} == set(RedReason)


def input_series(before: Seen, after: Seen) -> list[dict[str, str]]:
    """Return the series that rules ask for, as promtool reads them: values before the fault, then with it."""
    asked = set(METRIC.findall(every_rule()))
    samples = sorted(sample for sample in before.samples.keys() | after.samples.keys() if sample[0] in asked)
    up = ("up", (("job", "learnd"),))
    return [_series(up, [1.0] * (NUM_HEALTHY + NUM_FAULTY)), *(_series(s, _values(s, before, after)) for s in samples)]


def _values(sample: Sample, before: Seen, after: Seen) -> list[float | None]:
    if sample[0] == LEARNING:
        last = NUM_HEALTHY + (NUM_FAULTY if after.learns else 0)
        return [9.0 * min(number, last) for number in range(NUM_HEALTHY + NUM_FAULTY)]
    return [before.samples.get(sample)] * NUM_HEALTHY + [after.samples.get(sample)] * NUM_FAULTY


def _series(sample: Sample, values: Sequence[float | None]) -> dict[str, str]:
    labels = ",".join(f'{key}="{value}"' for key, value in (*sample[1], ("instance", "a")))
    return {
        "series": f"{sample[0]}{{{labels}}}",
        "values": " ".join("_" if value is None else repr(value) for value in values),
    }
