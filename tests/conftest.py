"""What every test shares: shapes in signatures are checked, and no test reads the machine's own settings."""

from __future__ import annotations

import os

from jaxtyping import install_import_hook

install_import_hook(["agent.rl2"], "beartype.beartype")

for name in [name for name in os.environ if name.startswith("LEARND_")]:
    del os.environ[name]
