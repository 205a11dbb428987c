"""What the kernel of this machine enforces, for tests that need it."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from envs.gymnasium.isolation_report import isolation_report
from envs.limits import WorkerLimits


@cache
def enforced() -> dict[str, Any]:
    """Return what the isolation of a worker enforces on this machine."""
    return isolation_report(WorkerLimits())


def require(*parts: str) -> None:
    """Skip a test if the kernel does not enforce one of the parts."""
    for part in parts:
        if not enforced()[part]:
            pytest.skip(f"the kernel does not enforce it here: {part}")
