"""Share the trainer session of the trainer tests."""

from __future__ import annotations

from tests.agent.trainer.conftest import folder, open_session, store

__all__ = ["folder", "open_session", "store"]
