from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.daemon.store.thread import StoreThread
from memory.errors import StoreFullError
from memory.folder import DataFolder
from memory.store import Store


def test_a_store_that_could_not_be_opened_can_be_opened_later(tmp_path: Path) -> None:
    failures = [StoreFullError(operation="opening", subject="store", found="full")]

    def open_store() -> Store:
        if failures:
            raise failures.pop()
        return Store.open(DataFolder(tmp_path / "data"))

    async def use() -> list[object]:
        thread = StoreThread("writer", open_store)
        with pytest.raises(StoreFullError):
            await thread.open()
        await thread.open()
        families = await thread.call(lambda store: store.families.all())
        await thread.close()
        return list(families)

    assert asyncio.run(use()) == []
