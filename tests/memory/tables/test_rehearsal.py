from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace

import pytest

from memory.folder import DataFolder
from memory.records import NUM_SLOTS, FamilyState, LearnerStep, ProblemKind
from memory.store import Store
from memory.upkeep.repairing import repair
from tests.memory.damage import change_value, damage_episode
from tests.memory.making import add_active_family, make_rehearsal_step, make_step, make_tensors, same_trial


@pytest.fixture
def filled(store: Store) -> Store:
    """Return a store with four trials of a family, of which the second and the fourth are in its reservoir."""
    add_active_family(store)
    store.learner_steps.commit(make_rehearsal_step(slots=(None, 5, None, 2)), make_tensors(), {})
    return store


def reservoir(store: Store, family: str = "cartpole") -> dict[int, int]:
    """Return the id of the trial in each slot."""
    return {trial.slot: trial.trial_id for trial in store.rehearsal.trials(store.families.get(family).id)}


def num_slot_rows(store: Store) -> int:
    return int(store._connection.value("SELECT count(*) FROM rehearsal_trials"))


def test_trials_come_back_by_slot_with_the_decisions_of_their_episodes(store: Store) -> None:
    add_active_family(store)
    step = make_rehearsal_step(slots=(None, 5, None, 2), seed=3)
    store.learner_steps.commit(make_step(), make_tensors(), {})
    store.learner_steps.commit(step, make_tensors(), {})
    loaded = store.rehearsal.trials(store.families.get("cartpole").id)
    assert [(trial.slot, trial.trial_id, trial.learner_step) for trial in loaded] == [(2, 6, 2), (5, 4, 2)]
    assert same_trial(loaded[0].trial, step.trials[3])
    assert same_trial(loaded[1].trial, step.trials[1])
    assert all(episode.decisions is not None for trial in loaded for episode in trial.trial.episodes)


def test_a_trial_without_a_slot_is_only_stored(store: Store) -> None:
    add_active_family(store)
    store.learner_steps.commit(make_step(), make_tensors(), {})
    assert store.rehearsal.family_ids() == []
    assert store.rehearsal.trials(store.families.get("cartpole").id) == []
    assert len(store.trials.of_family("cartpole", limit=9)) == 2


def test_a_trial_replaces_the_one_in_its_slot_which_stays_stored(filled: Store) -> None:
    step = make_rehearsal_step(slots=(5, 0), seed=1)
    filled.learner_steps.commit(step, make_tensors(), {})
    assert reservoir(filled) == {0: 6, 2: 4, 5: 5}
    assert same_trial(filled.trials.load(2), make_rehearsal_step(slots=(None, 5)).trials[1])
    assert filled.check() == []


def test_two_trials_of_a_step_may_take_the_same_slot_and_the_later_one_has_it(store: Store) -> None:
    add_active_family(store)
    store.learner_steps.commit(make_rehearsal_step(slots=(1, 1)), make_tensors(), {})
    assert reservoir(store) == {1: 2}


def test_families_have_reservoirs_of_their_own(filled: Store) -> None:
    add_active_family(filled, "acrobot")
    add_active_family(filled, "empty")
    filled.learner_steps.commit(make_rehearsal_step("acrobot", slots=(5,), seed=4), make_tensors(), {})
    assert reservoir(filled) == {2: 4, 5: 2}
    assert reservoir(filled, "acrobot") == {5: 5}
    ids = [filled.families.get(name).id for name in ("cartpole", "acrobot")]
    assert filled.rehearsal.family_ids() == ids


@pytest.mark.parametrize("slot", [-1, NUM_SLOTS])
def test_a_slot_that_no_reservoir_has_is_refused_and_nothing_recorded(filled: Store, slot: int) -> None:
    before = filled.families.get("cartpole").totals
    with pytest.raises(ValueError, match=f"0 to {NUM_SLOTS - 1}"):
        filled.learner_steps.commit(make_rehearsal_step(slots=(0, slot)), make_tensors(), {})
    assert filled.families.get("cartpole").totals == before
    assert reservoir(filled) == {2: 4, 5: 2}


def test_a_step_that_fails_after_its_trials_leaves_the_reservoir_as_it_was(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_power(*_: object, **__: object) -> None:
        assert num_slot_rows(filled) == 3, "the failure must come after the slots were taken"
        raise RuntimeError("the power went out")

    with monkeypatch.context() as patched:
        patched.setattr(filled.checkpoints, "set_live", out_of_power)
        with pytest.raises(RuntimeError, match="power"):
            filled.learner_steps.commit(make_rehearsal_step(slots=(5, 7), seed=1), make_tensors(1), {})
    assert reservoir(filled) == {2: 4, 5: 2}
    assert len(filled.trials.of_family("cartpole", limit=9)) == 4


KILLED = """
import os, signal, sys
from pathlib import Path
from memory.folder import DataFolder
from memory.store import Store
from tests.memory.making import make_rehearsal_step, make_tensors

store = Store.open(DataFolder(Path(sys.argv[1])))
store.learner_steps.commit(make_rehearsal_step(slots=(9,), seed=1), make_tensors(1), {})
store.checkpoints.set_live = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
store.learner_steps.commit(make_rehearsal_step(slots=(5, 7), seed=2), make_tensors(2), {})
"""


def test_a_kill_inside_the_commit_leaves_neither_the_trials_nor_their_slots(filled: Store, folder: DataFolder) -> None:
    filled.close()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder.path)], check=False)
    assert killed.returncode == -9
    with Store.open(folder) as store:
        assert reservoir(store) == {2: 4, 5: 2, 9: 5}
        assert len(store.trials.of_family("cartpole", limit=9)) == 5
        assert store.check() == []


def test_a_removed_family_has_no_reservoir_and_a_new_one_of_its_name_begins_without(filled: Store) -> None:
    removed = filled.families.get("cartpole").id
    filled.families.set_state("cartpole", FamilyState.PAUSED)
    assert reservoir(filled) == {2: 4, 5: 2}
    filled.families.set_state("cartpole", FamilyState.REMOVED)
    assert (filled.rehearsal.family_ids(), filled.rehearsal.trials(removed)) == ([], [])
    add_active_family(filled)
    assert reservoir(filled) == {}


def test_a_reservoir_can_be_emptied(filled: Store) -> None:
    family_id = filled.families.get("cartpole").id
    assert filled.rehearsal.remove(family_id) == 2
    assert filled.rehearsal.remove(family_id) == 0
    assert reservoir(filled) == {}
    assert len(filled.trials.of_family("cartpole", limit=9)) == 4


def test_a_damaged_trial_is_left_out_recorded_and_logged_once(
    filled: Store, folder: DataFolder, caplog: pytest.LogCaptureFixture
) -> None:
    damage_episode(filled, 3)  # the first episode of trial 2, which is in slot 5
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert reservoir(filled) == {2: 4}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    (problem,) = filled.damage.all()
    assert (problem.kind, problem.key, problem.subject) == (ProblemKind.TRIAL, "2", "trial 2")
    assert "episode 0 does not match its checksum" in problem.found
    assert "learnd doctor --repair" in problem.hint
    with Store.open(folder, is_reader=True) as reader:
        assert reservoir(reader) == {2: 4}


@pytest.mark.parametrize(("column", "value"), [("task", "'{}'"), ("num_episodes", "3")])
def test_a_trial_whose_row_is_damaged_is_left_out(filled: Store, column: str, value: str) -> None:
    change_value(filled, "trials", column, value)
    assert reservoir(filled) == {5: 2}
    assert [problem.key for problem in filled.damage.all()] == ["4"]


def test_repair_drops_a_damaged_trial_with_its_slot(filled: Store, folder: DataFolder) -> None:
    damage_episode(filled, 3)
    assert reservoir(filled) == {2: 4}
    filled.close()
    report = repair(folder, may_roll_back=False)
    assert report.actions == ("dropped 1 damaged trials with their 2 episodes",)
    assert report.remaining == ()
    with Store.open(folder) as store:
        assert num_slot_rows(store) == 1
        assert reservoir(store) == {2: 4}
        assert (store.damage.all(), store.check()) == ([], [])


def test_a_trial_that_is_loaded_by_its_id_has_no_slot(filled: Store) -> None:
    assert filled.trials.load(2).rehearsal_slot is None


def taught_step(fill: float = 1.0, *, seed: int = 0) -> LearnerStep:
    """Return a step with a trial in a slot, and a teacher."""
    return replace(make_rehearsal_step(slots=(0,), seed=seed), teacher=make_tensors(fill))


def teacher_fill(store: Store) -> float | None:
    """Return the value that the teacher's parameters have; None without a teacher."""
    teacher = store.rehearsal.teacher(store.families.get("cartpole").id)
    return None if teacher is None else float(teacher["core.weight"][0, 0])


def test_a_family_has_the_teacher_of_its_last_step_that_gave_one(filled: Store) -> None:
    assert teacher_fill(filled) is None
    for fill in (1.0, 2.0):
        filled.learner_steps.commit(taught_step(fill), make_tensors(), {})
    filled.learner_steps.commit(make_rehearsal_step(slots=(1,)), make_tensors(), {})
    assert teacher_fill(filled) == 2.0
    assert filled.check() == []


def test_a_removed_family_has_no_teacher(filled: Store) -> None:
    filled.learner_steps.commit(taught_step(), make_tensors(), {})
    filled.families.set_state("cartpole", FamilyState.REMOVED)
    assert filled._connection.value("SELECT count(*) FROM rehearsal_teachers") == 0


def test_a_damaged_teacher_is_left_out_and_recorded_and_a_repair_drops_it(filled: Store, folder: DataFolder) -> None:
    filled.learner_steps.commit(taught_step(), make_tensors(), {})
    change_value(filled, "rehearsal_teachers", "parameters", "zeroblob(length(parameters))")
    assert teacher_fill(filled) is None
    assert [problem.key for problem in filled.damage.all()] == ["rehearsal_teachers:1"]
    assert [problem.key for problem in filled.check()] == ["rehearsal_teachers:1"]
    filled.close()
    report = repair(folder, may_roll_back=False)
    assert report.actions == ("dropped a teacher of a rehearsal reservoir, whose row was damaged",)
    assert report.remaining == ()
    with Store.open(folder) as store:
        assert (store.damage.all(), store.check()) == ([], [])
        assert len(store.rehearsal.trials(1)) == 3
