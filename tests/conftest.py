"""Set-up of all tests: shapes are checked, a process has one thread, settings and speed of the machine do not count."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator

import hypothesis
import pytest

from tests.shape_checks import install

os.environ["OMP_NUM_THREADS"] = "1"
"""Before torch is loaded: threads that wait for one another on busy cores make small tests slow."""

install(["agent", "envs", "memory"])

for name in [name for name in os.environ if name.startswith("LEARND_")]:
    del os.environ[name]

hypothesis.settings.register_profile("any speed", deadline=None)
hypothesis.settings.load_profile("any speed")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control starts its background processes so, and tests of Ctrl-C need the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave the modules and the tests out of garbage collections, which take half a second each with them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
