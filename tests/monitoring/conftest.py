"""Share the filled store of the command-line tests."""

from __future__ import annotations

from tests.agent.cli.conftest import filled, template

__all__ = ["filled", "template"]
