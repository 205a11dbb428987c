"""A running service is given every hostile environment, and practises a sound family before, between and after them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from envs.findings import FindingKind
from tests.envs.hostile.expected import EXPECTED, KNOWN_TO_STAY, copied
from tests.envs.hostile.leftovers import await_no_process, shared_memory_of
from tests.envs.hostile.surroundings import surroundings
from tests.service import Service, running

CONFIG = """
[stream]
embedded_default = false
[practise]
slice_s = 0.3
[workers]
step_timeout_s = "3s"
start_timeout_s = "15s"
memory_limit = "700MiB"
max_processes = 200
disk_limit = "64MiB"
[rl2]
hidden_size = 16
input_size = 16
scorer_size = 8
critic_size = 16
num_trials_gymnasium = 2
[evaluation]
trials_gymnasium = 2
[consolidation]
trials_gymnasium = 2
"""

TRIED = {"refused", "active", "quarantined"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Return the mark of everything that hostile environments leave."""
    token = f"600.{secrets.randbelow(10**12):012d}1"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("HOSTILE_TOKEN", token)
    monkeypatch.setenv("TMPDIR", str(temporary))
    with surroundings(tmp_path, monkeypatch, store=tmp_path / "store"):
        yield token
    for path in shared_memory_of(token):
        path.unlink()


def name_of(environment: str) -> str:
    return environment.replace("_", "-")


def add_hostile(service: Service, folder: Path) -> None:
    for environment in EXPECTED:
        code = copied(environment, folder / environment)
        entry = ("env", "add", f"{environment}:Hostile", "--name", name_of(environment), "--path", str(code))
        service.learnd(*entry, "--no-check")


def states(service: Service) -> set[str]:
    return {family["state"] for family in service.status()["families"]}


def test_hostile_families_cost_no_other_family_and_leave_nothing(token: str, tmp_path: Path) -> None:
    with running(tmp_path / "store", config=CONFIG) as service:
        service.learnd("env", "add", "CartPole-v1", "--name", "sound", "--no-check")
        add_hostile(service, tmp_path / "hostile")
        hostile = {name_of(environment) for environment in EXPECTED}
        service.wait_for(lambda: states(service) <= TRIED, timeout_s=1200, what="to try every family")
        steps = service.family("sound")["env_steps"]
        service.wait_for(
            lambda: service.family("sound")["env_steps"] > steps, timeout_s=300, what="to practise the sound family"
        )
        assert service.http_status("/healthz") == 200
        assert service.metric("learnd_learner_restarts_total") == 0
        families = {family["name"]: family for family in service.status()["families"]}
        assert families.keys() == hostile | {"sound"}
        for environment, expected in EXPECTED.items():
            family = families[name_of(environment)]
            reason = family["state_reason"]
            # On a busy machine, admission ends before a fault that takes many steps; it costs a strike in practice.
            is_punished = family["state"] == "refused" or (expected.kind is FindingKind.FAULT and family["strikes"] > 0)
            assert is_punished == (expected.kind is not None), (environment, family)
            assert "Traceback" not in reason
            assert "\n" not in reason
        assert service.family("sound")["strikes"] == 0
        service.stop()
    assert await_no_process(token) == []
    assert list((tmp_path / "temporary").glob("learnd-worker-*")) == []
    left = {path.name for path in shared_memory_of(token)}
    assert bool(left) == bool(KNOWN_TO_STAY)
