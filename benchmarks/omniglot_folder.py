"""Where benchmarks look for Omniglot."""

from __future__ import annotations

import os
from pathlib import Path


def omniglot_folder(asked: Path | None) -> Path:
    """The folder that was asked for, else ``LEARND_OMNIGLOT``, else the usual place; it need not be there."""
    return asked or Path(os.environ.get("LEARND_OMNIGLOT", "../shared/data/omniglot"))
