"""Export to an archive and import from it: equal trials, no trial twice, and no damaged or foreign file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair
from memory.errors import ArchiveError, CorruptFileError, FamilyNotFoundError, MemoryStoreError
from memory.exchange.exporting import export_trials
from memory.exchange.importing import import_trials
from memory.exchange.recalling import recall_of_archive
from memory.folder import DataFolder
from memory.records import ContextKey, EpisodeRecord, TrialRecord
from memory.retrieval.recall import MAX_TRIALS_OF_A_TASK
from memory.store import Store
from tests.memory.damage import damage_episode
from tests.memory.making import make_spec, make_step, make_tensors, prune_only, same_trial

SPACES = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.VECTOR, size=4),
    action=ActionSpec(kind=ActionKind.DISCRETE, choices=(2,), start=(0,)),
)
OTHER = SpacePair(observation=SPACES.observation, action=ActionSpec(kind=ActionKind.DISCRETE, choices=(3,), start=(0,)))
KEY = ContextKey(digest=b"k" * 16)


def admit(store: Store, *names: str, spaces: SpacePair = SPACES) -> None:
    for name in names:
        store.families.add(make_spec(name))
        store.families.admit(name, spaces=spaces.to_json(), random_return=0.0, reference_return=None)


def commit(store: Store, name: str, *, seed: int, trials: int = 3) -> None:
    step = make_step(name, seed=seed, trials=trials)
    keyed = tuple(replace(trial, context=KEY) for trial in step.trials)
    store.learner_steps.commit(replace(step, trials=keyed), make_tensors(seed), {})


def trials_of(store: Store, name: str) -> list[TrialRecord]:
    return [store.trials.load(row.id) for row in store.trials.of_family(name, limit=99, newest_first=False)]


@pytest.fixture
def archive(store: Store, tmp_path: Path) -> Path:
    """Return an archive of three trials of the family a and six of the family b."""
    admit(store, "a", "b")
    for seed, name in enumerate(("b", "a", "b")):
        commit(store, name, seed=seed)
    path = tmp_path / "trials.learnd"
    report = export_trials(store, path, now=5.0)
    assert report.families == {"a": 3, "b": 6}
    assert report.size_bytes == path.stat().st_size
    return path


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store.open(DataFolder(tmp_path / "other"))


def test_imported_trials_equal_those_that_were_exported(store: Store, other: Store, archive: Path) -> None:
    admit(other, "b", "a")
    commit(other, "a", seed=7)
    report = import_trials(other, archive)
    assert (report.imported, report.store) == ({"a": 3, "b": 6}, store.identity())
    for name, kept in (("a", 3), ("b", 0)):
        found, expected = trials_of(other, name)[kept:], trials_of(store, name)
        assert len(found) == len(expected)
        assert all(same_trial(one, another) for one, another in zip(found, expected, strict=True))
        assert {trial.context and trial.context.digest for trial in found} == {KEY.digest}
    assert other.imported.trial_ids("a") == [4, 5, 6]
    assert other.families.get("b").totals.trials == 0
    assert other.stats.memory_stats().trials == 12
    assert other.check() == []


def test_the_same_file_twice_adds_nothing_and_neither_does_the_store_that_wrote_it(
    store: Store, other: Store, archive: Path
) -> None:
    admit(other, "a", "b")
    import_trials(other, archive)
    again = import_trials(other, archive)
    assert (again.imported, again.already_present) == ({"a": 0, "b": 0}, {"a": 3, "b": 6})
    assert import_trials(store, archive).imported == {"a": 0, "b": 0}
    assert store.imported.trial_ids("b") == []


def test_a_killed_import_is_finished_by_another(other: Store, archive: Path) -> None:
    admit(other, "a", "b")

    def stop_at_b(_family_id: int, trial_ids: Any) -> None:
        if len(trial_ids) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_trials(other, archive, after=stop_at_b)
    assert (len(trials_of(other, "a")), len(trials_of(other, "b"))) == (3, 0)
    report = import_trials(other, archive)
    assert (report.imported, report.already_present) == ({"a": 0, "b": 6}, {"a": 3, "b": 0})


def test_the_caller_may_record_more_about_imported_trials_in_their_transaction(other: Store, archive: Path) -> None:
    admit(other, "a", "b")
    told: list[tuple[int, list[int]]] = []
    import_trials(other, archive, after=lambda family_id, trial_ids: told.append((family_id, list(trial_ids))))
    assert told == [(1, [1, 2, 3]), (2, [4, 5, 6, 7, 8, 9])]


def test_every_changed_byte_is_found_and_nothing_is_imported(other: Store, archive: Path, tmp_path: Path) -> None:
    admit(other, "a", "b")
    content = archive.read_bytes()
    damaged = tmp_path / "damaged.learnd"
    for place in range(0, len(content), 97):
        changed = bytearray(content)
        changed[place] ^= 0x10
        damaged.write_bytes(bytes(changed))
        with pytest.raises(ArchiveError, match=r"damaged|no archive"):
            import_trials(other, damaged)
    assert other.stats.memory_stats().trials == 0


@pytest.mark.parametrize(
    "cut",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content + b"x",
        lambda _: b"",
    ],
    ids=["last byte", "half", "more", "empty"],
)
def test_a_file_that_is_cut_off_or_too_long_is_refused(
    other: Store, archive: Path, cut: Callable[[bytes], bytes]
) -> None:
    admit(other, "a", "b")
    archive.write_bytes(cut(archive.read_bytes()))
    with pytest.raises(ArchiveError, match=r"damaged|no archive"):
        import_trials(other, archive)
    assert other.stats.memory_stats().trials == 0


def test_a_family_that_is_missing_not_admitted_or_of_other_spaces_is_refused(other: Store, archive: Path) -> None:
    admit(other, "a")
    with pytest.raises(ArchiveError, match=r"'b', which this store does not have.*env add"):
        import_trials(other, archive)
    other.families.add(make_spec("b"))
    with pytest.raises(ArchiveError, match="'b' is not an admitted family"):
        import_trials(other, archive)
    other.families.admit("b", spaces=OTHER.to_json(), random_return=0.0, reference_return=None)
    with pytest.raises(ArchiveError, match="'b' has other spaces here"):
        import_trials(other, archive)
    assert other.stats.memory_stats().trials == 0


def test_a_trial_that_does_not_fit_its_spaces_is_refused(store: Store, other: Store, tmp_path: Path) -> None:
    admit(store, "a")
    admit(other, "a")
    path = tmp_path / "wrong.learnd"
    step = make_step("a", trials=1)
    [good] = [step.trials[0].episodes[0]]
    for wrong in (
        replace(good, actions=good.actions + 2),
        replace(good, actions=good.actions.astype(np.float32)),
        replace(good, observations=good.observations[:, :3]),
        replace(good, observations=good.observations[1:]),
        replace(good, observations=good.observations.astype(np.uint8)),
    ):
        store.learner_steps.commit(replace(step, trials=(of(wrong),)), make_tensors(), {})
        export_trials(store, path, now=0.0)
        with pytest.raises(ArchiveError, match="does not fit the spaces"):
            import_trials(other, path)
        store.prune(prune_only(max_episode_bytes=0, min_trials_per_family=0))


def of(episode: EpisodeRecord) -> TrialRecord:
    return TrialRecord(task={}, episodes=(episode,))


def test_families_whose_tasks_are_others_in_the_archive_are_named(other: Store, archive: Path) -> None:
    admit(other, "b")
    other.families.add(replace(make_spec("a"), kwargs={"size": 2}))
    other.families.admit("a", spaces=SPACES.to_json(), random_return=0.0, reference_return=None)
    assert import_trials(other, archive).declared_otherwise == ("a",)


def test_chosen_families_alone_are_exported(store: Store, other: Store, archive: Path) -> None:
    assert export_trials(store, archive, names=["b"], now=0.0).families == {"b": 6}
    admit(other, "b")
    assert import_trials(other, archive).imported == {"b": 6}
    with pytest.raises(FamilyNotFoundError):
        export_trials(store, archive, names=["c"], now=0.0)
    store.families.add(make_spec("pending"))
    with pytest.raises(MemoryStoreError, match="not an admitted family"):
        export_trials(store, archive, names=["pending"], now=0.0)


def test_a_damaged_trial_stops_the_export_and_the_old_file_stays(store: Store, archive: Path) -> None:
    before = archive.read_bytes()
    damage_episode(store, 2)
    with pytest.raises(CorruptFileError, match="doctor --repair"):
        export_trials(store, archive, now=0.0)
    assert archive.read_bytes() == before
    assert [path.name for path in archive.parent.iterdir() if "tmp" in path.name] == []


def test_prune_removes_the_marks_with_their_trials(other: Store, archive: Path) -> None:
    admit(other, "a", "b")
    import_trials(other, archive)
    other.prune(prune_only(max_episode_bytes=0, min_trials_per_family=1))
    assert (other.imported.trial_ids("a"), other.imported.trial_ids("b")) == ([3], [9])
    assert other._connection.value("SELECT count(*) FROM imported_trials") == 2
    assert other.check() == []


def test_trials_of_an_archive_are_recalled_by_their_context(store: Store, archive: Path) -> None:
    [recall] = recall_of_archive(archive)
    assert (recall.spaces, len(recall)) == (SPACES, 9)
    found = recall.find(np.zeros(4, np.float32), context=KEY.digest)
    archived = trials_of(store, "b")[-MAX_TRIALS_OF_A_TASK:]  # the family of the newest trials with this context
    assert all(same_trial(one, other) for one, other in zip(found.trials, archived, strict=True))
    assert recall.find(np.zeros(4, np.float32), context=b"x" * 16).trials == ()


def test_a_damaged_archive_recalls_nothing(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[-100] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match="damaged"):
        recall_of_archive(archive)
