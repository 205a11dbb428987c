"""A booted machine for each module of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.booted.machine import Machine, NoMachineError


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Return a booted machine; without one the test is skipped with the reason."""
    try:
        with Machine() as booted:
            yield booted
    except NoMachineError as error:
        pytest.skip(f"no machine can be booted here: {error}")
