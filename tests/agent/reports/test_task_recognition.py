"""Recognition of tasks within a family: known tasks or new ones, from a real store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.reports.task_recognition import FEWEST_TRIALS, recognise_tasks
from memory.folder import DataFolder
from memory.records import TrialRecord
from memory.retrieval.key_upkeep import KeyUpkeep
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.reports.test_recognition import pushed, remember


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "store")


def recurring(num_trials: int, *, num_tasks: int) -> list[TrialRecord]:
    """Return trials of tasks that recur; a task is how far an action pushes."""
    return [of_task(float(number % num_tasks) * 4.0, seed=number) for number in range(num_trials)]


def of_task(push: float, *, seed: int) -> TrialRecord:
    [episode] = pushed(push=push, seed=seed).episodes
    silent = replace(episode, rewards=np.zeros_like(episode.rewards))
    return TrialRecord(task={"push": push}, episodes=(silent,))


def test_tasks_that_recur_are_known_and_their_first_trials_are_new(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        remember(store, "weak", [*recurring(60, num_tasks=6), of_task(30.0, seed=99)])
        found = recognise_tasks(store, "weak")
        assert found is not None
        assert (found.num_trials, found.num_repeated) == (61, 54)
        assert found.after_steps.accuracy > 0.8
        assert found.after_steps.brier < found.after_steps.brier_of_base_rate
        newest, before = found.newest[:2]
        assert newest.trial_id == 61
        assert newest.probability < 0.5 < before.probability
        assert before.match in range(1, 60)


def test_keys_of_the_store_give_the_same_answer_as_keys_that_are_computed(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        remember(store, "weak", recurring(40, num_tasks=8))
        before = recognise_tasks(store, "weak")
        KeyUpkeep.of(store).refresh(store.families.get("weak"))
        assert recognise_tasks(store, "weak") == before


def test_a_family_with_few_trials_is_not_measured(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        remember(store, "weak", recurring(FEWEST_TRIALS - 1, num_tasks=2))
        assert recognise_tasks(store, "weak") is None


def test_the_command_recognises_the_tasks_of_a_family_that_is_alone(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        remember(store, "weak", recurring(40, num_tasks=8))
    learnd = Learnd(folder.path)
    answer = learnd.json("memory", "recognise", "weak")
    assert answer["family"] == "weak"
    assert answer["resemblances"] == []
    assert answer["tasks"]["num_repeated"] == 32
    assert answer["tasks"]["after_steps"]["num_trials"] == 20
    shown = learnd("memory", "recognise", "weak").stdout
    assert "32 are of a task that another of them has" in shown
    assert "at the start" in shown
