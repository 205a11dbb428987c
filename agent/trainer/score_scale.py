"""The scale of a family's scores: fixed once its reference return is known, and absent until then."""

from __future__ import annotations

from agent.learners.evaluation.trials import Scale
from memory.records import Family


def scale_of(family: Family) -> Scale | None:
    """Return the family's scale; None where it has no reference return above the return of random actions.

    The reference is declared, registered with the environment, or measured once (:mod:`agent.reference`), and never
    moves with what is learned. Without one, returns are stored, shown and compared as they are.
    """
    if family.reference_return is None or not family.has_scale:
        return None
    return Scale(random_return=family.random_return or 0.0, reference_return=family.reference_return)
