"""Shapes in the signatures of the learners are checked as their tests run."""

from __future__ import annotations

from jaxtyping import install_import_hook

CHECKED = ("gradient", "policy_gradient")

install_import_hook([f"agent.learners.{name}" for name in CHECKED], "beartype.beartype")
