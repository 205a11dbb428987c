"""The whole service, as a person runs it: the real daemon, learner and workers on the embedded default."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.service import Service, running

SMALL = """
[practise]
slice_s = 0.3
[jobs]
evaluate = "15s"
consolidate = "10s"
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
trials_tensor = 64
trials_gymnasium = 2
"""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service") / "store", config=SMALL) as service:
        service.wait_for(
            lambda: all(family["meta_updates"] > 0 for family in service.status()["families"]),
            timeout_s=180,
            what="to have practised every family",
        )
        yield service


def test_the_embedded_default_covers_three_kinds_of_action_side_by_side(service: Service) -> None:
    families = {family["name"]: family for family in service.status()["families"]}
    assert families.keys() == {"bandits", "mdps", "cartpole", "acrobot", "frozenlake", "pendulum"}
    assert {family["state"] for family in families.values()} == {"active"}


def test_status_and_metrics_tell_the_same(service: Service) -> None:
    before = service.family("bandits")["env_steps"]
    counted = service.metrics()["learnd_env_steps_total", (("family", "bandits"),)]
    service.wait_for(
        lambda: service.metrics()["learnd_env_steps_total", (("family", "bandits"),)] >= before,
        timeout_s=30,
        what="to show in its metrics what its status showed",
    )
    assert counted <= service.family("bandits")["env_steps"]


def test_health_and_readiness_answer(service: Service) -> None:
    assert (service.http_status("/healthz"), service.http_status("/readyz")) == (200, 200)


def test_a_family_fed_while_it_runs_is_practised(service: Service) -> None:
    service.learnd("env", "add", "CartPole-v1", "--name", "long-poles", "--vary", "length=1.0:2.0", "--episodes", "2")
    service.wait_for(
        lambda: service.family("long-poles")["meta_updates"] > 0, timeout_s=120, what="to practise what it was fed"
    )
    service.learnd("env", "remove", "long-poles", "--yes")


def test_a_version_is_published_loaded_and_rolled_back(service: Service) -> None:
    service.wait_for(lambda: bool(service.status()["policy_version"]), timeout_s=120, what="to publish a version")
    answer = service.learnd("policy", "eval", "--family", "bandits", "--trials", "64")
    (scored,) = answer["scores"]
    assert len(scored["episodes"]) == 10
    assert scored["mean_return"] == pytest.approx(sum(episode["mean_return"] for episode in scored["episodes"]))


def test_a_killed_learner_comes_back_by_itself(service: Service) -> None:
    service.wait_for(lambda: service.learner() is not None, timeout_s=60, what="to have a learner")
    before = service.family("bandits")["env_steps"]
    learner = service.learner()
    assert learner is not None
    learner.send_signal(signal.SIGKILL)
    service.wait_for(
        lambda: any(
            name == "learnd_learner_restarts_total" and value > 0 for (name, _), value in service.metrics().items()
        ),
        timeout_s=30,
        what="to count the restart",
    )
    service.wait_for(
        lambda: service.family("bandits")["env_steps"] > before, timeout_s=120, what="to learn again after the kill"
    )


def test_kill_minus_9_of_everything_loses_no_totals_and_a_start_goes_on(service: Service) -> None:
    before = {family["name"]: family for family in service.status()["families"]}
    service.kill()
    service.start()
    after = {family["name"]: family for family in service.status()["families"]}
    for name, family in before.items():
        for total in ("env_steps", "episodes", "trials", "meta_updates"):
            assert after[name][total] >= family[total]
    service.wait_for(
        lambda: service.family("bandits")["env_steps"] > before["bandits"]["env_steps"],
        timeout_s=120,
        what="to go on learning",
    )


def test_sigterm_stops_it_within_10_seconds_with_everything_saved(service: Service) -> None:
    assert service.stop() < 10
    assert service.status()["state"] == "stopped"
    service.start()
