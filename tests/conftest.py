"""Set-up of all tests: shapes are checked, and settings, cores and speed of the machine do not count."""

from __future__ import annotations

import gc
import itertools
import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.shape_checks import install

if TYPE_CHECKING:
    from memory.folder import DataFolder

os.environ["OMP_NUM_THREADS"] = "1"
"""Before torch is loaded: threads that wait for one another on busy cores make small tests slow."""

install(["agent", "envs", "memory"])

# An example of a property may take any time: by default, one of more than 0.2 s fails on a busy machine.
settings.register_profile("learnd", deadline=None)
settings.load_profile("learnd")

for name in [name for name in os.environ if name.startswith("LEARND_")]:
    del os.environ[name]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control starts its background processes so, and tests of Ctrl-C need the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)


TESTS_BETWEEN_FREEZES = 100
_tests_run = itertools.count(1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave the modules and the tests out of garbage collections, which take half a second each with them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Leave what earlier tests loaded out of garbage collections, too: with it, a full collection took 0.15 s."""
    if next(_tests_run) % TESTS_BETWEEN_FREEZES == 0:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], DataFolder]:
    """Return a function that makes a data folder with an empty store: a copy, for the tests that only begin with one.

    A store is made with a dozen tables, each written to the disk: 18 ms of processor time where a copy takes 3.
    """
    from memory.folder import DataFolder
    from memory.store import Store
    from tests.data_folders import copied

    folder = DataFolder(tmp_path_factory.mktemp("new") / "store")
    Store.open(folder).close()
    return lambda path: copied(folder.path, path)
