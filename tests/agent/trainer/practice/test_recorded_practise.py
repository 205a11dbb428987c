"""Tests of recorded practice, as on a GPU: it equals eager practice, and a lost slice leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agent.learners.rl2.cuda_graphs import NUM_EAGER_RUNS
from agent.learners.rl2.training import EagerTraining, RecordedTraining, can_be_recorded
from agent.trainer.families import learner_name, spaces_of
from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.jobs.evaluate import evaluate
from agent.trainer.session import TrainerSession
from envs.family import FamilySource
from envs.registry import open_tasks
from memory.folder import DataFolder
from memory.store import Store
from tests.agent.learners.rl2.scripted_tasks import VECTOR, ScriptedTasks
from tests.agent.trainer.conftest import BANDITS, SessionMaker, feed_bandits, practise

NUM_SLICES = NUM_EAGER_RUNS + 3


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use recorded training on the CPU: Python repeats the recorded operations on the same tensors."""
    monkeypatch.setattr("agent.trainer.practice.open_environments.can_be_recorded", lambda _tasks: True)


def _practised(session: TrainerSession, store: Store) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """Practise, evaluating after each slice; return the parameters and the tasks of each slice's stored trials."""
    family, tasks = feed_bandits(store), []
    for _slice in range(NUM_SLICES):
        practise(session, family, reason="test")
        newest = store.trials.of_family("bandits", limit=session.settings.memory.trials_per_step)
        tasks.append([store.trials.load(trial.id).task for trial in newest])
        evaluate(session, [family])
    return session.learner.to_tensors(), tasks


def test_recorded_practice_is_practice(
    tmp_path: Path, open_session: SessionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for is_recorded in (False, True):
        monkeypatch.setattr(
            "agent.trainer.practice.open_environments.can_be_recorded", lambda _tasks, flag=is_recorded: flag
        )
        with Store.open(DataFolder(tmp_path / str(is_recorded))) as store:
            session = open_session(store)
            found.append(_practised(session, store))
            training = session.environments.begin_training(store.families.get("bandits"), session.learner)
            assert isinstance(training, RecordedTraining if is_recorded else EagerTraining)
    (expected, expected_tasks), (given, given_tasks) = found
    assert given_tasks == expected_tasks
    assert len({str(tasks) for tasks in given_tasks}) == NUM_SLICES, "every slice plays tasks of its own"
    for name, tensor in expected.items():
        torch.testing.assert_close(given[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.usefixtures("recording")
def test_after_a_lost_slice_recorded_practice_goes_on_from_the_last_commit(
    store: Store, open_session: SessionMaker
) -> None:
    family = feed_bandits(store)
    session = open_session(store)
    for _slice in range(NUM_SLICES):
        practise(session, family, reason="test")
    committed = session.learner.to_tensors()
    session.environments.begin_training(family, session.learner).learn(
        session.environments.begin_training(family, session.learner).play(10_000)
    )  # This slice is never committed.
    session.restore_last_commit()
    restored = session.learner.to_tensors()
    assert [name for name in committed if not torch.equal(restored[name], committed[name])] == []
    practise(session, family, reason="test")
    moved = session.learner.to_tensors()
    assert any(not torch.equal(moved[name], committed[name]) for name in committed if name.startswith("policy/"))
    assert session.learner.is_finite()


@pytest.mark.usefixtures("recording")
def test_trials_that_are_given_up_leave_those_before_as_they_were(store: Store, open_session: SessionMaker) -> None:
    family = feed_bandits(store)
    session = open_session(store)
    session.learner.add_family(learner_name(family), spaces_of(family))
    training = session.environments.begin_training(family, session.learner)
    for _run in range(NUM_EAGER_RUNS + 1):
        trials = training.play(0)
    actions = trials.action.clone()

    def give_up(_steps: int) -> None:
        raise JobInterruptedError

    with pytest.raises(JobInterruptedError):
        training.play(64, progress=give_up)
    assert torch.equal(trials.action, actions)


@pytest.mark.usefixtures("recording")
def test_what_was_recorded_of_a_family_ends_with_its_tasks(store: Store, open_session: SessionMaker) -> None:
    family = feed_bandits(store)
    session = open_session(store)
    practise(session, family, reason="test")
    training = session.environments.begin_training(family, session.learner)
    session.close_tasks(family.id)
    assert session.environments.begin_training(family, session.learner) is not training


def _on_a_gpu(tasks: Any, **of_spec: Any) -> Any:
    """Return the tasks with attributes that claim a GPU, for a function that reads only attributes."""
    tasks.device, tasks.spec = torch.device("cuda"), replace(tasks.spec, **of_spec)
    return tasks


def test_tensors_on_a_gpu_are_recorded_and_nothing_else() -> None:
    def bandits() -> Any:
        return open_tasks(BANDITS, None, num_trials=2, device="cpu")

    assert can_be_recorded(_on_a_gpu(bandits()))
    assert not can_be_recorded(bandits()), "a CPU"
    assert not can_be_recorded(_on_a_gpu(bandits(), source=FamilySource.GYMNASIUM)), "stepped by a worker"
    assert not can_be_recorded(_on_a_gpu(bandits(), episodes_per_trial=5_000)), "too long"
    endless = _on_a_gpu(ScriptedTasks(VECTOR, [[2, 2]]), source=FamilySource.TENSOR)
    assert endless.max_episode_steps is None
    assert not can_be_recorded(endless)
