"""The whole service as a user runs it: daemon, trainer and workers on the embedded default."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.policies.acting import load_policy
from tests.service import Service, running

UPDATES = "learnd_meta_updates_total"
STEPS = "learnd_env_steps_total"
SMALL = """
[practise]
slice_s = 0.3
[jobs]
evaluate = "1m"
consolidate = "off"
[rl2]
hidden_size = 16
input_size = 16
scorer_size = 8
critic_size = 16
num_trials_tensor = 64
num_trials_gymnasium = 2
[evaluation]
trials_tensor = 64
trials_gymnasium = 2
[consolidation]
tolerance = 1
trials_tensor = 64
trials_gymnasium = 2
"""
"""Consolidations are requested: one that is always due takes the time of every other test."""

WITH_WORKERS = {"cartpole", "acrobot", "frozenlake", "pendulum"}
EMBEDDED = {"bandits", "mdps"} | WITH_WORKERS

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("service")]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service") / "store", config=SMALL) as service:
        service.wait_for(lambda: practised(service) >= EMBEDDED, timeout_s=180, what="to have practised every family")
        yield service


def practised(service: Service) -> set[str]:
    """Return the names of the families that have been practised."""
    updates = {labels: value for (name, labels), value in service.metrics(UPDATES).items() if name == UPDATES}
    return {dict(labels)["family"] for labels, value in updates.items() if value > 0}


def publish(service: Service) -> int:
    """Request consolidations until one publishes a version, which needs a gain; return the version's number."""
    before = service.status()["policy_version"]
    while (version := service.status()["policy_version"]) == before:
        consolidate(service)
    return int(version)


def consolidate(service: Service) -> None:
    """Request a consolidation and wait for its end."""
    ended = num_consolidations(service)
    service.learnd("schedule", "run-now", "consolidate")
    service.wait_for(lambda: num_consolidations(service) > ended, timeout_s=120, what="to consolidate")


def num_consolidations(service: Service) -> float:
    runs = service.metrics("learnd_job_runs_total")
    return sum(value for (_, labels), value in runs.items() if ("job", "consolidate") in labels)


@pytest.fixture
def _quick_learning(service: Service) -> Iterator[None]:
    """Pause the families with workers during the test, so that practice soon gains enough for another version."""
    for name in WITH_WORKERS:
        service.learnd("env", "pause", name)
    yield
    for name in WITH_WORKERS:
        service.learnd("env", "resume", name)


@pytest.fixture
def long_poles(service: Service) -> Iterator[str]:
    """A family that is added while the service runs and removed after the test."""
    service.learnd("env", "add", "CartPole-v1", "--name", "long-poles", "--vary", "length=1.0:2.0", "--episodes", "2")
    yield "long-poles"
    service.learnd("env", "remove", "long-poles", "--yes")


def test_the_embedded_families_are_active_and_have_discrete_and_continuous_actions(service: Service) -> None:
    families = {family["name"]: family for family in service.status()["families"]}
    assert families.keys() >= EMBEDDED
    assert {family["state"] for family in families.values()} == {"active"}
    kinds = {name: service.learnd("env", "show", name)["spaces"]["action"]["kind"] for name in ("mdps", "pendulum")}
    assert kinds == {"mdps": "discrete", "pendulum": "continuous"}


def test_status_and_metrics_report_the_same_steps(service: Service) -> None:
    def reported() -> tuple[float, float, float]:
        before = service.family("bandits")["env_steps"]
        in_metrics = service.metrics()["learnd_env_steps_total", (("family", "bandits"),)]
        return before, in_metrics, service.family("bandits")["env_steps"]

    def is_equal_at_rest() -> bool:
        before, in_metrics, after = reported()
        assert in_metrics <= after
        return before == in_metrics == after

    service.wait_for(is_equal_at_rest, timeout_s=60, what="to report the same steps in status and metrics")


def test_health_and_readiness_answer(service: Service) -> None:
    assert (service.http_status("/healthz"), service.http_status("/readyz")) == (200, 200)


def test_a_family_added_while_the_service_runs_is_practised(service: Service, long_poles: str) -> None:
    service.wait_for(lambda: long_poles in practised(service), timeout_s=120, what="to practise the new family")


def test_a_published_version_can_be_exported_loaded_and_scored(service: Service, tmp_path: Path) -> None:
    version = publish(service)
    file = tmp_path / "policy.safetensors"
    service.learnd("policy", "export", str(version), str(file))
    assert "bandits" in load_policy(file).families
    answer = service.learnd("policy", "eval", "--family", "bandits", "--trials", "64")
    (scored,) = answer["scores"]
    assert len(scored["episodes"]) == 10
    assert scored["mean_return"] == pytest.approx(sum(episode["mean_return"] for episode in scored["episodes"]))


@pytest.mark.usefixtures("_quick_learning")
def test_a_version_is_rolled_back_to_its_parent(service: Service) -> None:
    while (published := publish(service)) < 2:
        pass  # the first version has no parent
    answer = service.learnd("policy", "rollback")
    assert answer["current"]["version"] < answer["rolled_back"] == published
    versions = {version["version"]: version for version in service.learnd("policy", "list", "--all")["versions"]}
    assert versions[answer["rolled_back"]]["state"] == "rolled_back"
    assert versions[answer["current"]["version"]]["is_current"]


def test_a_killed_learner_comes_back_by_itself(service: Service) -> None:
    service.wait_for(lambda: service.learner() is not None, timeout_s=60, what="to have a learner")
    learner, counted = service.learner(), num_restarts(service)
    assert learner is not None
    learner.send_signal(signal.SIGKILL)
    service.wait_for(lambda: num_restarts(service) > counted, timeout_s=30, what="to count the restart")
    before = service.metric(STEPS, family="bandits")
    service.wait_for(
        lambda: service.metric(STEPS, family="bandits") > before, timeout_s=120, what="to learn again after the kill"
    )


def num_restarts(service: Service) -> float:
    return sum(service.metrics("learnd_learner_restarts_total").values())


def test_kill_minus_9_of_everything_loses_no_totals_and_a_start_goes_on(service: Service) -> None:
    before = {family["name"]: family for family in service.status()["families"]}
    service.kill()
    service.start()
    after = {family["name"]: family for family in service.status()["families"]}
    for name, family in before.items():
        for total in ("env_steps", "episodes", "trials", "meta_updates"):
            assert after[name][total] >= family[total]
    service.wait_for(
        lambda: any(service.metric(STEPS, family=name) > family["env_steps"] for name, family in after.items()),
        timeout_s=120,
        what="to go on learning",
    )


def test_sigterm_stops_it_with_everything_saved(service: Service) -> None:
    service.stop()
    assert service.status()["state"] == "stopped"
    service.start()
