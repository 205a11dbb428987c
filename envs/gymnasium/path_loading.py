"""Loading of modules by their path, for the programs that run in a family's interpreter, where learnd is not installed.

It uses the standard library only and is itself loaded by its path (``runpy.run_path``).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load_by_path(path: Path, name: str, *submodules: str) -> ModuleType:
    """Return a module or package that is loaded by its path, without a change of the path of imports.

    Args:
        path: the file of a module, or the folder of a package.
        name: the name that it gets in this process, which hides no module of a user.
        submodules: the modules of the package to load with it.

    Raises:
        ImportError: there is none at the path.
    """
    is_package = path.is_dir()
    file, folders = (path / "__init__.py", [str(path)]) if is_package else (path, None)
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is missing.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    for submodule in submodules:
        importlib.import_module(f"{name}.{submodule}")
    return module
