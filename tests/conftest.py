"""Set-up of all tests: shapes are checked, each process has one thread, and settings of the machine are ignored."""

from __future__ import annotations

import os

from jaxtyping import install_import_hook

os.environ["OMP_NUM_THREADS"] = "1"
"""Before torch is loaded: threads that wait for one another on busy cores make small tests slow."""

install_import_hook(["agent.learners.rl2"], "beartype.beartype")

for name in [name for name in os.environ if name.startswith("LEARND_")]:
    del os.environ[name]
