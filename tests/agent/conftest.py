"""A policy that has learned, for the tests that only go on with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from memory.folder import DataFolder
from memory.store import Store
from tests.data_folders import copied

LEARNED_GROUP = pytest.mark.xdist_group("learned bandits")
"""The mark of tests with a policy that learned bandits, so that one process trains it for all of them."""

UPDATES = 40


@pytest.fixture(scope="session")
def learned_bandits(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], DataFolder]:
    """Return a function that copies the data folder of a policy that learned three arms, the family "bandits"."""
    from tests.agent.trainer.conftest import feed_bandits, practise, sessions

    folder = DataFolder(tmp_path_factory.mktemp("learned") / "store")
    with Store.open(folder) as store, sessions() as open_session:
        session, family = open_session(store), feed_bandits(store)
        for _ in range(UPDATES):
            practise(session, family, reason="test")

    def copy(path: Path) -> DataFolder:
        return copied(folder.path, path)

    return copy
