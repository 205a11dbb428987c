from __future__ import annotations

import numpy as np
import pytest

from memory.errors import CorruptFileError, ParentChangedError, VersionNotFoundError
from memory.folder import DataFolder
from memory.records import InitializationState
from memory.row_checksums import seal
from memory.store import Store
from tests.memory.making import Clock, make_score, make_tensors, publish_next


def reject(store: Store, fill: float, parent: int | None) -> None:
    store.initializations.reject(
        make_tensors(fill), scores=[make_score(score=0.1)], provenance={}, reason="acrobot fell", parent=parent
    )


def test_a_published_version_is_current_and_knows_its_parent(store: Store, clock: Clock) -> None:
    assert store.initializations.current() is None
    assert [publish_next(store, fill) for fill in (1.0, 2.0, 3.0)] == [1, 2, 3]
    current = store.initializations.current()
    assert current is not None
    assert (current.version, current.parent, current.state) == (3, 2, InitializationState.PUBLISHED)
    assert current.scores == (make_score(),)
    assert (current.provenance, current.reason, current.created_at) == (
        {"learner": "rl2"},
        "no family fell",
        clock.now,
    )
    np.testing.assert_array_equal(
        store.checkpoints.load_parameters(current.file)["core.weight"], make_tensors(3)["core.weight"]
    )
    assert [(entry.version, entry.is_current) for entry in store.initializations.all()] == [
        (3, True),
        (2, False),
        (1, False),
    ]


def test_a_candidate_scored_against_another_than_the_current_is_refused(store: Store) -> None:
    publish_next(store)
    publish_next(store)
    for parent in (None, 1, 7):
        with pytest.raises(ParentChangedError, match="version 2 is current"):
            store.initializations.publish(make_tensors(5), scores=[], provenance={}, reason="", parent=parent)
    assert len(store.initializations.all()) == 2


def test_a_rejected_candidate_keeps_its_scores_and_takes_no_version(store: Store) -> None:
    publish_next(store)
    reject(store, 2.0, parent=1)
    assert publish_next(store) == 2
    rejected = store.initializations.all()[1]
    assert (rejected.version, rejected.state, rejected.reason) == (None, InitializationState.REJECTED, "acrobot fell")
    assert rejected.scores == (make_score(score=0.1),)


def test_rolling_back_goes_to_the_parent_and_the_next_version_descends_from_it(store: Store) -> None:
    for fill in (1.0, 2.0):
        publish_next(store, fill)
    back = store.initializations.roll_back(reason="it forgot cartpole")
    assert (back.version, back.is_current) == (1, True)
    assert store.initializations.get(2).state is InitializationState.ROLLED_BACK
    assert publish_next(store, 3.0) == 3
    assert store.initializations.get(3).parent == 1
    assert store.initializations.roll_back(reason="again").version == 1


def test_rolling_back_to_a_named_version_works_in_both_directions(store: Store) -> None:
    for fill in (1.0, 2.0, 3.0):
        publish_next(store, fill)
    assert store.initializations.roll_back(to=1, reason="").version == 1
    assert store.initializations.roll_back(to=3, reason="").version == 3
    states = [store.initializations.get(version).state.value for version in (1, 2, 3)]
    assert states == ["rolled_back", "published", "published"]


def test_there_is_nothing_to_roll_back_to_before_the_second_version(store: Store) -> None:
    with pytest.raises(VersionNotFoundError, match="nothing has been published"):
        store.initializations.roll_back(reason="")
    publish_next(store)
    with pytest.raises(VersionNotFoundError, match="has no parent"):
        store.initializations.roll_back(reason="")
    with pytest.raises(VersionNotFoundError, match="9"):
        store.initializations.roll_back(to=9, reason="")
    with pytest.raises(VersionNotFoundError, match="current version already"):
        store.initializations.roll_back(to=1, reason="")


def test_a_version_whose_file_is_damaged_is_not_rolled_back_to(store: Store, folder: DataFolder) -> None:
    publish_next(store, 1.0)
    publish_next(store, 2.0)
    first = store.initializations.get(1).file
    (folder.parameters_path / f"{first.sha256}.safetensors").unlink()
    with pytest.raises(CorruptFileError):
        store.initializations.roll_back(reason="")
    current = store.initializations.current()
    assert current is not None
    assert (current.version, current.state) == (2, InitializationState.PUBLISHED)


def test_the_same_parameters_may_be_published_again(store: Store) -> None:
    publish_next(store, 1.0)
    publish_next(store, 2.0)
    publish_next(store, 1.0)
    assert store.initializations.get(1).file == store.initializations.get(3).file


def test_a_version_stored_with_scores_alone_still_loads(store: Store) -> None:
    publish_next(store)
    old = '[{"family":"cartpole","score":0.5,"standard_error":0.01,"published_score":null,"num_trials":64}]'
    with store._connection.transaction("writing what an older learnd wrote"):
        store._connection.execute("UPDATE initializations SET scores = ?", (old,))
        seal(store._connection, "initializations", 1)
    (score,) = store.initializations.get(1).scores
    assert (score.score, score.mean_return, score.published_return) == (0.5, None, None)
