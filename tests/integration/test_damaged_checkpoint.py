"""A real service on a damaged checkpoint: what it says, and that it learns nothing on random parameters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memory.folder import DataFolder
from memory.store import Store
from tests.agent.trainer.conftest import SMALL, feed_bandits
from tests.service import Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CONFIG = "\n".join(
    [
        "[stream]",
        "embedded_default = false",
        "[practise]",
        "slice_s = 0.2",
        "[jobs]",
        'checkpoint = "off"',
        'evaluate = "off"',
        'consolidate = "off"',
        'backup = "off"',
        "[rl2]",
        *(f"{name} = {value}" for name, value in SMALL.items()),
    ]
)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that has learned for a moment and is stopped."""
    folder = tmp_path / "data"
    with Store.open(DataFolder(folder)) as store:
        feed_bandits(store)
    service = Service(folder, config=CONFIG)
    try:
        service.start()
        service.wait_for(lambda: totals(service)["meta_updates"] > 0, timeout_s=120, what="to practise")
        service.stop()
        yield service
    finally:
        service.end()


def totals(service: Service) -> dict[str, Any]:
    family = service.family("bandits")
    return {name: family[name] for name in ("env_steps", "trials", "episodes", "meta_updates")}


def damage_live_checkpoint(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        live = store.checkpoints.live()
    assert live is not None
    (folder.parameters_path / f"{live.file.sha256}.safetensors").write_bytes(b"")


def reasons(service: Service) -> list[str]:
    code, text = service.get("/healthz")
    return [] if code == 200 else [problem["reason"] for problem in json.loads(text)["reasons"]]


def is_in_status(service: Service, text: str) -> bool:
    return any(text in reason for reason in service.status()["health"]["reasons"])


def num_refusals(service: Service) -> int:
    return service.log_path.read_text().count("CheckpointLostError")


def test_with_no_intact_checkpoint_the_service_is_red_and_commits_no_practice(service: Service) -> None:
    before = totals(service)
    damage_live_checkpoint(DataFolder(service.folder))
    service.start()
    service.wait_for(lambda: "checkpoint_lost" in reasons(service), timeout_s=120, what="to say so")
    service.wait_for(lambda: is_in_status(service, "learnd doctor --repair"), timeout_s=60, what="to write its status")
    assert service.metrics()[("learnd_store_damage", (("kind", "checkpoint_lost"),))] == 1.0
    service.wait_for(lambda: num_refusals(service) >= 2, timeout_s=120, what="to try again")
    assert totals(service) == before
    service.stop()


def test_an_older_checkpoint_is_gone_on_from_with_a_sign(service: Service) -> None:
    folder = DataFolder(service.folder)
    with Store.open(folder) as store:
        kept = store.checkpoints.keep_live(keep=2)
    assert kept is not None
    service.start()
    service.wait_for(
        lambda: service.status()["learner_steps"] > kept.learner_steps, timeout_s=120, what="to commit a step"
    )
    service.stop()
    damage_live_checkpoint(folder)
    before = totals(service)
    service.start()
    service.wait_for(lambda: "checkpoint_fallback" in reasons(service), timeout_s=120, what="to say so")
    service.wait_for(
        lambda: totals(service)["meta_updates"] > before["meta_updates"], timeout_s=120, what="to practise on"
    )
    service.wait_for(lambda: is_in_status(service, "checkpoint_fallback"), timeout_s=60, what="to write its status")
    assert service.metrics()[("learnd_checkpoint_fallbacks_total", ())] == 1.0
    assert "an older one was restored" in service.log_path.read_text()
    service.stop()
    service.learnd("doctor", "--repair")
    service.start()
    assert "checkpoint_fallback" not in reasons(service)
