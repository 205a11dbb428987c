"""The consolidate job: propose candidates, score them on every known family, and publish one without regression.

Each kind of family proposes parts, scored on the gate's tasks (``agent.trainer.practice``). A candidate has one part of
every kind. The gate (``agent.trainer.gate``) compares the candidates with the published version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import structlog
import torch

from agent.learners.config_json import config_to_json
from agent.learners.registry import RL2
from agent.learners.state import as_arrays, as_tensors
from agent.policies.version_header import VersionHeader, header_to_metadata
from agent.running_version import running_version
from agent.trainer.families import can_be_played, of_kind
from agent.trainer.faults import FamilyFaults, UnscoredError
from agent.trainer.gate import Candidate, Gate
from agent.trainer.gate_reasons import describe, explain
from agent.trainer.known_returns import best_returns
from agent.trainer.practice.protocol import Practice, Proposals, PublishedVersion
from agent.trainer.session import TrainerSession
from envs.kinds import FamilyKind
from memory.errors import CorruptFileError
from memory.records import Family, Initialization, JobOutcome
from memory.tables.checkpoints import CheckpointTable

log = structlog.get_logger(__name__)

REPAIRS = 2
"""Times that a candidate which falls on a family is repaired by rehearsal and scored again."""

UNCHANGED = "unchanged"
"""Outcome of a consolidation that neither published nor rejected anything."""

Practices = dict[FamilyKind, Practice]


def consolidate(session: TrainerSession) -> tuple[JobOutcome, dict[str, Any]]:
    """Publish what was learned since the last version if something was gained and no family falls.

    Returns:
        the outcome of the job and its report: outcome (published, rejected or unchanged), version, reason, and by
        family scores (None without a scale) and returns.

    Raises:
        JobInterruptedError: the daemon requested a stop.
    """
    store, section = session.store, session.settings.consolidation
    known = _known_families(store.families.all(), max_strikes=session.settings.workers.max_strikes)
    if not known.scored:
        return JobOutcome.SKIPPED, {"reason": "no family has been practised yet"}
    current = store.initializations.current()
    gate = Gate(tolerance=section.tolerance, best=best_returns(store.initializations.all(), known.scored, section))
    try:
        _check(known.scored, session.practices, session.faults)
        base = _published_version(current, store.checkpoints, device=session.device)
        candidates = _repaired_candidates(known, session.practices, base, gate)
    except UnscoredError as unscored:
        return JobOutcome.SKIPPED, {"reason": str(unscored)}
    if not candidates:
        return JobOutcome.SKIPPED, {"reason": "no family could be scored"}
    if store.initializations.current() != current:
        return JobOutcome.SKIPPED, {"reason": "another version was made current meanwhile"}
    report = _publish_best(session, candidates, gate, current=current, not_scored=known.not_scored)
    return JobOutcome.SUCCEEDED, report


# Propose


@dataclass(frozen=True, kw_only=True)
class _KnownFamilies:
    """The families that have been practised.

    Attributes:
        scored: those that can be scored.
        unplayable: the others, which are judged on their stored trials.
        not_scored: the reasons why the others cannot be scored, by their names.
    """

    scored: list[Family]
    unplayable: list[Family]
    not_scored: dict[str, str]


def _known_families(families: Iterable[Family], *, max_strikes: int) -> _KnownFamilies:
    """Return the families that have been practised.

    Quarantined families cannot be scored, nor can paused families that have reached ``max_strikes``.
    """
    scored, unplayable, not_scored = [], [], {}
    for family in families:
        if family.totals.meta_updates == 0:
            continue
        if can_be_played(family, max_strikes=max_strikes):
            scored.append(family)
        else:
            unplayable.append(family)
            not_scored[family.name] = f"{family.state}: {family.state_reason}"
    return _KnownFamilies(scored=scored, unplayable=unplayable, not_scored=not_scored)


def _check(families: Iterable[Family], practices: Practices, faults: FamilyFaults) -> None:
    """Check that the stored spaces of every family can be read, because one policy plays all families.

    Raises:
        UnscoredError: a family's row cannot be read, and the family has a strike.
    """
    for family in families:
        with faults.scoring(family):
            practices[family.kind].check(family)


def _published_version(
    current: Initialization | None, checkpoints: CheckpointTable, *, device: torch.device
) -> PublishedVersion | None:
    """Return the current version with its parameters, or without them if its file is damaged."""
    if current is None:
        return None
    try:
        tensors = as_tensors(checkpoints.load_parameters(current.file), device=device)
    except CorruptFileError:
        log.exception("published file is damaged: using its stored returns", version=current.version)
        return PublishedVersion(initialization=current, tensors=None)
    return PublishedVersion(initialization=current, tensors=tensors)


def _propose(known: _KnownFamilies, practices: Practices, base: PublishedVersion | None) -> list[Proposals]:
    """Return the scored proposals of every kind, also of a kind without families: a version keeps its part.

    Raises:
        UnscoredError: a family could not be scored.
        JobInterruptedError: the daemon requested a stop.
    """
    return [
        practice.propose(of_kind(kind, known.scored), unplayable=of_kind(kind, known.unplayable), base=base)
        for kind, practice in practices.items()
    ]


def _repaired_candidates(
    known: _KnownFamilies, practices: Practices, base: PublishedVersion | None, gate: Gate
) -> list[Candidate]:
    """Return the candidates. While none of them passes, repair the learners and score again, a bounded number of times.

    Raises:
        UnscoredError: a family could not be scored.
        JobInterruptedError: the daemon requested a stop.
    """
    candidates = _candidates(_propose(known, practices, base), gate)
    for _repair in range(REPAIRS):
        if not candidates or not (names := gate.failing(gate.choose(candidates))):
            break
        log.info("a candidate falls: repairing it", families=sorted(names))
        failing = [family for family in (*known.scored, *known.unplayable) if family.name in names]
        repaired = [
            practice.repair(of_failing, base=base)
            for kind, practice in practices.items()
            if (of_failing := of_kind(kind, failing))
        ]
        if not any(repaired):
            break
        candidates = _candidates(_propose(known, practices, base), gate)
    return candidates


def _candidates(proposals: Sequence[Proposals], gate: Gate) -> list[Candidate]:
    """Return the candidates that were compared on any family: every combination of one part of each kind.

    If all of them fall, a kind may stay unchanged, so that what is new of the other kinds is published.
    """
    candidates = [Candidate(parts=parts) for parts in product(*(proposed.parts for proposed in proposals))]
    if not any(gate.passes(candidate) for candidate in candidates):
        candidates += [candidate for proposed in proposals for candidate in _with_unchanged(proposed, proposals)]
    return [candidate for candidate in candidates if candidate.comparisons]


def _with_unchanged(kept: Proposals, proposals: Sequence[Proposals]) -> list[Candidate]:
    """Return the candidates in which one kind stays unchanged; none if it cannot, or no other kind was scored."""
    if kept.unchanged is None:
        return []
    if not any(part.comparisons for proposed in proposals if proposed is not kept for part in proposed.parts):
        return []
    parts = ((kept.unchanged,) if proposed is kept else proposed.parts for proposed in proposals)
    return [Candidate(parts=combination) for combination in product(*parts)]


# Publish


def _publish_best(
    session: TrainerSession,
    candidates: Sequence[Candidate],
    gate: Gate,
    *,
    current: Initialization | None,
    not_scored: Mapping[str, str],
) -> dict[str, Any]:
    """Publish the best candidate if it passes the gate and is worth a version, and return the report of the job.

    A candidate that does not pass is recorded as rejected.
    """
    best = gate.choose(candidates)
    is_accepted = gate.passes(best)
    if is_accepted and current is not None and not best.is_worth_a_version:
        reason = f"{describe(best)}, a gain of {best.gain:+.4f} is not worth a version"
        log.info("consolidated", outcome=UNCHANGED, reason=reason)
        return _report(best, outcome=UNCHANGED, version=None, reason=reason)
    reason = explain(best, gate)
    if not_scored:
        reason += f"; not scored: {', '.join(not_scored)}"
    written = _write(session, best, current=current, is_accepted=is_accepted, reason=reason, not_scored=not_scored)
    log.info("consolidated", outcome=str(written.state), version=written.version, reason=written.reason)
    return _report(best, outcome=str(written.state), version=written.version, reason=written.reason)


def _write(
    session: TrainerSession,
    best: Candidate,
    *,
    current: Initialization | None,
    is_accepted: bool,
    reason: str,
    not_scored: Mapping[str, str],
) -> Initialization:
    """Publish the candidate, or record it as rejected."""
    table = session.store.initializations
    write = table.publish if is_accepted else table.reject
    config = config_to_json(session.config)
    tensors = as_arrays(best.tensors)
    return write(
        tensors,
        metadata=header_to_metadata(_header(best, session.practices.values(), config), tensors),
        scores=[comparison.to_record() for comparison in best.comparisons],
        provenance={
            "learner": RL2,
            "learnd": running_version(),
            "origin": best.origin,
            "config": config,
            "not_scored": dict(not_scored),
            "stored_trials": {loss.family: loss.divergence for loss in best.losses},
            "env_steps": {f.name: f.totals.env_steps for f in session.store.families.all()},
            **{key: value for part in best.parts for key, value in part.provenance.items()},
        },
        reason=reason,
        parent=None if current is None else current.version,
    )


def _header(best: Candidate, practices: Iterable[Practice], config: dict[str, Any]) -> VersionHeader:
    """Return the header of the version's file: RL²'s settings, and the families that each part can be used for."""
    header = VersionHeader(learner=RL2, config=config)
    for practice, part in zip(practices, best.parts, strict=True):
        header = practice.export(part, header)
    return header


def _report(best: Candidate, *, outcome: str, version: int | None, reason: str) -> dict[str, Any]:
    """Return the report of the job, with the candidate's scores and returns by family."""
    return {
        "outcome": outcome,
        "version": version,
        "reason": reason,
        "scores": {c.family: None if c.score is None else round(c.score, 4) for c in best.comparisons},
        "returns": {c.family: c.mean for c in best.comparisons},
    }
