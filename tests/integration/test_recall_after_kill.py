"""Test that the service recalls the same of a task after kill −9 and a restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from agent.trainer.practice.met_tasks import EMPTY, WITH_MEMORY
from envs.family import Split
from envs.registry import open_tasks
from envs.task_batch import recurs
from memory.folder import DataFolder
from memory.records import CurveMetric
from memory.retrieval.key_upkeep import KeyUpkeep
from memory.store import Store
from tests.service import Service

NUM_TASKS = 16
SMALL = """
[practise]
slice_s = 0.05
[jobs]
evaluate = "2s"
consolidate = "1h"
[rl2]
hidden_size = 16
input_size = 16
scorer_size = 8
critic_size = 16
num_trials_tensor = 64
[evaluation]
trials_tensor = 64
"""

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("service")]


@dataclass(frozen=True)
class Recall:
    """What a reader of the store recalls of one task."""

    indices: tuple[int, ...]
    likeness: float
    rewards: NDArray[np.float32]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Return a service that practises nothing but bandits that recur with their barcode."""
    service = Service(tmp_path / "store", config=SMALL)
    arms = ("--kwarg", "num_arms=3", "--kwarg", "barcode_bits=12", "--episodes", "4")
    service.learnd("env", "add", "recurring_bandits", "--name", "codes", "--recurring", str(NUM_TASKS), *arms)
    try:
        service.start()
        yield service
    finally:
        service.end()


def recalled(service: Service) -> list[Recall]:
    """Return what the store recalls of each task at its first observation."""
    with Store.open(DataFolder(service.folder), is_reader=True) as store:
        family = store.families.get("codes")
        recall = KeyUpkeep.of(store).recall(family)
        tasks = open_tasks(family.require_spec(), recall.spaces, num_trials=NUM_TASKS, device="cpu")
        assert recurs(tasks)
        numbers = torch.arange(NUM_TASKS)
        first = tasks.begin_tasks(numbers, torch.zeros_like(numbers), split=Split.TRAINING).numpy()
        found = [recall.find(observation) for observation in first]
    return [
        Recall(
            indices=tuple(trial.task["index"] for trial in one.trials),
            likeness=one.likeness,
            rewards=np.array([[episode.rewards for episode in trial.episodes] for trial in one.trials]),
        )
        for one in found
    ]


def num_trials(service: Service) -> int:
    with Store.open(DataFolder(service.folder), is_reader=True) as store:
        return len(store.trials.of_family("codes", limit=100_000))


def has_met_returns(service: Service, *, after: int) -> bool:
    """Return whether met tasks were played after so many learner steps."""
    with Store.open(DataFolder(service.folder), is_reader=True) as store:
        points = store.curves.points("codes", CurveMetric.MET_RETURN)
    return {point.point.label for point in points if (point.learner_steps or 0) > after} == {WITH_MEMORY, EMPTY}


def test_a_kill_between_exposures_changes_nothing_of_what_is_recalled(service: Service) -> None:
    service.wait_for(lambda: num_trials(service) >= 12 * NUM_TASKS, timeout_s=120, what="to have met every task often")
    acknowledged = num_trials(service)
    service.kill()
    service.end()
    assert num_trials(service) >= acknowledged
    before = recalled(service)
    for number, recall in enumerate(before):
        assert set(recall.indices) == {number}, "each task recalls its own trials"
        assert recall.likeness > 0.9
    service.learnd("env", "pause", "codes")  # so that no further trial is stored
    service.start()
    service.wait_for(lambda: service.learner() is not None, timeout_s=60, what="to have a trainer")
    after = recalled(service)
    for one, other in zip(before, after, strict=True):
        assert (one.indices, one.likeness) == (other.indices, other.likeness)
        assert np.array_equal(one.rewards, other.rewards)
    steps = int(service.status()["learner_steps"])
    service.learnd("env", "resume", "codes")
    service.wait_for(
        lambda: has_met_returns(service, after=steps), timeout_s=120, what="to play met tasks with what it recalls"
    )
