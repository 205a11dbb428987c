"""The state of a fresh service ten minutes after `make run`; run with `make learn`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.service import Service, running

MINUTES = 10
BANDIT_TARGET = 6.33
"""95% of the Bayes-optimal 6.660 for 5 arms and 10 pulls."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("ten_minutes") / "store") as service:
        time.sleep(MINUTES * 60)
        yield service


@pytest.fixture(scope="module")
def scores(service: Service) -> dict[str, dict[str, Any]]:
    """Held-out returns of the published version, over 512 trials a family."""
    answer = service.learnd("policy", "eval", "--trials", "512")
    return {family["family"]: family for family in answer["scores"]}


def test_every_family_has_been_practised(service: Service) -> None:
    for family in service.status()["families"]:
        assert family["meta_updates"] > 0, family


def test_a_version_is_published(service: Service) -> None:
    assert service.status()["policy_version"] >= 1


def test_bandits_are_within_5_percent_of_the_bayes_optimum(scores: dict[str, dict[str, Any]]) -> None:
    assert scores["bandits"]["mean_return"] >= BANDIT_TARGET, scores["bandits"]


def test_held_out_cartpoles_return_5_times_random(service: Service, scores: dict[str, dict[str, Any]]) -> None:
    random_return = service.learnd("env", "show", "cartpole")["random_return"]
    assert scores["cartpole"]["mean_return"] >= 5 * random_return, (random_return, scores["cartpole"])


def test_return_rises_within_a_trial_on_two_families(scores: dict[str, dict[str, Any]]) -> None:
    rising = []
    for name, family in scores.items():
        first, last = family["episodes"][0], family["episodes"][-1]
        if last["mean_return"] - first["mean_return"] > 2 * (first["standard_error"] + last["standard_error"]):
            rising.append(name)
    assert len(rising) >= 2, scores
