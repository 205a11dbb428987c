"""The kinds of families. Nothing here loads numpy, so that the command line can import it without delay."""

from __future__ import annotations

from enum import StrEnum


class FamilyKind(StrEnum):
    """A kind of family: what its tasks are, which decides how they are practised, scored and published."""

    ENVIRONMENTS = "environments"
    """Environments, which are played in trials; one policy with a network for each space pair plays them all."""

    FEW_SHOT = "few_shot"
    """Supervised tasks with a support and a query set; each such family has a learner and parameters of its own."""
