"""The whole life of a service in a booted systemd, from its installation to its removal, each step asserted."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any

import pytest

from tests.booted.machine import SOURCE, Machine, wait_until
from tests.repository import ROOT
from tests.service import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]

LEARND = "/opt/learnd/bin/learnd"
INSTALL = ("/usr/bin/env", "-C", str(SOURCE), "/usr/bin/python3", "-B", "-m", "agent.service")
DATA = "/var/lib/learnd"
SETTINGS = """\
[service]
listen = "127.0.0.1:{port}"

[learner]
threads = 1
stall_timeout_s = "15s"
"""


def test_a_service_lives_through_everything_that_an_operator_does(machine: Machine) -> None:
    port = free_port()
    for step in STEPS:
        started = time.monotonic()
        step(machine, port)
        sys.stderr.write(f"{time.monotonic() - started:6.1f} s  {step.__name__}\n")


def install(machine: Machine, port: int) -> None:
    """Install from the source; settings that are there stay."""
    machine.path("/etc/learnd").mkdir()
    machine.path("/etc/learnd/learnd.toml").write_text(SETTINGS.format(port=port))
    told = machine.run(*INSTALL, timeout_s=1800.0)
    assert "done       start the service: learnd.service" in told
    assert "unchanged  write the settings file" in told
    assert "pytest" not in machine.run("/opt/learnd/bin/pip", "list")


def be_ready(machine: Machine, port: int) -> None:
    """Be READY, healthy, and run as a user of its own."""
    assert machine.unit("ActiveState") == "active"
    status = machine.json(LEARND, "service", "status")
    assert (status["active"], status["enabled"], status["unit_state"]) == ("active", "enabled", "current")
    assert status["url"] == f"http://127.0.0.1:{port}/"
    assert '"status":"ok"' in machine.run("curl", "--silent", f"http://127.0.0.1:{port}/healthz")
    owner, mode = machine.run("stat", "--dereference", "--format=%u %a", DATA).split()
    assert (int(owner) > 60_000, mode) == (True, "700")
    wait_until(lambda: learner_steps(machine) > 0, what="the first slice of practice", timeout_s=600.0)


def reload(machine: Machine, port: int) -> None:
    """Take over new settings with the same process, and keep the old ones when the new are wrong."""
    pid = machine.unit("MainPID")
    file = machine.path("/etc/learnd/learnd.toml")
    right = file.read_text()
    file.write_text(right.replace("[service]", '[service]\nlog_level = "debug"'))
    machine.run("systemctl", "reload", "learnd")
    wait_until(lambda: "settings reloaded" in machine.journal(), what="the reload")
    file.write_text(right.replace('"15s"', '"soon"'))
    machine.run("systemctl", "reload", "learnd")
    health = ("curl", "--silent", f"http://127.0.0.1:{port}/healthz")
    wait_until(lambda: "settings_invalid" in machine.run(*health), what="red health")
    file.write_text(right)
    machine.run("systemctl", "reload", "learnd")
    wait_until(lambda: '"status":"ok"' in machine.run(*health), what="good health")
    assert machine.unit("MainPID") == pid


def be_scraped(machine: Machine, port: int) -> None:
    """Be scraped, with the rules loaded, by the machine's Prometheus after the commands of the manual."""
    if not machine.path("/usr/bin/prometheus").exists():
        sys.stderr.write("       –  be_scraped: there is no Prometheus (apt install prometheus)\n")
        return
    address = f"localhost:{free_port()}"
    machine.path("/etc/default/prometheus").write_text(f'ARGS="--web.listen-address={address}"\n')
    copy, *others, ask_up, ask_scores = prometheus_commands()
    in_source(machine, copy)
    config = machine.path("/etc/prometheus/prometheus.yml")
    config.write_text(config.read_text().replace("127.0.0.1:9464", f"127.0.0.1:{port}"))
    for command in others:
        in_source(machine, command)

    def asked(command: str) -> list[Any]:
        found: list[Any] = json.loads(in_source(machine, command.replace("localhost:9090", address)))["data"]["result"]
        return found

    assert [series["value"][1] for series in asked(ask_up)] == ["1"]
    families = {family["name"] for family in machine.json(LEARND, "status")["families"]}
    wait_until(
        lambda: {series["metric"]["family"] for series in asked(ask_scores)} == families,
        what="a score of each family",
        timeout_s=600.0,
    )
    rules = machine.run("curl", "--silent", f"http://{address}/api/v1/rules")
    assert {"LearndUnhealthy", "instance:learnd_eval_score:avg"} <= set(re.findall(r'"name":"([^"]+)"', rules))
    machine.run("systemctl", "stop", "prometheus")


def survive_a_stuck_trainer(machine: Machine, _port: int) -> None:
    """Replace a trainer that no longer advances, without a restart of the service."""
    daemon, restarts = machine.unit("MainPID"), machine.unit("NRestarts")
    pid = ready_trainer(machine)
    machine.run("kill", "-STOP", str(pid))
    wait_until(lambda: trainer_pid(machine) not in {None, pid}, what="another trainer", timeout_s=300.0)
    assert "killing the trainer" in machine.journal()
    assert (machine.unit("MainPID"), machine.unit("NRestarts")) == (daemon, restarts)


def survive_a_stuck_daemon(machine: Machine, _port: int) -> None:
    """Be restarted by systemd's watchdog, which a drop-in makes quicker."""
    folder = machine.path("/etc/systemd/system/learnd.service.d")
    folder.mkdir()
    (folder / "watchdog.conf").write_text("[Service]\nWatchdogSec=10s\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "learnd")
    restarts = int(machine.unit("NRestarts"))
    machine.run("kill", "-STOP", machine.unit("MainPID"))
    wait_until(lambda: int(machine.unit("NRestarts")) > restarts, what="a restart by the watchdog", timeout_s=90.0)
    assert "Watchdog timeout" in machine.journal()
    wait_until(lambda: machine.unit("ActiveState") == "active", what="the service")


def survive_kill_9(machine: Machine, _port: int) -> None:
    """Go on from the last slice after the whole service was killed."""
    ready_trainer(machine)
    before, restarts = learner_steps(machine), int(machine.unit("NRestarts"))
    machine.run("systemctl", "kill", "--signal=SIGKILL", "learnd")
    wait_until(lambda: int(machine.unit("NRestarts")) > restarts, what="a restart")
    wait_until(lambda: machine.unit("ActiveState") == "active", what="the service")
    assert learner_steps(machine) >= before
    wait_until(lambda: learner_steps(machine) > before, what="further practice", timeout_s=600.0)


def stop(machine: Machine, _port: int) -> None:
    """Stop in order, before systemd's time limit."""
    machine.run("systemctl", "stop", "learnd")
    assert (machine.unit("ActiveState"), machine.unit("Result")) == ("inactive", "success")
    assert machine.unit("ExecMainStatus") == "0"
    assert machine.json(LEARND, "status")["has_ended_in_order"] is True


def upgrade(machine: Machine, port: int) -> None:
    """Install again over a running service, with an edited unit: state, settings and drop-ins stay."""
    machine.run("systemctl", "start", "learnd")
    before, settings = learner_steps(machine), machine.path("/etc/learnd/learnd.toml").read_text()
    unit = machine.path("/etc/systemd/system/learnd.service")
    unit.write_text(unit.read_text().replace("CPUWeight=50", "CPUWeight=40"))
    assert machine.json(LEARND, "service", "status")["unit_state"] == "edited"
    told = machine.run(*INSTALL, timeout_s=900.0)
    assert "done       stop the service" in told
    assert "kept as learnd.service.replaced" in told
    be_ready(machine, port)
    assert learner_steps(machine) >= before
    assert machine.path("/etc/learnd/learnd.toml").read_text() == settings
    assert machine.unit("WatchdogUSec") == "10s"


def restore_as_root(machine: Machine, _port: int) -> None:
    """Go back to a backup as root: every file belongs to the service's user again."""
    machine.run(LEARND, "schedule", "run-now", "backup")
    wait_until(lambda: bool(machine.json(LEARND, "memory", "backups")["backups"]), what="a backup", timeout_s=120.0)
    machine.run("systemctl", "stop", "learnd")
    machine.run(LEARND, "--data-dir", DATA, "memory", "restore", "newest")
    owners = machine.run("find", f"{DATA}/", "-printf", "%u\n").split()
    assert len(set(owners)) == 1
    assert owners[0] != "root"
    machine.run("systemctl", "start", "learnd")
    assert learner_steps(machine) > 0


def be_examined_and_fixed(machine: Machine, _port: int) -> None:
    """Have doctor as root find files of root, fix them, and write a bundle."""
    machine.run("chown", "root", f"{DATA}/store-id")
    fixed = machine.json(LEARND, "doctor", "--fix")
    assert [fix["outcome"] for fix in fixed["fixes"]] == ["done"]
    assert {check["check"]: check["verdict"] for check in fixed["checks"]}["unit"] == "ok"
    bundle = machine.json(LEARND, "doctor", "--bundle", "/root/bundle.tar.gz")["bundle"]
    assert [part for part in bundle["parts"] if part["error"]] == []
    assert machine.run("stat", "--format=%a", "/root/bundle.tar.gz").strip() == "600"


def uninstall(machine: Machine, _port: int) -> None:
    """Remove the service and leave data and settings, which the commands that it names remove."""
    left = machine.json(LEARND, "service", "uninstall", timeout_s=900.0)["left"]
    assert {part["what"] for part in left} == {"data", "settings", "drop-ins"}
    assert machine.unit("LoadState") == "not-found"
    assert not machine.path("/opt/learnd").exists()
    assert machine.path("/var/lib/private/learnd/learnd.db").exists()
    assert machine.path("/etc/learnd/learnd.toml").exists()
    for part in left:
        machine.run(*part["command"].removeprefix("sudo ").split())
    assert machine.run("find", "/etc", "/opt", "/var/lib", "/var/cache", "-name", "*learnd*") == ""


STEPS = (
    install,
    be_ready,
    be_scraped,
    reload,
    survive_a_stuck_trainer,
    survive_a_stuck_daemon,
    survive_kill_9,
    stop,
    upgrade,
    restore_as_root,
    be_examined_and_fixed,
    uninstall,
)


def prometheus_commands() -> list[str]:
    """Return the commands of the manual that let Prometheus scrape the service."""
    manual = (ROOT / "docs" / "operating.md").read_text()
    section = manual.partition("## From installation to the first curve\n")[2].partition("\n## ")[0]
    (block,) = (block for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) if "promtool" in block)
    return [line.partition("  #")[0].strip() for line in block.splitlines()]


def in_source(machine: Machine, command: str) -> str:
    """Run a command of the manual as root in the folder of the source; return its output."""
    return machine.run("env", f"--chdir={SOURCE}", "sh", "-c", command.removeprefix("sudo "))


def learner_steps(machine: Machine) -> int:
    """Return the number of slices of practice that are committed."""
    return int(machine.json(LEARND, "status")["learner_steps"])


def ready_trainer(machine: Machine) -> int:
    """Wait until a trainer is ready, and return its process. New settings may have restarted it just before."""
    pids: list[int] = []

    def is_ready() -> bool:
        pids.extend(pid for pid in [trainer_pid(machine)] if pid is not None)
        return bool(pids)

    wait_until(is_ready, what="a trainer", timeout_s=120.0)
    return pids[-1]


def trainer_pid(machine: Machine) -> int | None:
    """Return the process of a trainer that is ready; None if there is none."""
    learner = machine.json(LEARND, "status")["learner"] or {}
    return learner.get("pid") if learner.get("state") in {"idle", "busy"} else None
