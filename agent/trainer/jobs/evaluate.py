"""The evaluate job: score what has been practised on held-out tasks."""

from __future__ import annotations

from typing import Any

import structlog

from agent.learners.evaluation.few_shot import held_out_tasks
from agent.learners.evaluation.trials import (
    EVALUATION_TASKS,
    HeldOutReturns,
    evaluation_points,
    held_out_returns,
)
from agent.trainer.families import family_kind, held_out_trials, learner_name, spaces_of
from agent.trainer.faults import family_boundary, record_fault, user_message
from agent.trainer.score_scale import scale_of
from agent.trainer.session import TrainerSession
from envs.errors import EnvsError
from envs.kinds import FamilyKind
from memory.errors import FamilyNotFoundError
from memory.records import CurveMetric, CurvePoint, Family, FamilyState

log = structlog.get_logger(__name__)


def evaluate(session: TrainerSession, families: list[Family]) -> dict[str, Any]:
    """Play each family's practised policy on the held-out tasks, and add the points to its curves.

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
                returns[family.name] = _evaluate_one(session, family)
                scale = scale_of(family)
                scores[family.name] = None if scale is None else scale.score(returns[family.name])
        except EnvsError as fault:
            record_fault(session, family, fault)
            faults[family.name] = user_message(fault)
        except FamilyNotFoundError:
            log.info("a family was removed while it was evaluated", family=family.name)
    return {"returns": returns, "scores": scores} | ({"faults": faults} if faults else {})


def _evaluate_one(session: TrainerSession, family: Family) -> float:
    """Return the mean trial return, after its points are stored."""
    if family_kind(family) is not FamilyKind.FEW_SHOT and learner_name(family) not in session.learner.families:
        session.learner.add_family(learner_name(family), spaces_of(family))
    returns = (
        _few_shot_returns(session, family)
        if family_kind(family) is FamilyKind.FEW_SHOT
        else _trial_returns(session, family)
    )
    points = evaluation_points(returns, scale_of(family))
    session.store.curves.commit_evaluation(family.name, (*points, *_lent_score_if_any(session, family)))
    return returns.mean


def _trial_returns(session: TrainerSession, family: Family) -> HeldOutReturns:
    return held_out_returns(
        session.learner.policy,
        session.tasks_of(family),
        first_task=EVALUATION_TASKS,
        num_trials=held_out_trials(family, session.settings.evaluation),
        progress=lambda _steps: session.heartbeat.beat_or_give_up(),
    )


def _few_shot_returns(session: TrainerSession, family: Family) -> HeldOutReturns:
    return held_out_tasks(
        session.few_shot.learner_of(family, learner_name(family)),
        session.few_shot.tasks_of(family),
        first_task=EVALUATION_TASKS,
        num_tasks=held_out_trials(family, session.settings.evaluation),
        chance=family.random_return or 0.0,
        device=session.device,
        progress=lambda _tasks: session.heartbeat.beat_or_give_up(),
    )


def _lent_score_if_any(session: TrainerSession, family: Family) -> tuple[CurvePoint, ...]:
    """Return the lent score, or nothing if the lender fails, which is no fault of this family."""
    try:
        with family_boundary(family):
            return _lent_score(session, family)
    except EnvsError:
        log.exception("another family's learner could not score this family", family=family.name)
        return ()


def _lent_score(session: TrainerSession, family: Family) -> tuple[CurvePoint, ...]:
    """Return the score of another family's amortised head on a family that was never practised; computed once.

    VERSA's head is inferred from the support set by a network (Gordon et al. 2019, arXiv:1805.09921), so it needs no
    practice on new classes, and takes any number of them.
    """
    scale = scale_of(family)
    if scale is None or family_kind(family) is not FamilyKind.FEW_SHOT or family.totals.meta_updates > 0:
        return ()
    if session.store.curves.points(family.name, CurveMetric.LENT_SCORE):
        return ()
    lender = session.few_shot.lender_to(family, session.store.families.all())
    if lender is None:
        return ()
    returns = held_out_tasks(
        session.few_shot.learner_of(lender, learner_name(lender)),
        session.few_shot.tasks_of(family),
        first_task=EVALUATION_TASKS,
        num_tasks=held_out_trials(family, session.settings.evaluation),
        chance=scale.random_return,
        device=session.device,
        is_brief=True,
        progress=lambda _tasks: session.heartbeat.beat_or_give_up(),
    )
    score = scale.score(returns.mean)
    log.info("scored by another family's learner", family=family.name, lender=lender.name, score=score)
    error = scale.error(returns.standard_error)
    return (CurvePoint(metric=CurveMetric.LENT_SCORE, label=lender.name, value=score, standard_error=error),)


def families_to_evaluate(session: TrainerSession) -> list[Family]:
    """Return the active families."""
    return [family for family in session.store.families.all() if family.state is FamilyState.ACTIVE]
