"""Trials as Minari data sets: Minari opens them, and import gives the same trials back."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import h5py
import minari
import numpy as np
import pytest

from envs.spaces import ActionKind, ActionSpec, ImageShape, ObservationKind, ObservationSpec, SpacePair
from memory.errors import ArchiveError, TrialNotFoundError
from memory.exchange.archive import ArchiveForm
from memory.exchange.exporting import export_trials
from memory.exchange.importing import import_trials
from memory.exchange.minari_format import data_folder
from memory.exchange.recalling import recall_of_archive
from memory.folder import DataFolder
from memory.records import ContextKey, EpisodeRecord, TrialRecord
from memory.store import Store
from memory.tables.trials import PackedTrial
from tests.memory.exchange.test_exchange import admit, trials_of
from tests.memory.making import make_step, make_tensors, same_trial

CELLS = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.DISCRETE, size=5),
    action=ActionSpec(kind=ActionKind.MULTI_DISCRETE, choices=(2, 3), start=(0, 0)),
)
TORQUES = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.VECTOR, size=3),
    action=ActionSpec(kind=ActionKind.CONTINUOUS, low=(-2.0, -1.0), high=(2.0, 1.0)),
)
FILM = SpacePair(
    observation=ObservationSpec(
        kind=ObservationKind.IMAGE, size=1, images=(ImageShape(height=8, width=9, channels=3),)
    ),
    action=ActionSpec(kind=ActionKind.CONTINUOUS, low=(-2.0, -1.0), high=(2.0, 1.0)),
)


GEARS = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.VECTOR, size=3),
    action=ActionSpec(kind=ActionKind.MIXED, choices=(3,), low=(-1.0,), high=(1.0,), start=(0,)),
)


def trial(spaces: SpacePair, *, seed: int) -> TrialRecord:
    draw = np.random.default_rng(seed)

    def episode(steps: int) -> EpisodeRecord:
        width = spaces.observation.width
        is_index = spaces is CELLS
        seen = draw.integers(5, size=(steps + 1, 1)) if is_index else draw.normal(size=(steps + 1, width))
        actions = draw.integers(2, size=(steps, 2)) if is_index else draw.normal(size=(steps, 2)).astype(np.float32)
        if spaces is GEARS:
            actions[:, 0] = draw.integers(3, size=steps)
        rewards = draw.normal(size=steps).astype(np.float32)
        if spaces is FILM:
            seen = draw.integers(256, size=(steps + 1, width))
        return EpisodeRecord(
            observations=seen.astype(spaces.observation.dtype),
            actions=actions,
            rewards=rewards,
            is_terminated=bool(steps % 2),
        )

    episodes = tuple(episode(int(steps)) for steps in draw.integers(1, 9, size=3))
    return TrialRecord(task={"seed": seed}, episodes=episodes, context=ContextKey(digest=bytes([seed]) * 16))


@pytest.fixture
def exported(store: Store, tmp_path: Path) -> Path:
    """Return a folder with the data sets of two families, of two trials each."""
    for name, spaces in (("cells", CELLS), ("torques", TORQUES), ("gears", GEARS), ("film", FILM)):
        admit(store, name, spaces=spaces)
        step = make_step(name)
        trials = tuple(trial(spaces, seed=seed) for seed in range(2))
        store.learner_steps.commit(replace(step, trials=trials), make_tensors(), {})
    folder = tmp_path / "datasets"
    report = export_trials(store, folder, now=1.0, form=ArchiveForm.MINARI)
    assert (report.families, report.episodes) == ({"cells": 2, "torques": 2, "gears": 2, "film": 2}, 24)
    return folder


@pytest.fixture
def other(tmp_path: Path) -> Store:
    opened = Store.open(DataFolder(tmp_path / "other"))
    admit(opened, "cells", spaces=CELLS)
    admit(opened, "torques", spaces=TORQUES)
    admit(opened, "gears", spaces=GEARS)
    admit(opened, "film", spaces=FILM)
    return opened


def test_minari_loads_the_data_set_of_a_family(store: Store, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(exported))
    data = minari.load_dataset("learnd/cells-v0")
    episodes = [episode for one in trials_of(store, "cells") for episode in one.episodes]
    assert data.total_episodes == len(episodes)
    assert data.total_steps == sum(len(episode.rewards) for episode in episodes)
    for found, expected in zip(data.iterate_episodes(), episodes, strict=True):
        assert found.observations.tolist() == expected.observations[:, 0].tolist()
        assert found.rewards.tolist() == expected.rewards.tolist()
        assert bool(found.terminations[-1]) == expected.is_terminated != bool(found.truncations[-1])
        assert data.action_space.contains(found.actions[0])
        assert data.observation_space.contains(found.observations[0])


def test_import_gives_the_same_trials_back_and_twice_adds_nothing(store: Store, other: Store, exported: Path) -> None:
    assert import_trials(other, exported).imported == {"cells": 2, "torques": 2, "gears": 2, "film": 2}
    for name in ("cells", "torques", "gears", "film"):
        found, expected = trials_of(other, name), trials_of(store, name)
        assert all(same_trial(one, another) for one, another in zip(found, expected, strict=True))
        assert [one.context and one.context.digest for one in found] == [bytes([0]) * 16, bytes([1]) * 16]
    assert import_trials(other, exported).imported == {"cells": 0, "torques": 0, "gears": 0, "film": 0}
    assert import_trials(store, exported).imported == {"cells": 0, "torques": 0, "gears": 0, "film": 0}
    assert other.check() == []


def test_a_changed_number_or_a_missing_episode_is_found_and_nothing_is_imported(other: Store, exported: Path) -> None:
    path = data_folder(exported, "torques") / "main_data.hdf5"
    with h5py.File(path, "a") as file:
        rewards = file["episode_4"]["rewards"]
        rewards[0] = rewards[0] + 1.0
    with pytest.raises(ArchiveError, match="does not match its checksum"):
        import_trials(other, exported)
    with h5py.File(path, "a") as file:
        del file["episode_4"]
    with pytest.raises(ArchiveError, match="cannot be read"):
        import_trials(other, exported)
    assert other.stats.memory_stats().trials == 0


def test_metadata_of_another_form_is_found(exported: Path) -> None:
    for own in ("[1]", 5, "{}"):
        with h5py.File(data_folder(exported, "cells") / "main_data.hdf5", "r+") as file:
            file["episode_0"].attrs["learnd"] = own
        with pytest.raises(ArchiveError, match="cannot be read"):
            recall_of_archive(exported)


def test_a_folder_without_data_sets_of_learnd_is_refused(other: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArchiveError, match="no data set of learnd"):
        import_trials(other, tmp_path / "empty")


def test_an_existing_folder_is_not_replaced(store: Store, exported: Path) -> None:
    before = sorted(exported.rglob("*"))
    with pytest.raises(ArchiveError, match="exists already"):
        export_trials(store, exported, now=1.0, form=ArchiveForm.MINARI)
    assert sorted(exported.rglob("*")) == before


def test_without_minari_the_error_says_what_to_install(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ArchiveError, match=r"pip install .learnd\[minari\]"):
        export_trials(store, tmp_path / "datasets", now=1.0, form=ArchiveForm.MINARI)
    assert not (tmp_path / "datasets").exists()


def test_a_family_without_trials_is_left_out(store: Store, other: Store, tmp_path: Path) -> None:
    for name, spaces in (("cells", CELLS), ("gears", GEARS), ("torques", TORQUES)):
        admit(store, name, spaces=spaces)
    step = make_step("gears")
    store.learner_steps.commit(replace(step, trials=(trial(GEARS, seed=1),)), make_tensors(), {})
    folder = tmp_path / "datasets"
    report = export_trials(store, folder, now=1.0, form=ArchiveForm.MINARI)
    assert report.families == {"cells": 0, "gears": 1, "torques": 0}
    assert import_trials(other, folder).imported == {"gears": 1}


def test_without_any_trial_no_folder_is_written(store: Store, tmp_path: Path) -> None:
    admit(store, "cells", spaces=CELLS)
    with pytest.raises(ArchiveError, match="there are no trials to export"):
        export_trials(store, tmp_path / "datasets", now=1.0, form=ArchiveForm.MINARI)
    assert not (tmp_path / "datasets").exists()


def test_trials_that_prune_removes_during_an_export_are_left_out(
    store: Store, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit(store, "cells", spaces=CELLS)
    trials = tuple(trial(CELLS, seed=seed) for seed in range(3))
    store.learner_steps.commit(replace(make_step("cells"), trials=trials), make_tensors(), {})
    load, removed = store.trials.load_packed, store.trials.of_family("cells", limit=1)[0].id

    def load_unless_removed(number: int) -> PackedTrial:
        if number == removed:
            raise TrialNotFoundError(operation="loading", subject="trial", found="it was pruned.")
        return load(number)

    monkeypatch.setattr(store.trials, "load_packed", load_unless_removed)
    folder = tmp_path / "datasets"
    assert export_trials(store, folder, now=1.0, form=ArchiveForm.MINARI).families == {"cells": 2}
    assert import_trials(other, folder).imported == {"cells": 2}
