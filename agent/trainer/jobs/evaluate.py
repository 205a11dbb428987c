"""The evaluate job: score what has been practised on held-out tasks."""

from __future__ import annotations

from typing import Any

import structlog

from agent.learners.evaluation.trials import evaluation_points
from agent.trainer.faults import family_boundary, user_message
from agent.trainer.practice.protocol import Practice
from agent.trainer.score_scale import scale_of
from agent.trainer.session import TrainerSession
from envs.errors import EnvsError
from memory.errors import FamilyNotFoundError
from memory.records import CurveMetric, Family
from memory.store import Store

log = structlog.get_logger(__name__)


def evaluate(session: TrainerSession, families: list[Family]) -> dict[str, Any]:
    """Score each family on the held-out tasks, and add the points to its curves.

    A family that fails, whatever it raises, is given a strike and left out; the others are scored all the same.

    Returns:
        ``returns`` by family, ``scores`` by family (None where it has no scale), and ``faults`` by family where any
        failed.

    Raises:
        JobInterruptedError: the daemon requested a stop.
    """
    returns: dict[str, float] = {}
    scores: dict[str, float | None] = {}
    faults: dict[str, str] = {}
    for family in families:
        try:
            with family_boundary(family):
                returns[family.name] = _evaluate_one(family, session.practice_of(family), session.store)
                scale = scale_of(session.store.families.get(family.name))
                scores[family.name] = None if scale is None else scale.score(returns[family.name])
        except EnvsError as fault:
            session.faults.record(family, fault)
            faults[family.name] = user_message(fault)
        except FamilyNotFoundError:
            log.info("a family was removed while it was evaluated", family=family.name)
    return {"returns": returns, "scores": scores} | ({"faults": faults} if faults else {})


def score_before_practice(session: TrainerSession, family: Family) -> None:
    """Score a family that begins with what others have learned once, before its first practice.

    Raises:
        JobInterruptedError: the daemon requested a stop.
        EnvsError: the family failed.
    """
    practice = session.practice_of(family)
    if family.totals.meta_updates > 0 or not practice.carries_over:
        return
    if not session.store.curves.points(family.name, CurveMetric.ZERO_SHOT_RETURN, limit=1):
        _evaluate_one(family, practice, session.store)


def _evaluate_one(family: Family, practice: Practice, store: Store) -> float:
    """Store the points of an evaluation and return the mean trial return."""
    evaluation = practice.evaluate(family)
    # The family is read again, because its reference may have been measured while its tasks were played.
    points = evaluation_points(evaluation.returns, scale_of(store.families.get(family.name)))
    store.curves.commit_evaluation(family.name, (*points, *evaluation.more_points))
    return evaluation.returns.mean
