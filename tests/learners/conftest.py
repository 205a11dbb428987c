"""Shapes in the signatures of the learners are checked as their tests run."""

from __future__ import annotations

from jaxtyping import install_import_hook

install_import_hook(
    [f"agent.learners.{name}" for name in ("functional", "maml", "reptile", "meta_sgd", "platipus")],
    "beartype.beartype",
)
