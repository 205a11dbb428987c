"""Set-up of all tests: shapes are checked, each process has one thread, and settings of the machine are ignored."""

from __future__ import annotations

import os

from jaxtyping import install_import_hook

os.environ["OMP_NUM_THREADS"] = "1"
"""Before torch is loaded: threads that wait for one another on busy cores make small tests slow."""

SHAPE_CHECKED = (
    "agent.experiments.few_shot",
    "agent.experiments.policy_gradient",
    "agent.learners.distributions",
    "agent.learners.embedding",
    "agent.learners.evaluation",
    "agent.learners.gradient",
    "agent.learners.policy_gradient",
    "agent.learners.rl2",
    "agent.learners.team",
    "agent.policies",
    "agent.trainer.practice",
    "envs.few_shot",
    "envs.tensor",
)
"""Packages and modules whose annotations are checked at every call: every one that annotates shapes."""

install_import_hook(SHAPE_CHECKED, "beartype.beartype")

for name in [name for name in os.environ if name.startswith("LEARND_")]:
    del os.environ[name]
