"""kill −9 of control, learner and worker at random moments under load: `make soak`.

Acknowledged means: another process could read it from the store. What was read before a kill must be there after it.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from memory.folder import DataFolder
from memory.records import InitializationState
from memory.store import Store
from tests.service import Service, running

NUM_KILLS = int(os.environ.get("SOAK_KILLS", "20"))
QUICK_JOBS = '[jobs]\nevaluate = "10s"\nconsolidate = "15s"\ncheckpoint = "20s"\n[practise]\nslice_s = 1.0\n'
TOTALS = ("env_steps", "episodes", "trials", "meta_updates")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@dataclass(frozen=True)
class Acknowledged:
    """The values that a reader of the store saw at one moment."""

    totals: dict[str, dict[str, int]]
    trial_ids: dict[str, set[int]]
    versions: set[int]

    @classmethod
    def read(cls, folder: Path) -> Acknowledged:
        with Store.open(DataFolder(folder), is_reader=True) as store:
            families = store.families.all()
            return cls(
                totals={f.name: {t: getattr(f.totals, t) for t in TOTALS} for f in families},
                trial_ids={f.name: {t.id for t in store.trials.of_family(f.name, limit=200)} for f in families},
                versions={i.version for i in store.initializations.all() if i.version is not None},
            )

    def assert_still_there(self, folder: Path) -> None:
        with Store.open(DataFolder(folder), is_reader=True) as store:
            for name, totals in self.totals.items():
                after = store.families.get(name).totals
                for total, before in totals.items():
                    assert getattr(after, total) >= before, f"{name}: {total} went backwards"
                for trial_id in self.trial_ids[name]:
                    assert store.trials.load(trial_id).episodes
            for version in self.versions:
                initialization = store.initializations.get(version)
                assert initialization.state in {InitializationState.PUBLISHED, InitializationState.ROLLED_BACK}
                assert store.checkpoints.load_parameters(initialization.file)
            checkpoint = store.checkpoints.live()
            assert checkpoint is None or store.checkpoints.load_parameters(checkpoint.file)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("soak") / "store", config=QUICK_JOBS) as service:
        service.wait_for(
            lambda: all(f["meta_updates"] > 0 for f in service.status()["families"]),
            timeout_s=180,
            what="to have practised every family",
        )
        yield service


def _total_steps(service: Service) -> int:
    return sum(family["env_steps"] for family in service.status()["families"])


def _wait_for_learning(service: Service) -> None:
    before = _total_steps(service)
    service.wait_for(lambda: _total_steps(service) > before, timeout_s=120, what="to learn again")


def _restarts(service: Service, name: str) -> float:
    return sum(value for (metric, _), value in service.metrics().items() if metric == name)


def test_killing_control_loses_nothing_acknowledged(service: Service) -> None:
    chance = random.Random(1)
    for _ in range(NUM_KILLS):
        time.sleep(chance.uniform(0.2, 6))
        before = Acknowledged.read(service.folder)
        metrics = service.metrics()
        service.kill()
        service.start()
        before.assert_still_there(service.folder)
        after = service.metrics()
        for key, value in metrics.items():
            is_of_process = key[0].startswith("learnd_process_")  # the counters of a process end with it
            if key[0].startswith("learnd_") and key[0].endswith("_total") and not is_of_process:
                assert after.get(key, 0) >= value, f"{key} went backwards"
    _wait_for_learning(service)


def test_a_killed_worker_costs_a_restart_and_a_strike_and_nothing_else(service: Service) -> None:
    chance = random.Random(3)
    restarts = _restarts(service, "learnd_worker_restarts_total")
    learner_restarts = _restarts(service, "learnd_learner_restarts_total")
    for _ in range(NUM_KILLS):
        service.wait_for(lambda: bool(service.workers()), timeout_s=120, what="to have workers")
        time.sleep(chance.uniform(0.2, 3))
        before = Acknowledged.read(service.folder)
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            chance.choice(service.workers()).send_signal(signal.SIGKILL)
        before.assert_still_there(service.folder)
    service.wait_for(
        lambda: _restarts(service, "learnd_worker_restarts_total") > restarts, timeout_s=60, what="to count strikes"
    )
    assert _restarts(service, "learnd_learner_restarts_total") == learner_restarts
    _wait_for_learning(service)
    assert service.http_status("/healthz") == 200


def test_a_killed_learner_comes_back_by_itself_and_loses_nothing_acknowledged(service: Service) -> None:
    chance = random.Random(2)
    for _ in range(NUM_KILLS):
        service.wait_for(lambda: service.learner() is not None, timeout_s=120, what="to have a learner")
        time.sleep(chance.uniform(0.2, 6))
        restarts = _restarts(service, "learnd_learner_restarts_total")
        before = Acknowledged.read(service.folder)
        learner = service.learner()
        if learner is None:
            continue
        with contextlib.suppress(psutil.NoSuchProcess):
            learner.send_signal(signal.SIGKILL)
        service.wait_for(
            lambda counted=restarts: _restarts(service, "learnd_learner_restarts_total") > counted,
            timeout_s=30,
            what="to count the restart",
        )
        before.assert_still_there(service.folder)
    _wait_for_learning(service)
