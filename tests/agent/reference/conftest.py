"""Updates of a few steps for tests whose agent need not learn."""

from __future__ import annotations

import pytest

from agent.reference import training


@pytest.fixture
def update_steps(monkeypatch: pytest.MonkeyPatch) -> int:
    """Shorten updates to 16 instead of 256 steps of each environment; return the steps of an update in all."""
    monkeypatch.setattr(training, "STEPS_PER_UPDATE", 16)
    return 16 * training.NUM_ENVIRONMENTS
