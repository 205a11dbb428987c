"""Confine this process as a worker would be, and print as JSON what the kernel enforces: ``__main__.py PLAN``."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

PACKAGE = "_learnd_isolation"


def main() -> None:
    """Apply the plan in the first argument, and print what is enforced."""
    folder = Path(__file__).resolve().parent
    load_by_path = runpy.run_path(str(folder.with_name("path_loading.py")))["load_by_path"]
    isolation = load_by_path(folder, PACKAGE, "confinement", "process_group")
    plan = json.loads(sys.argv[1])
    # As in a worker, whose supervisor does this.
    groups = {}
    if isolation.process_group.put_into_group(os.getpid(), plan["tasks"]):
        groups = {"processes": "control group"}
    print(json.dumps(isolation.confinement.confine(plan) | groups))  # noqa: T201 -- the answer


if __name__ == "__main__":
    main()
