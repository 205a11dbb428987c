"""The evaluate job: score what has been practised on held-out tasks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from agent.config.triggers import Trigger
from agent.learners.evaluation.trials import evaluation_points
from agent.reports.continual import measure, measure_points, retention_of
from agent.trainer.families import can_be_played
from agent.trainer.faults import family_boundary, user_message
from agent.trainer.plays import UnderWayError
from agent.trainer.practice.held_out_plays import EVALUATION, FRESH_EVALUATION
from agent.trainer.practice.protocol import Practice
from agent.trainer.score_scale import scale_of
from agent.trainer.session import TrainerSession
from envs.errors import EnvsError
from memory.errors import FamilyNotFoundError
from memory.records import CurveMetric, Family, FamilyState, StoredCurvePoint
from memory.store import Store

log = structlog.get_logger(__name__)

RUN_S = 30.0
"""Seconds after which an evaluation that is due scores no further family; the next one begins with those left over."""


def families_due(session: TrainerSession) -> list[Family]:
    """Return the families that an evaluation scores: every active one, and the paused ones that are due.

    A paused family shows what the practice of others does to what it had learned. The families come first that were
    not scored for the longest time.
    """
    settings, now, families = session.settings, session.clock(), session.store.families.all()
    newest = {f.id: session.store.curves.points(f.name, CurveMetric.EVAL_RETURN, limit=1) for f in families}

    def is_due(family: Family) -> bool:
        if family.state is FamilyState.ACTIVE:
            return True
        if not can_be_played(family, max_strikes=settings.workers.max_strikes):
            return False
        return is_due_while_paused(family, newest[family.id], trigger=settings.evaluation.paused_every, now=now)

    due = [family for family in families if is_due(family)]
    return sorted(due, key=lambda family: newest[family.id][0].at if newest[family.id] else 0.0)


def is_due_while_paused(family: Family, newest: list[StoredCurvePoint], *, trigger: Trigger, now: float) -> bool:
    """Return whether a paused family is due to be scored.

    It is due if it was practised after its last evaluation, or if the trigger's next time after that evaluation has
    passed. A last evaluation in the future means that the clock was set back; the family is then due.

    Args:
        family: the paused family.
        newest: the last point of its held-out return, if there is one.
        trigger: the setting ``evaluation.paused_every``.
        now: seconds since the epoch.
    """
    if trigger.is_off:
        return False
    if not newest or newest[0].meta_updates < family.totals.meta_updates:
        return True
    return newest[0].at > now or trigger.next_after(newest[0].at) <= now


def evaluate(session: TrainerSession, families: list[Family], *, within_s: float = math.inf) -> dict[str, Any]:
    """Score each family on the held-out tasks, and add the points to its curves.

    After ``within_s`` seconds no further family is scored.

    A family that fails, whatever it raises, is given a strike and left out; the others are scored all the same. The
    tasks of a family that is not active are closed afterwards, so that no worker of it stays.

    Returns:
        ``returns`` by family, ``scores`` by family (None where it has no scale), ``faults`` by family where any failed,
        ``under_way``, the families whose evaluation goes on in the background, and ``later``, those for which no time
        was left. The next evaluation or practice of a family that is under way stores its result.

    Raises:
        JobInterruptedError: the daemon requested a stop.
    """
    returns: dict[str, float] = {}
    scores: dict[str, float | None] = {}
    faults: dict[str, str] = {}
    under_way: list[str] = []
    later: list[str] = []
    began = time.monotonic()
    for index, family in enumerate(families):
        if index > 0 and time.monotonic() - began > within_s:
            later.append(family.name)
            continue
        try:
            with family_boundary(family), _closed_unless_active(session, family):
                returns[family.name] = _evaluate_one(family, session.practice_of(family), session)
                scale = scale_of(session.store.families.get(family.name))
                scores[family.name] = None if scale is None else scale.score(returns[family.name])
        except EnvsError as fault:
            session.faults.record(family, fault)
            faults[family.name] = user_message(fault)
        except UnderWayError:
            under_way.append(family.name)
        except FamilyNotFoundError:
            log.info("a family was removed while it was evaluated", family=family.name)
    others = {"faults": faults, "under_way": under_way, "later": later}
    return {"returns": returns, "scores": scores} | {key: found for key, found in others.items() if found}


@contextmanager
def _closed_unless_active(session: TrainerSession, family: Family) -> Iterator[None]:
    """Close the family's tasks after the block if the family is not active."""
    try:
        yield
    finally:
        if family.state is not FamilyState.ACTIVE and family.id not in session.plays.under_way():
            session.close_tasks(family.id)


def store_ended_evaluation(session: TrainerSession, family: Family) -> None:
    """Store the result of an evaluation of the family that has ended in the background, if there is one.

    Raises:
        UnderWayError: another play of the evaluation goes on.
        EnvsError: the family failed.
    """
    if session.plays.has_ended(family.id, EVALUATION):
        _evaluate_one(family, session.practice_of(family), session)


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
        _evaluate_one(family, practice, session)


def _evaluate_one(family: Family, practice: Practice, session: TrainerSession) -> float:
    """Store the points of an evaluation and return the mean trial return."""
    store, evaluation = session.store, practice.evaluate(family)
    session.plays.forget(family.id, EVALUATION, FRESH_EVALUATION)
    # The family is read again, because its reference may have been measured while its tasks were played.
    points = evaluation_points(evaluation.returns, scale_of(store.families.require(family)))
    store.curves.commit_evaluation(family.name, (*points, *evaluation.more_points))
    _measure(family.name, store)
    return evaluation.returns.mean


def _measure(name: str, store: Store) -> None:
    """Store the points of the continual-learning measures that follow from a family's evaluations."""
    family = store.families.get(name)
    points = measure_points(measure(family, retention_of(store, family)))
    if points:
        store.curves.commit_evaluation(name, points)
