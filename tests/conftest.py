"""Set-up of all tests: shapes are checked, each process has one thread, and settings of the machine are ignored."""

from __future__ import annotations

import os

from tests.shape_checks import install

os.environ["OMP_NUM_THREADS"] = "1"
"""Before torch is loaded: threads that wait for one another on busy cores make small tests slow."""

install(["agent", "envs", "memory"])

for name in [name for name in os.environ if name.startswith("LEARND_")]:
    del os.environ[name]
