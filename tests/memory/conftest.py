from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memory.folder import DataFolder
from memory.store import Store
from tests.memory.making import Clock


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "learnd")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(folder: DataFolder, clock: Clock, new_store: Callable[[Path], DataFolder]) -> Iterator[Store]:
    with Store.open(new_store(folder.path), clock=clock) as opened:
        yield opened
