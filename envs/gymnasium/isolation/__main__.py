"""Confine this process as a worker would be, and print as JSON what the kernel enforces: ``__main__.py PLAN``."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path

PACKAGE = "_learnd_isolation"


def main() -> None:
    """Apply the plan in the first argument, and print what is enforced."""
    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is not a package.")
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    confine = importlib.import_module(f"{PACKAGE}.confinement").confine
    put_into_group = importlib.import_module(f"{PACKAGE}.process_group").put_into_group
    plan = json.loads(sys.argv[1])
    # As in a worker, whose supervisor does this.
    groups = {"processes": "control group"} if put_into_group(os.getpid(), plan["tasks"]) else {}
    print(json.dumps(confine(plan) | groups))  # noqa: T201 -- the answer


if __name__ == "__main__":
    main()
