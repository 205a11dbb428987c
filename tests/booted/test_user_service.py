"""The life of a service of one user, under a systemd of that user in a booted machine, each step asserted."""

from __future__ import annotations

import sys
import time

import pytest

from tests.booted.machine import SOURCE, Machine, User, wait_until
from tests.service import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

INSTALL = ("env", f"--chdir={SOURCE}", "python3", "-B", "-m", "agent.service")
SETTINGS = """\
[service]
listen = "127.0.0.1:{port}"

[learner]
threads = 1
"""


def test_a_service_of_a_user_lives_through_what_its_user_does(machine: Machine) -> None:
    user, port = User(machine, "ada"), free_port()
    for step in STEPS:
        started = time.monotonic()
        step(machine, user, port)
        sys.stderr.write(f"{time.monotonic() - started:6.1f} s  {step.__name__}\n")


def learnd_of(user: User) -> str:
    return f"{user.home}/.local/share/learnd/venv/bin/learnd"


def learner_steps(user: User) -> int:
    """Return the number of slices of practice that are committed."""
    return int(user.json(learnd_of(user), "status")["learner_steps"])


def health(user: User, port: int) -> str:
    """Return the answer of /healthz."""
    return user.run("curl", "--silent", f"http://127.0.0.1:{port}/healthz")


def install(machine: Machine, user: User, port: int) -> None:
    """Install from the source without rights of root; settings that are there stay."""
    user.run("mkdir", "--parents", ".config/learnd")
    settings = machine.path(f"{user.home}/.config/learnd/learnd.toml")
    settings.write_text(SETTINGS.format(port=port))
    told = user.run(*INSTALL, timeout_s=1800.0)
    assert "done       start the service: learnd.service (systemctl --user start learnd.service)" in told
    assert "unchanged  write the settings file" in told


def be_ready(machine: Machine, user: User, port: int) -> None:
    """Be READY and healthy, with all data in the user's home folder and nothing in the machine's systemd."""
    assert (user.unit("ActiveState"), machine.unit("LoadState")) == ("active", "not-found")
    status = user.json(learnd_of(user), "service", "status", "--user")
    assert (status["active"], status["enabled"], status["unit_state"]) == ("active", "enabled", "current")
    assert status["url"] == f"http://127.0.0.1:{port}/"
    assert status["pid"] == int(user.unit("MainPID"))
    assert status["data_dir"] == f"{user.home}/.local/state/learnd"
    assert '"status":"ok"' in health(user, port)
    wait_until(lambda: learner_steps(user) > 0, what="the first slice of practice", timeout_s=600.0)
    assert set(user.run("find", status["data_dir"], "-printf", "%u\n").split()) == {"ada"}


def reload(machine: Machine, user: User, port: int) -> None:
    """Take over new settings with the same process, and keep the old ones when the new are wrong."""
    pid = user.unit("MainPID")
    user.run(learnd_of(user), "config", "set", "service.log_level", "debug")
    wait_until(lambda: "settings reloaded" in user.journal(), what="the reload")
    file = machine.path(f"{user.home}/.config/learnd/learnd.toml")
    right = file.read_text()
    file.write_text(right.replace("threads = 1", 'threads = "all"'))
    user.run("systemctl", "--user", "reload", "learnd")
    wait_until(lambda: "settings_invalid" in health(user, port), what="red health")
    file.write_text(right)
    user.run("systemctl", "--user", "reload", "learnd")
    wait_until(lambda: '"status":"ok"' in health(user, port), what="good health")
    assert user.unit("MainPID") == pid


def survive_kill_9(_machine: Machine, user: User, _port: int) -> None:
    """Go on from the last slice after the whole service was killed."""
    before, restarts = learner_steps(user), int(user.unit("NRestarts"))
    user.run("systemctl", "--user", "kill", "--signal=SIGKILL", "learnd")
    wait_until(lambda: int(user.unit("NRestarts")) > restarts, what="a restart")
    wait_until(lambda: user.unit("ActiveState") == "active", what="the service")
    wait_until(lambda: learner_steps(user) > before, what="further practice", timeout_s=600.0)


def stop(_machine: Machine, user: User, _port: int) -> None:
    """Stop in order, and say so."""
    user.run("systemctl", "--user", "stop", "learnd")
    assert (user.unit("ActiveState"), user.unit("Result")) == ("inactive", "success")
    assert user.json(learnd_of(user), "service", "status", "--user")["active"] == "inactive"
    assert user.json(learnd_of(user), "status")["has_ended_in_order"] is True


def upgrade(_machine: Machine, user: User, _port: int) -> None:
    """Install again over a running service: it is stopped and started, and its state stays."""
    user.run("systemctl", "--user", "start", "learnd")
    before = learner_steps(user)
    told = user.run(*INSTALL, timeout_s=900.0)
    assert "done       stop the service" in told
    assert user.unit("ActiveState") == "active"
    assert learner_steps(user) >= before


def uninstall(machine: Machine, user: User, _port: int) -> None:
    """Remove the service and leave data and settings, which the commands that it names remove."""
    left = user.json(learnd_of(user), "service", "uninstall", "--user", timeout_s=900.0)["left"]
    assert {part["what"] for part in left} == {"data", "settings"}
    assert user.unit("LoadState") == "not-found"
    assert not machine.path(f"{user.home}/.local/share/learnd/venv").exists()
    assert machine.path(f"{user.home}/.local/state/learnd/learnd.db").exists()
    for part in left:
        user.run(*part["command"].split())
    found = user.run("find", user.home, "-name", "*learnd*", "-not", "-path", "*/.cache/*")
    assert found == ""


STEPS = (install, be_ready, reload, survive_kill_9, stop, upgrade, uninstall)
