"""The scale of a family's scores: what is known of it, and how it moves where no reference was declared."""

from __future__ import annotations

from agent.learners.evaluation.trials import Scale
from agent.trainer.session import TrainerSession
from memory.records import Family


def scale_of(session: TrainerSession, family: Family, *, best_return: float) -> Scale:
    """The family's scale; where it has no reference, the best evaluation so far becomes it.

    Args:
        session: the learner's state.
        family: the family as the store knows it.
        best_return: mean trial return just measured.
    """
    known = known_scale(family)
    if known is None or (not has_declared_reference(family) and best_return > known.reference_return):
        random_return = family.random_return or 0.0
        known = Scale(random_return=random_return, reference_return=max(best_return, random_return))
        session.store.families.raise_reference(family.name, known.reference_return)
    return known


def known_scale(family: Family) -> Scale | None:
    """The family's scale as it stands; None until it has a reference."""
    if family.reference_return is None:
        return None
    return Scale(random_return=family.random_return or 0.0, reference_return=family.reference_return)


def has_declared_reference(family: Family) -> bool:
    """Whether the return of score 1 was declared or found at admission, and so does not move."""
    return family.spec.get("reference_return") is not None or bool(family.spec.get("reference_source"))
