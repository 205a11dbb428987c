"""Debian's Prometheus and Alertmanager watch a real service that learns and fails, and tell each of its faults.

The durations of the rules are shortened by one factor. All faults are made for real (`faults.py`).
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.monitoring.faults import ACTS, DISK_SIZE, Fault, Place, almost_full_disk
from tests.monitoring.prometheus import Alert, Monitoring, Webhook, wait_for
from tests.monitoring.test_monitoring import ALERTS, MONITORING, RECORDS, every_panel
from tests.service import Service

FACTOR = 60
"""Factor by which the durations of the rules are shorter: an hour is a minute."""

ALERT_TIMEOUT_S = 300.0
CONFIG = """
[stream]
embedded_default = false
[practise]
slice_s = 0.3
[jobs]
evaluate = "3s"
consolidate = "off"
backup = "8s"
checkpoint = "5s"
verify = "off"
[rl2]
hidden_size = 16
input_size = 16
scorer_size = 8
critic_size = 16
[evaluation]
trials_tensor = 16
trials_gymnasium = 4
share = 1.0
[consolidation]
trials_tensor = 16
trials_gymnasium = 4
share = 1.0
[workers]
max_strikes = 3
quarantine_first_s = "30s"
quarantine_max_s = "1m"
[learner]
nice = 0
stall_timeout_s = "45s"
restart_first_s = "100ms"
restart_max_s = "200ms"
crash_loop_restarts = 3
crash_loop_window_s = "20s"
[memory]
keep_backups = 3
backup_command = 'cp -r "$BACKUP_PATH" -t {target}'
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
    "learnd_rehearsal_kl": "no two families share parameters",
    "learnd_forgetting": "it needs several evaluations",
    "learnd_average_performance": "it needs several evaluations",
}
"""Metrics that this service need not have, with the reason."""

IS_CONDITION = re.compile(r"(?:> 0\)?|== 1)$")
"""Expressions that have series only while something is wrong."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
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


ENVIRONMENTS = ("Segfaulting", "ShortLived", "Worthless")


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """Mount a file system for the data folder, whose size can be changed; None if it cannot be mounted."""
    path = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE},mode=0700", "learnd-test", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        yield None
        return
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    webhook = Webhook()
    yield webhook
    webhook.close()


@pytest.fixture(scope="module")
def place(disk: Path | None, webhook: Webhook, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Return a watched service that practises, evaluates, makes backups and has published a version.

    Prometheus starts after the publication, so that it knows of none in the hours before the faults.
    """
    folder = tmp_path_factory.mktemp("place")
    for name in ("trips", "other-host", "monitoring"):
        (folder / name).mkdir()
    config = CONFIG.format(target=folder / "other-host")
    service = Service((disk or folder) / "store", config=config)
    service.log_path = folder / "log"
    with contextlib.ExitStack() as stack:
        stack.callback(service.end)
        service.start()
        monitoring = Monitoring(
            folder / "monitoring", rules=MONITORING, factor=FACTOR, target=f"127.0.0.1:{service.port}", webhook=webhook
        )
        place = Place(service=service, monitoring=monitoring, disk=disk, trips=folder / "trips", config=config)
        service.learnd("env", "add", "bernoulli_bandits", "--name", "bandits", "--reference", "60")
        for environment in ENVIRONMENTS:
            place.add_family(environment)
        wait_for(lambda: num_practised(service) > len(ENVIRONMENTS), timeout_s=180, what="practice of every family")
        place.reload(consolidate="2s")
        wait_for(lambda: service.metric("learnd_policy_version") > 0, timeout_s=180, what="a version")
        place.reload()
        stack.enter_context(monitoring)
        yield place


def num_practised(service: Service) -> int:
    return sum(value > 0 for value in service.metrics("learnd_meta_updates_total").values())


@pytest.fixture(scope="module")
def silent(place: Place) -> tuple[str, ...]:
    """Return the panels' expressions without series once the service has practised for a while."""
    target = f"127.0.0.1:{place.service.port}"
    asked = {as_asked(target_["expr"], target) for panel in every_panel() for target_ in panel["targets"]}

    def without_series() -> tuple[str, ...]:
        found = place.monitoring.query
        return tuple(sorted(e for e in asked if not need_not_have_series(e) and not found(e)))

    with contextlib.suppress(AssertionError):
        wait_for(lambda: place.monitoring.has("up == 1") and not without_series(), timeout_s=120, what="series")
    return without_series()


@dataclass(frozen=True, kw_only=True)
class Missed:
    """An alert that did not come or go as it should.

    Attributes:
        alert: its name.
        what: what was wrong.
    """

    alert: str
    what: str


@pytest.fixture(scope="module")
def missed(place: Place, silent: tuple[str, ...], webhook: Webhook) -> list[Missed]:
    """Make every fault and mend it; return the alerts that did not arrive or resolve, or fired without a fault.

    Until its first scrapes Prometheus may tell that there is none.
    """
    found = [Missed(alert=name, what=f"fires before the faults: {labels}") for name, labels in rest_of(webhook.firing)]
    for act in ACTS:
        found += play([fault for fault in act if fault.make is not almost_full_disk or place.disk], place, webhook)
    return found


def play(act: Sequence[Fault], place: Place, webhook: Webhook) -> list[Missed]:
    """Make faults at the same time, and mend them when all of their alerts have arrived."""
    alerts = [alert for fault in act for alert in fault.alerts]
    with contextlib.ExitStack() as faults:
        for fault in act:
            faults.enter_context(fault.make(place))
        late = rest_of(lambda: [alert for alert in alerts if not webhook.is_firing(*alert)])
        found = [Missed(alert=name, what=f"did not arrive: {labels}") for name, labels in late]
    left = rest_of(lambda: [alert for alert in alerts if webhook.is_firing(*alert)])
    return [*found, *(Missed(alert=name, what=f"did not resolve: {labels}") for name, labels in left)]


def rest_of(alerts: Callable[[], list[Alert]]) -> list[Alert]:
    """Wait until there are no such alerts; return those that are left in the end."""
    with contextlib.suppress(AssertionError):
        wait_for(lambda: not alerts(), timeout_s=ALERT_TIMEOUT_S, what="alerts")
    return alerts()


def test_every_expression_of_panels_and_recording_rules_finds_series(place: Place, silent: tuple[str, ...]) -> None:
    assert silent == ()
    for rule in RECORDS.values():
        assert place.monitoring.query(rule["expr"]), rule["record"]


@pytest.mark.parametrize("alert", ALERTS)
def test_the_alert_reaches_a_webhook_with_its_fault_and_resolves_without_it(
    alert: str, place: Place, missed: list[Missed]
) -> None:
    if alert == "LearndDiskFilling" and place.disk is None:
        pytest.skip("a small file system cannot be mounted here")
    assert any(name == alert for act in ACTS for fault in act for name, _ in fault.alerts)
    assert [one.what for one in missed if one.alert == alert] == []


def test_no_alert_is_left_when_every_fault_is_mended(missed: list[Missed], webhook: Webhook) -> None:
    assert rest_of(webhook.firing) == []
