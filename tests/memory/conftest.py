from __future__ import annotations

from collections.abc import Iterator
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
def store(folder: DataFolder, clock: Clock) -> Iterator[Store]:
    with Store.open(folder, clock=clock) as opened:
        yield opened
