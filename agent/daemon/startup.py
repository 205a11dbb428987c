"""The steps of a start of the daemon: the data folder, a full disk, a new store and the embedded families."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from agent.clock import Clock
from agent.daemon.store.thread import StoreThread
from envs.family import FamilySpec
from memory.errors import StoreFullError
from memory.folder import DataFolder, HeldFolder
from memory.opening import begin_anew
from memory.store import Store
from memory.upkeep.drill_folder import remove_abandoned_drills

log = structlog.get_logger(__name__)

T = TypeVar("T")


class BallastRetry:
    """A retry of steps of the start that fail because the disk is full.

    Args:
        folder: the data folder, with the ballast.

    Attributes:
        has_used_ballast: True if the ballast was removed.
    """

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self.has_used_ballast = False

    async def run(self, step: Callable[[], Awaitable[T]]) -> T:
        """Run a step of the start. On a full disk, remove the ballast and try once more.

        Raises:
            StoreFullError: the disk is full even without the ballast.
        """
        try:
            return await step()
        except StoreFullError as error:
            if not self._folder.release_ballast():
                raise
            log.warning("disk is full: the ballast was removed to make space for the start", error=str(error))
            self.has_used_ballast = True
            return await step()


async def hold_folder(folder: DataFolder) -> HeldFolder:
    """Create the data folder if it does not exist, hold it for the daemon, and remove what killed drills left in it.

    Raises:
        FolderInUseError: another daemon holds the folder.
        MemoryStoreError: the folder cannot be used.
    """
    folder.create()
    held = folder.hold("control")
    if num_removed := remove_abandoned_drills(folder.path):
        log.info("removed temporary folders of restore drills that were killed", folders=num_removed)
    return held


def replace_store(folder: DataFolder, clock: Clock) -> None:
    """Move a lost or damaged store aside, so that a new one is created.

    Raises:
        MemoryStoreError: a trainer holds the folder, or the store may not be replaced.
    """
    with folder.hold("learner"):
        aside = begin_anew(folder, clock=clock.wall)
    if aside is not None:
        log.warning("the old store was moved aside, and a new one is created", set_aside=str(aside))


async def add_embedded_families(writer: StoreThread, specs: Sequence[FamilySpec]) -> None:
    """Add families to a store that has never had one."""

    def add_all(store: Store) -> int:
        if store.families.all(with_removed=True):
            return 0
        for spec in specs:
            store.families.add(spec)
        return len(specs)

    if num_added := await writer.call(add_all):
        log.info("empty data folder: added the embedded families", families=num_added)
