"""The start of the host program by its path, without a change of the path from which a user's modules are imported."""

from __future__ import annotations

import runpy
from pathlib import Path

PACKAGE = "_learnd_host"
"""Name of the package in a worker; it hides no module of a user."""

if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    load_by_path = runpy.run_path(str(folder.with_name("path_loading.py")))["load_by_path"]
    load_by_path(folder, PACKAGE, "serving").serving.main()
