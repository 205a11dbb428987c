"""The daemon as a whole: real processes, a real store and a fake trainer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from agent.daemon.health import FAILURES_IN_A_ROW
from agent.daemon.scheduling.next_job import FIRST_COOL_DOWN_S
from memory.connection import StoreConnection
from memory.folder import DataFolder
from memory.records import FamilyState, JobKind, JobOutcome, JobRun
from memory.store import Store
from tests.agent.daemon.daemon_process import QUICK, ROOT, DaemonProcess, until

STALLING = QUICK + 'stall_timeout_s = "1s"\n'
NO_STREAM = QUICK + "[stream]\nembedded_default = false\n"


def test_it_becomes_ready_and_adds_the_embedded_families_to_an_empty_folder(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data") as service:
        assert service.get("readyz")[0] == 200
        until(lambda: service.metric("learnd_families", state="active") == 6, "all families are admitted")
        until(lambda: service.metric("learnd_trials_total", family="pendulum"), "the last family is practised")
        assert service.health() == (200, [])
        assert "/metrics" in service.get("")[1]


def test_a_removed_setting_is_logged_as_a_warning_and_the_service_runs(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data", config=QUICK + "[consolidation]\nrate = 0.9\n") as service:
        assert service.get("readyz")[0] == 200
        (warning,) = (line for line in service.events() if line["event"] == "removed setting has no effect")
        assert (warning["level"], warning["key"], warning["value"]) == ("warning", "consolidation.rate", "0.9")


def test_a_killed_learner_is_started_again_and_counted(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data") as service:
        first = service.learner_pid()
        os.kill(first, signal.SIGKILL)
        until(lambda: service.metric("learnd_learner_restarts_total", reason="killed") == 1, "the restart is counted")
        until(lambda: service.folder.holder_pid("learner") not in {None, first}, "another learner is there")
        steps = service.metric("learnd_env_steps_total", family="bandits")
        until(lambda: service.metric("learnd_env_steps_total", family="bandits") > steps, "practice goes on")


def test_a_hung_learner_is_killed_by_the_stall_time_out(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data", behaviour="hang", config=STALLING) as service:
        until(lambda: service.metric("learnd_learner_restarts_total", reason="hung") >= 1, "the hang is counted")
        with service.store() as store:
            ended = until(
                lambda: [r for r in store.jobs.runs(kind=JobKind.PRACTISE) if r.outcome is JobOutcome.INTERRUPTED],
                "the run is recorded as interrupted",
            )
            assert "no progress" in ended[0].error


def test_a_crash_loop_turns_health_red_with_the_learners_last_words(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data", behaviour="crash") as service:
        until(lambda: service.health()[0] == 503, "health is red")
        reasons = service.health()[1]
        assert [reason["reason"] for reason in reasons] == ["learner_crash_loop"]
        assert "flux capacitor" in reasons[0]["found"]
        until(lambda: service.metric("learnd_learner_restarts_total", reason="start_failed") >= 5, "all are counted")
        assert service.get("readyz")[0] == 200


def test_prune_and_backup_work_with_the_learner_down(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data", behaviour="crash") as service, service.store() as store:
        for job in (JobKind.PRUNE, JobKind.BACKUP):
            request = store.requests.add("run_job", {"job": job.value, "family": None})
            until(lambda request=request: store.requests.status(request).outcome == "succeeded", f"{job} has run")
        assert len(store.backups()) == 1


def test_a_second_daemon_is_refused_by_the_folder_with_the_first_ones_pid_and_by_the_address(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data") as first:
        second = DaemonProcess(tmp_path / "data")
        assert second.process.wait(timeout=10) == 3
        refusals = [line["error"] for line in second.events() if line["event"] == "not started"]
        assert f"process {first.process.pid} holds it" in refusals[0]
        assert first.get("readyz")[0] == 200
        address = first.url.removeprefix("http://").rstrip("/")
        command = [sys.executable, "-m", "tests.agent.daemon.fake_service", "--data-dir", str(tmp_path / "other")]
        third = subprocess.run(
            [*command, "--listen", address],
            cwd=ROOT,
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert third.returncode == 4
        assert address in third.stderr.decode()


def test_sigterm_stops_it_with_everything_recorded(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data") as service:
        until(lambda: service.metric("learnd_trials_total", family="bandits"), "practice goes on")
        service.stop()
        assert service.process.returncode == 0
        assert service.folder.holder_pid("learner") is None
        with service.store() as store:
            assert all(run.outcome is not None for run in store.jobs.runs(limit=1000))
            status = store.daemon_status.get()
            assert status is not None
            assert status["state"] == "stopped"


def test_a_trainer_that_does_not_stop_is_killed_after_sigterm(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data", behaviour="stubborn") as service:
        pid = service.learner_pid()
        until(lambda: service.metric("learnd_trials_total", family="bandits"), "practice goes on")
        service.stop()
        assert service.process.returncode == 0
        assert not Path(f"/proc/{pid}").exists()


def test_totals_do_not_go_backwards_over_a_killed_control(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data") as service:
        until(lambda: service.metric("learnd_trials_total", family="pendulum"), "practice goes on")
        before = {key: value for key, value in service.metrics().items() if key[0].endswith("_total")}
        learner = service.learner_pid()
        service.process.kill()
        service.process.wait()
        until(lambda: not Path(f"/proc/{learner}").exists(), "the learner follows control")
        with service.store() as store:
            left_open = [run.id for run in store.jobs.runs(limit=1000) if run.outcome is None]
    with DaemonProcess(tmp_path / "data") as service:
        after = service.metrics()
        fallen = {
            key
            for key, value in before.items()
            if after.get(key, 0.0) < value and "process_cpu_seconds_total" not in key[0]
        }
        assert not fallen
        with service.store() as store:
            interrupted = [run.id for run in store.jobs.runs(limit=1000) if run.outcome is JobOutcome.INTERRUPTED]
            assert set(left_open) <= set(interrupted)
            assert len(store.families.all(with_removed=True)) == 6


def test_a_request_of_a_person_is_run_and_answered(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data") as service, service.store() as store:
        run = store.requests.add("run_job", {"job": "evaluate", "family": "bandits"})
        nonsense = store.requests.add("run_job", {"job": "sing", "family": None})
        until(lambda: store.requests.status(run).outcome == "succeeded", "the request is answered")
        refusal = until(lambda: store.requests.status(nonsense).outcome, "the nonsense is refused")
        assert refusal.startswith("refused")
        assert any(r.reason == "requested" and r.family == "bandits" for r in store.jobs.runs(kind=JobKind.EVALUATE))


def test_what_was_asked_for_or_due_while_the_daemon_was_down_is_run_when_it_is_back(tmp_path: Path) -> None:
    with Store.open(DataFolder(tmp_path / "data")) as store:
        request = store.requests.add("run_job", {"job": "checkpoint", "family": None})
        store.jobs.set_schedule(JobKind.PRUNE, "interval:3600", next_due_at=time.time() - 2.5 * 3600)
        with DaemonProcess(tmp_path / "data", config=NO_STREAM) as service:
            until(lambda: service.metric("learnd_job_runs_total", job="prune", outcome="succeeded") == 1, "it has run")
            assert service.metric("learnd_job_runs_total", job="prune", outcome="missed") == 3
            until(lambda: store.requests.status(request).outcome == "succeeded", "the request is answered")
            assert store.families.all() == [], "nothing is fed when the stream is off"


def test_a_family_that_kills_the_learner_is_set_aside_and_the_others_are_practised(tmp_path: Path) -> None:
    with (
        DaemonProcess(tmp_path / "data", behaviour="die_in:cartpole", config=QUICK) as service,
        service.store() as store,
    ):
        until(lambda: service.metric("learnd_trials_total", family="pendulum"), "others are practised", within_s=40)
        refused = until(
            lambda: [f for f in store.families.all() if f.state is FamilyState.REFUSED], "it is refused", within_s=60
        )
        assert [family.name for family in refused] == ["cartpole"]
        assert "exited 5 times" in refused[0].state_reason


def test_a_family_whose_quarantine_is_over_is_active_again(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data") as service, service.store() as store:
        until(lambda: service.metric("learnd_families", state="active") == 6, "all families are admitted")
        store.families.set_state("mdps", FamilyState.QUARANTINED, reason="strikes", quarantined_until=time.time() + 1.5)
        until(lambda: service.metric("learnd_families", state="quarantined") == 1, "it is quarantined")
        until(lambda: store.families.get("mdps").state is FamilyState.ACTIVE, "it is tried again")


def test_a_failing_practise_is_not_repeated_in_a_tight_loop_and_turns_health_red(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data", behaviour="fail") as service, service.store() as store:
        until(lambda: service.health()[0] == 503, "health is red")
        assert service.health()[1][0]["reason"] == "job_failing"
        assert "the dog ate it" in service.health()[1][0]["found"]

        def failed() -> list[JobRun]:
            runs = store.jobs.runs(kind=JobKind.PRACTISE, limit=1000)
            return [run for run in reversed(runs) if run.family == "bandits" and run.outcome is JobOutcome.FAILED]

        first, second, third, *_ = until(lambda: failed() if len(failed()) >= 3 else None, "one family failed thrice")
        waits = [later.started_at - earlier.started_at for earlier, later in pairwise((first, second, third))]
        assert waits[0] > 0.9 * FIRST_COOL_DOWN_S
        assert waits[1] > 0.9 * 2 * FIRST_COOL_DOWN_S


def test_health_stays_green_when_faults_of_families_fail_the_job(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data", behaviour="struck") as service, service.store() as store:

        def num_failed() -> int:
            runs = store.jobs.runs(kind=JobKind.PRACTISE, limit=1000)
            return sum(run.outcome is JobOutcome.FAILED for run in runs)

        until(lambda: num_failed() > 2 * FAILURES_IN_A_ROW, "slices failed")
        assert service.health() == (200, [])


def test_metrics_answer_while_the_store_is_locked(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data", slice_s=5) as service:
        until(lambda: service.metric("learnd_families", state="active") == 6, "all families are admitted")
        connection = StoreConnection(service.folder.store_path, is_reader=False)
        with connection.transaction("holding the write lock"):
            # A request that waited for the lock would time out here, before the lock is released.
            assert [service.get("metrics")[0] for _ in range(40)] == [200] * 40
        connection.close()


def test_systemd_is_told_that_it_is_ready_alive_and_stopping(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        told = []
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
        with DaemonProcess(tmp_path / "data", environment=environment) as service:
            while not {"READY=1", "WATCHDOG=1"} <= set(told) or not any("STATUS=practise" in word for word in told):
                told.append(manager.recv(4096).decode())
            service.stop()
            while "STOPPING=1" not in told:
                told.append(manager.recv(4096).decode())


def test_control_never_loads_torch() -> None:
    program = "import sys, agent.daemon.entry_point; print({'torch', 'stable_baselines3'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "set()"


def test_ctrl_c_stops_it_too(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data") as service:
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(timeout=10) == 0
