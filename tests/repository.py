"""The root folder of the repository, for tests that read its documents and other files."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
