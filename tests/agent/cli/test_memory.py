"""Tests of `learnd memory backups` and `learnd memory restore` on a real data folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from memory.folder import DataFolder
from memory.records import FamilyTotals, LearnerStep
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.cli.filled_store import a_trial


def _back_up(folder: DataFolder) -> Path:
    with Store.open(folder) as store:
        return store.back_up(keep=3).path


def test_restoring_the_newest_backup_brings_back_what_was_lost(learnd: Learnd, filled: DataFolder) -> None:
    families = learnd.json("env", "list")["families"]
    backup = _back_up(filled)
    assert [found["name"] for found in learnd.json("memory", "backups")["backups"]] == [backup.name]
    filled.store_path.write_bytes(b"spilt coffee")

    answer = learnd.json("memory", "restore", "newest")

    assert Path(answer["set_aside"]).read_bytes() == b"spilt coffee"
    assert learnd.json("env", "list")["families"] == families


def test_stats_say_how_many_trials_of_each_family_are_for_rehearsal(learnd: Learnd, filled: DataFolder) -> None:
    trials = tuple(replace(a_trial(np.random.default_rng(slot)), rehearsal_slot=slot) for slot in (3, 9))
    step = LearnerStep(
        family="cartpole",
        practised=FamilyTotals(trials=2),
        trials=trials,
        points=(),
        started_at=0.0,
        finished_at=1.0,
    )
    with Store.open(filled) as store:
        store.learner_steps.commit(step, {"weight": np.zeros(3, np.float32)}, {})
    families = learnd.json("memory", "stats")["families"]
    assert {family["family"]: family["rehearsal_trials"] for family in families} == {
        family["family"]: 2 if family["family"] == "cartpole" else 0 for family in families
    }
    assert "rehearsal" in learnd("memory", "stats").output


def test_a_backup_carried_elsewhere_is_restored_by_its_path(learnd: Learnd, filled: DataFolder, tmp_path: Path) -> None:
    carried = shutil.copytree(_back_up(filled), tmp_path / "carried")
    filled.store_path.unlink()
    answer = learnd.json("memory", "restore", str(carried))
    assert answer["set_aside"] is None
    assert learnd.json("policy", "list")["versions"]


def test_a_running_service_keeps_its_store(learnd: Learnd, filled: DataFolder) -> None:
    backup = _back_up(filled)
    with filled.hold("control"):
        error = learnd.json("memory", "restore", backup.name, code=1)["error"]
    assert str(filled.path) in error["subject"] + error["found"]
    assert not list(filled.path.glob("replaced-*"))


def test_a_damaged_backup_is_refused_and_nothing_touched(learnd: Learnd, filled: DataFolder) -> None:
    backup = _back_up(filled)
    parameters = next((backup / "parameters").glob("*.safetensors"))
    content = bytearray(parameters.read_bytes())
    content[-1] ^= 1
    parameters.unlink()  # It may be a hard link to the file of another backup.
    parameters.write_bytes(bytes(content))
    before = filled.store_path.read_bytes()
    error = learnd.json("memory", "restore", "newest", code=1)["error"]
    assert parameters.stem[:8] in error["found"]
    assert filled.store_path.read_bytes() == before


def test_an_unknown_backup_is_told_with_those_there_are(learnd: Learnd, filled: DataFolder) -> None:
    backup = _back_up(filled)
    error = learnd.json("memory", "restore", "yesterday", code=1)["error"]
    assert backup.name in error["hint"]


def test_newest_is_the_backup_made_last_whatever_the_clock_said(learnd: Learnd, filled: DataFolder) -> None:
    with Store.open(filled, clock=lambda: 4e9) as store:
        ahead = store.back_up(keep=5).path
    newest = _back_up(filled)
    backups = learnd.json("memory", "backups")["backups"]
    assert [(found["name"], found["sequence"], found["is_from_future"]) for found in backups] == [
        (newest.name, 2, False),
        (ahead.name, 1, True),
    ]
    assert learnd.json("memory", "restore", "newest")["backup"] == str(newest)
    page = learnd("memory", "backups").stdout
    assert "from the future" in page
    assert "the clock" in page


def test_newest_is_never_a_backup_of_another_store(learnd: Learnd, filled: DataFolder, tmp_path: Path) -> None:
    own = _back_up(filled)
    with Store.open(DataFolder(tmp_path / "other")) as other:
        for _ in range(3):
            foreign = other.back_up(keep=9).path
    foreign.rename(filled.backups_path / "2099-01-01T00-00-00.000000Z")
    assert learnd.json("memory", "restore", "newest")["backup"] == str(own)


def test_backups_of_another_store_are_said_to_be_that(learnd: Learnd, filled: DataFolder, tmp_path: Path) -> None:
    with Store.open(DataFolder(tmp_path / "other")) as other:
        foreign = other.back_up(keep=9).path.rename(filled.backups_path / "2099-01-01T00-00-00.000000Z")
    error = learnd.json("memory", "restore", "newest", code=1)["error"]
    assert "another store" in error["found"]
    assert foreign.name in error["hint"]
    assert "of another store" in learnd("memory", "backups").stdout
    assert learnd.json("memory", "restore", foreign.name)["backup"] == str(foreign)
    assert "of another store" not in learnd("memory", "backups").stdout


def test_a_backup_that_is_not_clean_says_so_and_is_restored(learnd: Learnd, filled: DataFolder) -> None:
    _damage_an_episode(filled)
    backup = _back_up(filled)
    (listed,) = learnd.json("memory", "backups")["backups"]
    assert (listed["name"], listed["is_clean"], len(listed["damaged"])) == (backup.name, False, 1)
    assert "damaged" in learnd("memory", "backups").stdout
    assert len(learnd.json("memory", "restore", "newest")["damaged"]) == 1
    assert "damaged when it was backed up: trial" in learnd("memory", "restore", "newest").stdout


def _damage_an_episode(folder: DataFolder) -> None:
    with Store.open(folder) as store, store._connection.transaction("damaging an episode"):
        store._connection.execute("UPDATE episodes SET payload = zeroblob(length(payload)) WHERE id = 1")


def test_a_dry_run_checks_a_backup_and_changes_nothing(learnd: Learnd, filled: DataFolder) -> None:
    with Store.open(filled) as store:
        backup = store.back_up(keep=1).path
    with filled.hold("control"):
        answer = learnd.json("memory", "restore", "newest", "--dry-run")
        assert (answer["backup"], answer["num_families"], answer["damaged"]) == (str(backup), 6, [])
        assert "can be restored; nothing was changed" in learnd("memory", "restore", "newest", "--dry-run").stdout
    assert not list(filled.path.glob("replaced-*"))
