"""A reload of the settings while the service runs: new ones are taken over, wrong ones change nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config.triggers import parse_trigger
from agent.daemon.scheduling.schedule import Schedule
from memory.records import JobKind
from tests.agent.daemon.daemon_process import QUICK, DaemonProcess, until


class Reloaded:
    """A service and its settings file."""

    def __init__(self, service: DaemonProcess, file: Path) -> None:
        self.service = service
        self.file = file

    def reload(self, text: str, event: str) -> dict[str, Any]:
        """Write the settings, reload them, and return the event that the log then has."""
        num_before = len(self.events(event))
        self.file.write_text(text)
        self.service.process.send_signal(signal.SIGHUP)
        return until(lambda: self.events(event)[num_before:], event)[0]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.service.events() if str(line.get("event", "")).startswith(event)]

    def trigger(self, kind: JobKind) -> str:
        with self.service.store() as store:
            return {row.kind: row.trigger for row in store.jobs.schedule()}[kind]


@pytest.fixture
def reloaded(tmp_path: Path) -> Iterator[Reloaded]:
    with DaemonProcess(tmp_path / "data", shell_prefix='exec setsid "$@"; ') as service:
        yield Reloaded(service, tmp_path / "data.toml")


def test_new_settings_are_taken_over_and_named(reloaded: Reloaded) -> None:
    told = reloaded.reload(QUICK + '[jobs]\nbackup = "cron: 0 3 * * *"\nprune = "off"\n', "settings reloaded")
    assert told["changed"] == ["jobs.prune", "jobs.backup"]
    until(lambda: reloaded.trigger(JobKind.BACKUP) == "cron:0 3 * * *", "the schedule has the new trigger")
    assert reloaded.trigger(JobKind.PRUNE) == "off"


def test_wrong_settings_change_nothing_and_turn_health_red_until_they_are_corrected(reloaded: Reloaded) -> None:
    told = reloaded.reload(QUICK + '[jobs]\nbackup = "1"\nprune = "7m"\n', "settings are wrong")
    assert told["level"] == "error"
    assert "jobs.backup = '1'" in told["problems"][0]
    status, (reason,) = reloaded.service.health()
    assert (status, reason["reason"]) == (503, "settings_invalid")
    assert "jobs.backup" in reason["found"]
    assert reloaded.trigger(JobKind.PRUNE) == "interval:3600"
    reloaded.reload(QUICK + '[jobs]\nprune = "7m"\n', "settings reloaded")
    assert reloaded.service.health() == (200, [])
    until(lambda: reloaded.trigger(JobKind.PRUNE) == "interval:420", "the schedule has the new trigger")


def test_what_cannot_change_is_named_in_the_log_and_in_the_status(reloaded: Reloaded) -> None:
    told = reloaded.reload(QUICK + "seed = 3\n", "settings need a restart")
    assert told["settings"] == ["learner.seed"]

    def row() -> dict[str, Any]:
        with reloaded.service.store() as store:
            return store.daemon_status.get() or {}

    until(lambda: row().get("needs_restart") == ["learner.seed"], "the status has it")
    reloaded.reload(QUICK, "settings reloaded")
    until(lambda: row().get("needs_restart") == [], "the status has it no longer")


def test_the_log_level_changes_at_once(reloaded: Reloaded) -> None:
    reloaded.reload(QUICK + '[service]\nlog_level = "debug"\n', "settings reloaded")
    until(lambda: [e for e in reloaded.events("job ended") if e["level"] == "debug"], "slices are logged")


def test_a_setting_of_the_trainer_restarts_it_between_jobs_without_counting_a_restart(reloaded: Reloaded) -> None:
    before = reloaded.service.learner_pid()
    reloaded.reload(QUICK + '[practise]\nslice_s = "2s"\n', "settings reloaded")
    until(lambda: reloaded.service.folder.holder_pid("learner") not in {None, before}, "another trainer runs")
    trials = reloaded.service.metric("learnd_trials_total", family="bandits")
    until(lambda: reloaded.service.metric("learnd_trials_total", family="bandits") > trials, "practice goes on")
    assert reloaded.events("trainer exited") == []
    assert reloaded.service.health() == (200, [])
    with reloaded.service.store() as store:
        assert not [run for run in store.jobs.runs(limit=1000) if run.outcome == "interrupted"]


def test_a_new_trigger_counts_from_the_last_start() -> None:
    schedule = Schedule({JobKind.BACKUP: parse_trigger("1d")})
    schedule.restore([], now=1000.0)
    assert schedule.use({JobKind.BACKUP: parse_trigger("1d")}, now=1500.0) == []
    (entry,) = schedule.use({JobKind.BACKUP: parse_trigger("1h")}, now=1500.0)
    assert entry.next_due_at == 1500.0 + 3600.0
    schedule.start(JobKind.BACKUP, 2000.0)
    schedule.finish(JobKind.BACKUP, 2001.0)
    (entry,) = schedule.use({JobKind.BACKUP: parse_trigger("30m")}, now=9000.0)
    assert entry.next_due_at == 9000.0, "it is due at once, and nothing was missed"
    assert json.dumps(entry.trigger.stored()) == '"interval:1800"'
