"""A measured reference in the real service: the real measuring process on a quick environment, and its kill."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from tests.envs.families import FOLDER
from tests.service import Service, running

SMALL = """
[stream]
embedded_default = false
[practise]
slice_s = 0.5
[jobs]
evaluate = "5s"
consolidate = "off"
[reference]
nice = 3
[rl2]
hidden_size = 16
input_size = 16
scorer_size = 8
critic_size = 16
num_trials_gymnasium = 2
[evaluation]
trials_gymnasium = 4
"""
ENDLESS = 10**9

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("measured reference")]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("reference") / "store", config=SMALL) as service:
        yield service


def add(service: Service, name: str, steps: int) -> None:
    """Add an environment that rewards the sum of its actions, so that an agent soon earns more than random actions."""
    service.learnd(
        *("env", "add", "sound_environments:BoxActions", "--path", str(FOLDER), "--name", name),
        *("--reference", f"ppo:{steps}", "--no-check"),
    )


def measuring(service: Service) -> psutil.Process | None:
    assert service.process is not None
    for child in psutil.Process(service.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has exited
            if "agent.reference" in child.cmdline():
                return child
    return None


def with_worker(service: Service) -> list[psutil.Process]:
    """Return the measuring process and all processes of its worker; an empty list before the worker runs."""
    child = measuring(service)
    if child is None:
        return []
    try:
        descendants = child.children(recursive=True)
    except psutil.NoSuchProcess:  # it has exited
        return []
    return [child, *descendants] if len(descendants) >= 2 else []


def test_a_family_without_a_reference_is_measured_in_the_background_and_then_has_scores(service: Service) -> None:
    add(service, "quick", steps=2048)
    service.wait_for(
        lambda: service.api("families/quick")["reference_return"] is not None,
        timeout_s=120,
        what="to measure the reference",
    )
    page = service.learnd("env", "show", "quick")
    measured = page["reference"]["measured"]
    assert (measured["steps"], measured["num_tasks"]) == (2048, 4)
    assert page["reference_return"] == measured["mean_return"] > page["random_return"]
    service.wait_for(
        lambda: service.metrics().get(("learnd_eval_score", (("family", "quick"),))) is not None,
        timeout_s=60,
        what="to show the score",
    )
    assert service.family("quick")["eval_score"] is not None
    service.learnd("env", "remove", "quick", "--yes")


def test_a_killed_measurement_leaves_no_worker_and_has_failed(service: Service) -> None:
    add(service, "long", steps=ENDLESS)
    service.wait_for(lambda: bool(with_worker(service)), timeout_s=120, what="to measure in a worker")
    processes = with_worker(service)
    assert service.process is not None
    lowered = psutil.Process(service.process.pid).nice() + 3
    assert {process.nice() for process in processes} == {lowered}
    os.kill(processes[0].pid, signal.SIGKILL)
    gone, alive = psutil.wait_procs(processes, timeout=30)
    assert (len(gone), alive) == (len(processes), [])
    service.wait_for(
        lambda: service.api("families/long")["reference_failure"] is not None,
        timeout_s=30,
        what="to record the failure",
    )
    assert "SIGKILL" in service.family("long")["reference_failure"]["error"]
    assert service.http_status("/healthz") == 200
    service.learnd("env", "remove", "long", "--yes")


def test_a_kill_of_the_daemon_ends_the_measurement_and_a_start_runs_it_again(service: Service) -> None:
    add(service, "longer", steps=ENDLESS)
    service.wait_for(lambda: bool(with_worker(service)), timeout_s=120, what="to measure in a worker")
    processes = with_worker(service)
    assert service.process is not None
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait()
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []
    service.start()
    service.wait_for(lambda: measuring(service) is not None, timeout_s=60, what="to measure again")
    service.learnd("env", "remove", "longer", "--yes")
    service.wait_for(lambda: measuring(service) is None, timeout_s=30, what="to end the measurement")
