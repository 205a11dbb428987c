"""Debian's Prometheus and Alertmanager watch a real service that learns and fails."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.monitoring.prometheus import Monitoring, Webhook, wait_for
from tests.monitoring.test_monitoring import ALERTS, MONITORING, RECORDS, every_panel
from tests.repository import ROOT
from tests.service import Service, running

CONFIG = """
[stream]
embedded_default = false
[practise]
slice_s = 0.3
[jobs]
evaluate = "3s"
consolidate = "4s"
backup = "5s"
checkpoint = "5s"
[rl2]
hidden_size = 16
input_size = 16
scorer_size = 8
critic_size = 16
[evaluation]
trials_tensor = 16
share = 1.0
[consolidation]
trials_tensor = 16
share = 1.0
[workers]
max_strikes = 1
quarantine_first_s = "1s"
quarantine_max_s = "1s"
[learner]
nice = 0
restart_first_s = "100ms"
restart_max_s = "200ms"
crash_loop_restarts = 3
crash_loop_window_s = "45s"
"""

MAY_BE_EMPTY = {
    "learnd_device_memory_used_bytes": "this machine has no GPU",
    "learnd_device_memory_size_bytes": "this machine has no GPU",
    "learnd_device_utilisation_ratio": "this machine has no GPU",
    "learnd_uncertainty": "no family is few-shot",
    "learnd_met_return": "no family's tasks recur",
    "learnd_met_trial_return": "no family's tasks recur",
    "learnd_forward_transfer": "it needs a family that is added after others were practised",
    "learnd_zero_shot_score": "families whose score was measured after practice have none",
    "learnd_rehearsal_kl": "it needs slices of several families in turn",
    "learnd_forgetting": "it needs several evaluations",
    "learnd_average_performance": "it needs several evaluations",
}
"""Metrics that this service need not have, with the reason."""

IS_CONDITION = re.compile(r"(?:> 0\)?|== 1)$")
"""Expressions that have series only while something is wrong."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        shutil.which("prometheus") is None or shutil.which("prometheus-alertmanager") is None,
        reason="Prometheus and Alertmanager are not installed",
    ),
]


def as_asked(query: str, target: str) -> str:
    """A panel's expression with Grafana's variables as in a browser."""
    values = {
        "__rate_interval": "30s", "__range": "10m", "instance": target, "family": ".*", "one_family": "bandits",
        "top": "10",
    }  # fmt: skip
    for name, value in values.items():
        query = query.replace(f"${name}", value)
    return query


def need_not_have_series(query: str) -> bool:
    return bool(IS_CONDITION.search(query)) or any(name in query for name in MAY_BE_EMPTY)


def add_families(service: Service) -> None:
    service.learnd("env", "add", "bernoulli_bandits", "--name", "bandits", "--reference", "60")
    hostile = "benchmarks.hostile_environments:Segfaulting"
    service.learnd("env", "add", hostile, "--name", "broken", "--path", str(ROOT), "--no-check", "--reference", "none")


def crash_until_red(service: Service, monitoring: Monitoring) -> None:
    """Kill the trainer as soon as it runs, until health is red."""

    def is_red() -> bool:
        if (trainer := service.learner()) is not None:
            trainer.kill()
        return monitoring.has('learnd_health{reason="learner_crash_loop"} == 1')

    wait_for(is_red, timeout_s=120, what="a crash loop")


def test_panels_and_rules_find_series_and_an_alert_arrives_and_resolves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trip = tmp_path / "trip"
    monkeypatch.setenv("LEARND_TRIP_FILE", str(trip))
    webhook, folder = Webhook(), tmp_path / "monitoring"
    folder.mkdir()
    with running(tmp_path / "store", config=CONFIG) as service:
        target = f"127.0.0.1:{service.port}"
        with Monitoring(folder, rules=MONITORING, target=target, webhook=webhook) as monitoring:
            add_families(service)
            for expression, what in (
                ('learnd_meta_updates_total{family="bandits"} > 5', "practice"),
                ('learnd_eval_score{family="bandits"}', "an evaluation"),
                ('learnd_job_runs_total{job="backup",outcome="succeeded"} > 0', "a backup"),
                ('learnd_env_steps_total{family="broken"} > 0', "practice of the other family"),
            ):
                wait_for(lambda e=expression: monitoring.has(e), timeout_s=120, what=what)
            trip.touch()
            wait_for(lambda: monitoring.has("learnd_family_strikes > 0"), timeout_s=120, what="a strike")
            assert not webhook.has("LearndUnhealthy", "firing")

            def silent() -> list[str]:
                asked = {as_asked(target_["expr"], target) for p in every_panel() for target_ in p["targets"]}
                return sorted(e for e in asked if not monitoring.query(e) and not need_not_have_series(e))

            wait_for(lambda: not silent(), timeout_s=60, what=f"series of {silent()}")
            for rule in RECORDS.values():
                assert monitoring.query(rule["expr"]), rule["record"]
            for rule in ALERTS.values():
                monitoring.query(rule["expr"])
            crash_until_red(service, monitoring)
            labels = {"reason": "learner_crash_loop", "instance": target}
            wait_for(lambda: webhook.has("LearndUnhealthy", "firing", **labels), timeout_s=60, what="the alert")
            assert monitoring.has("sum(increase(learnd_learner_restarts_total[10m])) > 0")
            wait_for(lambda: webhook.has("LearndUnhealthy", "resolved", **labels), timeout_s=180, what="its end")
    webhook.close()
