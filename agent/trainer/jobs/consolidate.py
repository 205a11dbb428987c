"""The consolidate job: compare candidates on every known family, and publish without regression.

The candidate is the learner's own parameters. If a family falls with them and few-shot families have gained, the
published policy is a candidate too.

The parameters of few-shot families are independent of each other, so each family is decided separately
(:mod:`agent.trainer.practice.few_shot_candidates`). Every candidate contains the winners.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from torch import Tensor

from agent.learners.config_json import ConfigValueError, config_to_json
from agent.learners.evaluation.trials import GATE_TASKS, HeldOutReturns, held_out_returns
from agent.learners.family_parts import without_parts
from agent.learners.registry import RL2
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.policy import IncompatibleParametersError, RL2Policy, policy_from_initialization
from agent.learners.rl2.removed_settings import RemovedSettingError, stored_config
from agent.learners.state import as_arrays, as_tensors
from agent.policies.version_header import KnownFamily, KnownFewShotFamily, VersionHeader, header_to_metadata
from agent.running_version import running_version
from agent.trainer.families import family_kind, held_out_trials, shapes_of, spaces_of
from agent.trainer.faults import UnscoredError, scoring_boundary
from agent.trainer.gate import Candidate, Comparison, KnownReturn, Yardstick, compare, yardstick_of
from agent.trainer.practice.few_shot_candidates import Chosen, choose_few_shot
from agent.trainer.score_scale import scale_of
from agent.trainer.session import TrainerSession
from envs.kinds import FamilyKind
from memory.errors import CorruptFileError
from memory.records import Family, FamilyState, Initialization, InitializationState, JobOutcome

log = structlog.get_logger(__name__)

UNCHANGED = "unchanged"
"""Outcome of a consolidation that neither published nor rejected anything."""

KNOWN = (FamilyState.ACTIVE, FamilyState.PAUSED)


@dataclass(frozen=True, kw_only=True)
class _Field:
    """The candidates of one consolidation.

    Attributes:
        candidates: the candidates, compared on every family.
        chosen: the parameters of the few-shot families, which are part of every candidate.
    """

    candidates: list[Candidate]
    chosen: list[Chosen]


def consolidate(session: TrainerSession) -> tuple[JobOutcome, dict[str, Any]]:
    """Publish what was learned since the last version if something was gained and no family falls.

    Returns:
        the outcome of the job and its report: outcome (published, rejected or unchanged), version, reason, and by
        family scores (None without a scale) and returns.

    Raises:
        JobInterruptedError: the daemon requested a stop.
    """
    current = session.store.initializations.current()
    families = [f for f in session.store.families.all() if f.totals.meta_updates > 0 and _can_be_scored(session, f)]
    if not families:
        return JobOutcome.SKIPPED, {"reason": "no family has been practised yet"}
    best_returns = _best_returns(session, families)
    try:
        _check_shapes(session, families)
        field = _field(session, families, current, best_returns)
    except UnscoredError as unscored:
        return JobOutcome.SKIPPED, {"reason": str(unscored)}
    scored = [candidate for candidate in field.candidates if candidate.comparisons]
    if not scored:
        return JobOutcome.SKIPPED, {"reason": "no family could be scored"}
    if session.store.initializations.current() != current:
        return JobOutcome.SKIPPED, {"reason": "another version was made current meanwhile"}
    tolerance = session.settings.consolidation.tolerance
    accepted = [candidate for candidate in scored if not candidate.fallen(tolerance, best_returns)]
    best = max(accepted or scored, key=lambda candidate: candidate.mean_value)
    measured = _measured(best)
    if accepted and current is not None and not best.is_worth_a_version:
        reason = f"{_described(best)}, a gain of {best.gain:+.4f} is not worth a version"
        log.info("consolidated", outcome=UNCHANGED, reason=reason)
        return JobOutcome.SUCCEEDED, {"outcome": UNCHANGED, "version": None, "reason": reason, **measured}
    reason = _reason(best, tolerance=tolerance, best_returns=best_returns)
    if not_scored := _not_scored(session):
        reason += f"; not scored: {', '.join(not_scored)}"
    written = _write(session, best, field, current=current, is_accepted=bool(accepted), reason=reason)
    return JobOutcome.SUCCEEDED, {
        "outcome": str(written.state),
        "version": written.version,
        "reason": written.reason,
        **measured,
    }


def _measured(best: Candidate) -> dict[str, dict[str, float | None]]:
    """Return the best candidate's scores and returns by family, for the report of the job."""
    return {
        "scores": {c.family: None if c.score is None else round(c.score, 4) for c in best.comparisons},
        "returns": {c.family: c.mean for c in best.comparisons},
    }


def _check_shapes(session: TrainerSession, families: list[Family]) -> None:
    """Check that the stored shapes of every family can be read, because one policy is built for all families.

    Raises:
        UnscoredError: a family's row cannot be read, and the family has a strike.
    """
    for family in families:
        with scoring_boundary(session, family):
            shapes_of(family) if family_kind(family) is FamilyKind.FEW_SHOT else spaces_of(family)


def _field(
    session: TrainerSession,
    families: list[Family],
    current: Initialization | None,
    best_returns: Mapping[str, KnownReturn],
) -> _Field:
    """Score every candidate on every family.

    Raises:
        UnscoredError: a family could not be scored.
        JobInterruptedError: the daemon requested a stop.
    """
    played = [family for family in families if family_kind(family) is not FamilyKind.FEW_SHOT]
    published = _load(session, current)
    chosen = choose_few_shot(
        session,
        [family for family in families if family_kind(family) is FamilyKind.FEW_SHOT],
        current=current,
        published=published,
    )
    baseline = _baseline(session, played, current, published)
    own = session.learner.initialization()
    returns = _returns(session, played, own)
    yardsticks = _yardsticks(played, baseline, returns)
    candidates = [_candidate("fast weights", own, returns, yardsticks, chosen)]
    tolerance = session.settings.consolidation.tolerance
    if _can_stand_still(session, current, published, chosen) and candidates[0].fallen(tolerance, best_returns):
        before = without_parts(published or {})
        found = _returns(session, played, before)
        candidates.append(_candidate("published policy", before, found, yardsticks, chosen))
    return _Field(candidates=candidates, chosen=chosen)


def _can_stand_still(
    session: TrainerSession,
    current: Initialization | None,
    published: dict[str, Tensor] | None,
    chosen: Sequence[Chosen],
) -> bool:
    """Return whether the published policy can be published again with new parameters of few-shot families."""
    if current is None or published is None or not _has_config(current, session.config):
        return False
    return any(part.comparison is not None for part in chosen)


def _has_config(version: Initialization, config: RL2Config) -> bool:
    """Return whether a version's policy learned with these settings."""
    try:
        return stored_config(version.provenance["config"]) == config
    except (ConfigValueError, KeyError, RemovedSettingError):
        return False


def _best_returns(session: TrainerSession, families: list[Family]) -> dict[str, KnownReturn]:
    """Return each family's best return over the published versions, which played the same tasks."""
    known = {family.name: family for family in families}
    best: dict[str, KnownReturn] = {}
    for initialization in session.store.initializations.all():
        if initialization.state is not InitializationState.PUBLISHED:
            continue
        for score in initialization.scores:
            family = known.get(score.family)
            if family is None or initialization.created_at < family.created_at:
                continue
            stored = KnownReturn.stored(score, scale_of(family))
            if stored is None or score.num_trials < held_out_trials(family, session.settings.consolidation):
                continue
            if family.name not in best or stored.mean > best[family.name].mean:
                best[family.name] = stored
    return best


def _load(session: TrainerSession, current: Initialization | None) -> dict[str, Tensor] | None:
    """Return the published parameters; None if there are none or the file is damaged."""
    if current is None:
        return None
    try:
        return as_tensors(session.store.checkpoints.load_parameters(current.file), device=session.device)
    except CorruptFileError:
        log.exception("published file is damaged: using its stored returns", version=current.version)
        return None


def _baseline(
    session: TrainerSession,
    families: list[Family],
    current: Initialization | None,
    published: dict[str, Tensor] | None,
) -> dict[str, KnownReturn]:
    """Return the published version's return by family: from play, or the stored one if it cannot be played."""
    if current is None:
        return {}
    if published is not None:
        try:
            returns = _returns(session, families, published)
            return {name: KnownReturn.played(played) for name, played in returns.items()}
        except IncompatibleParametersError:
            log.exception("the published version is of another shape; using its stored returns")
    scores = {score.family: score for score in current.scores}
    stored = {
        f.name: KnownReturn.stored(scores[f.name], scale_of(f))
        for f in families
        if f.name in scores and f.created_at <= current.created_at
    }
    return {name: known for name, known in stored.items() if known is not None}


def _policy(session: TrainerSession, families: list[Family], tensors: dict[str, Tensor]) -> RL2Policy:
    spaces = [spaces_of(family) for family in families]
    return policy_from_initialization(session.config, tensors, spaces, device=session.device)


def _returns(session: TrainerSession, families: list[Family], tensors: dict[str, Tensor]) -> dict[str, HeldOutReturns]:
    """Return held-out returns by family, for the families whose spaces the parameters know.

    Raises:
        UnscoredError: a family failed. It gets a strike; with enough strikes it is quarantined and not scored.
        IncompatibleParametersError: the parameters have another shape.
    """
    policy = _policy(session, families, tensors)
    returns: dict[str, HeldOutReturns] = {}
    for family in families:
        if not policy.knows(spaces_of(family)):
            continue
        with scoring_boundary(session, family):
            returns[family.name] = held_out_returns(
                policy,
                session.tasks_of(family),
                first_task=GATE_TASKS,
                num_trials=held_out_trials(family, session.settings.consolidation),
                progress=lambda _steps: session.heartbeat.beat_or_give_up(),
            )
    return returns


def _yardsticks(
    families: list[Family], baseline: Mapping[str, KnownReturn], returns: Mapping[str, HeldOutReturns]
) -> dict[str, Yardstick]:
    """Return the yardstick of each family that the learner knows; it is the same for all candidates."""
    return {
        family.name: yardstick_of(family, published=baseline.get(family.name), first=returns[family.name])
        for family in families
        if family.name in returns
    }


def _candidate(
    origin: str,
    own: Mapping[str, Tensor],
    returns: Mapping[str, HeldOutReturns],
    yardsticks: Mapping[str, Yardstick],
    chosen: Sequence[Chosen],
) -> Candidate:
    """Compare parameters on the families that were played, and add the few-shot families' part."""
    played = [compare(found, yardsticks[name]) for name, found in returns.items() if name in yardsticks]
    answered = [part.comparison for part in chosen if part.comparison is not None]
    tensors = dict(own)
    for part in chosen:
        tensors |= part.tensors
    return Candidate(origin=origin, tensors=tensors, comparisons=(*played, *answered))


def _write(
    session: TrainerSession,
    best: Candidate,
    field: _Field,
    *,
    current: Initialization | None,
    is_accepted: bool,
    reason: str,
) -> Initialization:
    few_shot = {part.family: part.described for part in field.chosen}
    write = session.store.initializations.publish if is_accepted else session.store.initializations.reject
    tensors = as_arrays(best.tensors)
    written = write(
        tensors,
        metadata=header_to_metadata(_header(session, few_shot), tensors),
        scores=[comparison.to_record() for comparison in best.comparisons],
        provenance={
            "learner": RL2,
            "learnd": running_version(),
            "origin": best.origin,
            "config": config_to_json(session.learner.config),
            "not_scored": _not_scored(session),
            "env_steps": {f.name: f.totals.env_steps for f in session.store.families.all()},
            **({"few_shot": few_shot} if few_shot else {}),
        },
        reason=reason,
        parent=None if current is None else current.version,
    )
    log.info("consolidated", outcome=str(written.state), version=written.version, reason=written.reason)
    return written


def _not_scored(session: TrainerSession) -> dict[str, str]:
    """Return the practised families that cannot be scored, with the reasons."""
    return {
        family.name: f"{family.state}: {family.state_reason}"
        for family in session.store.families.all()
        if family.totals.meta_updates > 0 and not _can_be_scored(session, family)
    }


def _can_be_scored(session: TrainerSession, family: Family) -> bool:
    """Return whether the family can be scored.

    Quarantined families cannot, nor can paused families that have reached ``max_strikes``.
    """
    is_broken_aside = family.state is FamilyState.PAUSED and family.strikes >= session.settings.workers.max_strikes
    return family.state in KNOWN and not is_broken_aside


def _header(session: TrainerSession, few_shot: Mapping[str, Any]) -> VersionHeader:
    """Return the header of the version's file: RL²'s settings, and the families on which it can act or predict.

    Args:
        session: the session.
        few_shot: descriptions of the few-shot families' learners, by family.
    """
    families = {
        family.name: KnownFamily(spaces=spaces_of(family), episodes_per_trial=family.require_spec().episodes_per_trial)
        for family in session.store.families.all()
        if family.spaces is not None
        and family_kind(family) is not FamilyKind.FEW_SHOT
        and session.learner.policy.knows(spaces_of(family))
    }
    return VersionHeader(
        learner=RL2,
        config=config_to_json(session.config),
        families=families,
        few_shot_families={name: KnownFewShotFamily.of_chosen(described) for name, described in few_shot.items()},
    )


def _described(best: Candidate) -> str:
    """Describe the origin of a candidate, with its mean score if any family has a scale."""
    return best.origin if best.mean_score is None else f"{best.origin}: mean score {best.mean_score:.3f}"


def _reason(best: Candidate, *, tolerance: float, best_returns: Mapping[str, KnownReturn]) -> str:
    fallen = best.fallen(tolerance, best_returns)
    if fallen:
        listed = ", ".join(_fall(comparison, best_returns.get(comparison.family)) for comparison in fallen)
        return f"{best.origin}: falls by more than {tolerance:g} on {listed}"
    return f"{_described(best)}, no family falls by more than {tolerance:g}"


def _fall(comparison: Comparison, best: KnownReturn | None) -> str:
    """Describe a fall, by scores if the family has a scale, else by returns."""
    scale = comparison.yardstick.scale

    def text(value: float) -> str:
        return f"{value:.4g}" if scale is None else f"{scale.score(value):.3f}"

    before = comparison.yardstick.published or best
    return (
        f"{comparison.family}{' (return)' if scale is None else ''}"
        f"{'' if before is None else f' {text(before.mean)} →'} {text(comparison.mean)}"
        f"{'' if best is None else f' (best {text(best.mean)})'}"
    )
