"""An evaluation recognises the tasks that were met, at the first observation and by the first steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agent.learners.rl2.recognition import Recognition
from agent.trainer.practice.met_tasks import MetTasks
from agent.trainer.session import TrainerSession
from envs.gymnasium.variations import Distribution, InterfaceChange, Variation, VariationTarget
from envs.registry import open_tasks
from envs.task_batch import recurs
from memory.folder import DataFolder
from memory.records import CurveMetric, Family
from memory.retrieval.key_upkeep import KeyUpkeep, recall_among
from memory.retrieval.recall import TaskRecall
from memory.store import Store
from tests.agent.trainer.conftest import practise, sessions, settings_for
from tests.agent.trainer.practice.test_recurring_practice import LAKES
from tests.data_folders import copied

NUM_TASKS = 4
ACTIONS = Variation(
    name=InterfaceChange.ACTIONS,
    target=VariationTarget.INTERFACE,
    distribution=Distribution.PERMUTATIONS,
    options={"sizes": [4]},
)
"""The meaning of each direction differs from task to task, and no first observation shows it."""


MET_GROUP = pytest.mark.xdist_group("met tasks")
"""The mark of tests of a session that has met its tasks, so that it practises once for all of them."""


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data folder of a session that has practised a lake in tasks that all begin alike, with trials of each.

    Tests work on copies.
    """
    folder = DataFolder(tmp_path_factory.mktemp("met") / "store")
    with Store.open(folder) as store, sessions() as open_session:
        practised(store, folder, open_session, num_slices=8)
    return folder.path


@pytest.fixture
def folder(met: Path, tmp_path: Path) -> DataFolder:
    """Return a copy of that folder."""
    return copied(met, tmp_path / "store")


@pytest.fixture
def session(store: Store, folder: DataFolder, open_session: Callable[..., TrainerSession]) -> TrainerSession:
    """Return a session that goes on there."""
    return open_session(store, settings=settings_for(folder.path))


def practised(
    store: Store, folder: DataFolder, open_session: Callable[..., TrainerSession], *, num_slices: int
) -> TrainerSession:
    spec = replace(
        LAKES,
        kwargs={"is_slippery": False, "desc": ["SFFF", "FFFF", "FFFF", "FFFG"]},
        variations=(ACTIONS,),
        episodes_per_trial=3,
        max_episode_steps=12,
        recurring=NUM_TASKS,
    )
    tasks = open_tasks(spec, None, num_trials=1, device="cpu")
    tasks.close()
    store.families.add(spec)
    family = store.families.admit("lakes", spaces=tasks.spaces.to_json(), random_return=0.1, reference_return=3.0)
    session = open_session(store, settings=settings_for(folder.path))
    for _slice in range(num_slices):
        practise(session, family, reason="test")
    return session


def lakes(store: Store) -> Family:
    return store.families.get("lakes")


def recognised(session: TrainerSession, family: Family, recall: TaskRecall) -> tuple[list[int], Recognition]:
    """Play every task once; return the numbers of the tasks, and what was recalled at last."""
    tasks = session.environments.tasks_of(family)
    assert recurs(tasks)
    met = MetTasks.of(tasks, list(range(NUM_TASKS)))
    recognition = met.recognition(session.learner.policy, recall)
    assert len({found.likeness for found in recognition.recalled}) == 1, "all tasks begin alike"
    assert recognition.recalled[0].likeness < 0.5
    met.play(session.learner.policy, recognition)
    return met.numbers.tolist(), recognition


@MET_GROUP
def test_the_first_steps_recall_the_task_where_all_tasks_begin_alike(store: Store, session: TrainerSession) -> None:
    numbers, recognition = recognised(session, lakes(store), KeyUpkeep.of(store).recall(lakes(store)))
    recalled = [{trial.task["index"] for trial in found.trials} for found in recognition.recalled]
    assert recalled == [{number} for number in numbers]
    assert min(found.likeness for found in recognition.recalled) > 0.5


@MET_GROUP
def test_a_task_that_was_never_met_is_not_believed_to_be_a_met_one(store: Store, session: TrainerSession) -> None:
    family, new = lakes(store), 0
    stored = [store.trials.load(row.id) for row in store.trials.of_family("lakes", limit=1_000, newest_first=False)]
    known = [trial for trial in stored if trial.task["index"] != new]
    recall = recall_among(KeyUpkeep.of(store).recall(family).spaces, ["lakes"] * len(known), known.__getitem__)
    numbers, recognition = recognised(session, family, recall)
    likeness = {number: found.likeness for number, found in zip(numbers, recognition.recalled, strict=True)}
    assert likeness[new] < 0.2
    assert min(found for number, found in likeness.items() if number != new) > 0.5


@MET_GROUP
def test_a_recall_does_not_see_the_trials_that_are_stored_after_it_began(store: Store, session: TrainerSession) -> None:
    family = lakes(store)
    recall, before = KeyUpkeep.of(store).recall(family), stored_seeds(store)
    for _slice in range(2):
        practise(session, family, reason="test")
    assert len(stored_seeds(store)) > len(before)
    _, recognition = recognised(session, family, recall)
    assert {trial.task["seed"] for found in recognition.recalled for trial in found.trials} <= before


def stored_seeds(store: Store) -> set[int]:
    """Return the seeds of the stored trials, each of which has its own."""
    return {row.task["seed"] for row in store.trials.of_family("lakes", limit=1_000)}


def test_an_evaluation_after_a_restart_gives_the_same_returns_of_met_tasks(
    tmp_path: Path, open_session: Callable[..., TrainerSession]
) -> None:
    found = []
    for reopens in (False, True):
        folder = DataFolder(tmp_path / str(reopens))
        with Store.open(folder) as store:
            session = practised(store, folder, open_session, num_slices=3)
            if reopens:
                session = open_session(store, settings=settings_for(folder.path))
            evaluation = session.practice_of(lakes(store)).evaluate(lakes(store))
            points = [point for point in evaluation.more_points if point.metric is CurveMetric.MET_RETURN]
            found.append({point.label: point.value for point in points})
    assert found[0].keys() == {"memory", "empty"}
    assert found[0] == found[1]


@MET_GROUP
def test_recognition_is_without_noise_of_its_own(store: Store, session: TrainerSession) -> None:
    """The noise of actions is drawn as before, whatever is recalled within a trial."""
    tasks = session.environments.tasks_of(lakes(store))
    assert recurs(tasks)
    met = MetTasks.of(tasks, list(range(NUM_TASKS)))
    first = []
    for recognition in (None, met.recognition(session.learner.policy, KeyUpkeep.of(store).recall(lakes(store)))):
        trials = met.play(session.learner.policy, recognition)
        first.append(trials.action[:2])
    assert torch.equal(*first)
