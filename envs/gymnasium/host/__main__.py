"""The start of the host program by its path, without a change of the path from which a user's modules are imported."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = "_learnd_host"
"""Name of the package in a worker; it hides no module of a user."""


def serving_module() -> ModuleType:
    """Load this folder as a package, from its path alone, and return the module with the main function."""
    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is not a package.")
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    return importlib.import_module(f"{PACKAGE}.serving")


if __name__ == "__main__":
    serving_module().main()
