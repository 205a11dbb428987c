"""Signals: those ignored at the start stay ignored; SIGHUP stops the service only if its terminal was closed."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.cli.experiment_options import cleaning_up, stopping
from agent.daemon.entry_point import has_terminal
from agent.daemon.processes.child_process import added_niceness
from tests.agent.daemon.daemon_process import ROOT, DaemonProcess, heed_signals, until

TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
)


def _events(service: DaemonProcess, start: str) -> list[dict[str, Any]]:
    return [line for line in service.events() if str(line.get("event", "")).startswith(start)]


@pytest.mark.parametrize(("number", "name"), [(signal.SIGHUP, "HUP"), (signal.SIGINT, "INT")])
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(
    tmp_path: Path, number: signal.Signals, name: str
) -> None:
    with DaemonProcess(tmp_path / "data", shell_prefix=f"trap '' {name}; ") as service:
        until(lambda: service.metric("learnd_trials_total", family="bandits"), "practice goes on")
        service.process.send_signal(number)
        os.kill(service.learner_pid(), signal.SIGHUP if number == signal.SIGHUP else signal.SIGINT)
        trials = service.metric("learnd_trials_total", family="bandits")
        until(lambda: service.metric("learnd_trials_total", family="bandits") > trials, "practice goes on after it")
        assert _events(service, "stopping") == []
        service.stop()
        assert service.process.returncode == 0


def test_a_hang_up_of_a_service_without_a_terminal_reloads_the_settings(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data", shell_prefix='exec setsid "$@"; ') as service:
        service.process.send_signal(signal.SIGHUP)
        told = until(lambda: _events(service, "settings reloaded"), "the log says so")
        assert (told[0]["level"], told[0]["changed"]) == ("info", [])
        assert service.get("readyz")[0] == 200
        service.stop()
        assert service.process.returncode == 0


def test_a_service_under_a_service_manager_has_no_terminal_to_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    assert not has_terminal()


def test_a_service_whose_terminal_is_closed_stops_with_everything_recorded_and_exit_status_129(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    log = tmp_path / "log"
    command = [sys.executable, "-m", "tests.agent.daemon.fake_service", "--data-dir", str(tmp_path / "data")]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *command],
            stdin=slave, stdout=stderr, stderr=stderr, start_new_session=True, cwd=ROOT,
            preexec_fn=heed_signals,  # noqa: PLW1509
        )  # fmt: skip
    os.close(slave)
    try:
        until(lambda: '"ready"' in log.read_text(), "the service is ready")
        os.close(master)
        assert process.wait(timeout=20) == 129
    finally:
        process.kill()
        process.wait()
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [line["reason"] for line in events if line["event"] == "stopping"] == ["SIGHUP"]
    assert any(line["event"] == "stopped" for line in events)


def test_the_learner_leaves_every_stop_signal_to_control() -> None:
    program = (
        "import signal; from agent.trainer.__main__ import _follow_daemon; _follow_daemon();"
        "print([signal.getsignal(n) == signal.SIG_IGN for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)])"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[True, True, True]"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_foreground_command_leaves_a_signal_ignored_that_was_ignored_at_its_start(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with stopping() as is_stopped, cleaning_up():
            assert signal.getsignal(number) is signal.SIG_IGN
            os.kill(os.getpid(), number)
            assert not is_stopped()
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_foreground_command_stops_after_the_update_under_way_at_any_stop_signal(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with stopping() as is_stopped:
            signal.raise_signal(number)
            assert is_stopped()
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_while_it_cleans_up_ends_by_an_exception(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended, cleaning_up():
            signal.raise_signal(number)
        assert ended.value.code == 128 + number
    finally:
        signal.signal(number, before)


def test_the_learners_niceness_is_added_to_the_services_own(tmp_path: Path) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    with DaemonProcess(tmp_path / "data", shell_prefix='exec nice -n 3 "$@"; ') as service:
        assert psutil.Process(service.process.pid).nice() == own + 3
        until(lambda: psutil.Process(service.learner_pid()).nice() == min(19, own + 3 + 5), "it is nicer")


def test_there_is_no_niceness_beyond_19() -> None:
    assert added_niceness(100) == 19
    assert added_niceness(0) == os.getpriority(os.PRIO_PROCESS, 0)
