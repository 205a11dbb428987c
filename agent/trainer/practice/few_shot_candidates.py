"""Candidates of few-shot families: a version contains the best initialization of each family.

Every few-shot family has its own parameters, which no other family uses, so each is decided separately on the held-out
tasks of the gate. The published initialization stays unless another has a higher return: the learner's own (``fast``),
or the point halfway towards it (``slow``, :func:`slow_weights`). No few-shot family can therefore fall or prevent
another family from being published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from torch import Tensor

from agent.learners.evaluation.few_shot import held_out_tasks
from agent.learners.evaluation.trials import GATE_TASKS, HeldOutReturns
from agent.learners.factory import restore
from agent.learners.family_parts import as_part, part_of
from agent.trainer.families import held_out_trials, learner_name
from agent.trainer.faults import scoring_boundary
from agent.trainer.gate import Comparison, KnownReturn, compare, yardstick_of
from agent.trainer.score_scale import scale_of
from agent.trainer.session import TrainerSession
from envs.few_shot.images.folder import ImageFamily
from memory.records import Family, Initialization

log = structlog.get_logger(__name__)

SLOW_STEP = 0.5
"""ε of the slow weights: halfway from the published initialization to the learner's. No other value was measured."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """One few-shot family's part of a version.

    Attributes:
        family: name of the family.
        tensors: its initialization, by the names of the tensors in the version file.
        described: description for the reader of the version file, as JSON values.
        comparison: comparison on the gate's tasks; None if the family could not be scored and its published
            initialization is kept.
    """

    family: str
    tensors: dict[str, Tensor]
    described: dict[str, Any]
    comparison: Comparison | None


@dataclass(frozen=True, kw_only=True)
class _Proposed:
    """A proposed initialization of one family: its tensors by their own names, and the learner's meta values."""

    origin: str
    tensors: Mapping[str, Tensor]
    meta: dict[str, Any]


def choose_few_shot(
    session: TrainerSession,
    families: list[Family],
    *,
    current: Initialization | None,
    published: Mapping[str, Tensor] | None,
) -> list[Chosen]:
    """Return the best initialization of each family that can be scored, and the published one of the others.

    Args:
        session: the trainer session, which is not changed.
        families: the few-shot families that have been practised and can be scored.
        current: the current version.
        published: the tensors of the current version; None if they cannot be used.

    Raises:
        UnscoredError: a family failed, and has a strike for it.
        JobInterruptedError: the daemon requested a stop.
    """
    described = {} if current is None else current.provenance.get("few_shot", {})
    chosen = [_choose(session, family, current, published, described.get(family.name)) for family in families]
    asked = {family.name for family in families}
    return chosen + _kept(session, asked, published, described)


def _choose(
    session: TrainerSession,
    family: Family,
    current: Initialization | None,
    published: Mapping[str, Tensor] | None,
    described: dict[str, Any] | None,
) -> Chosen:
    with scoring_boundary(session, family):
        proposed = _proposals(session, family, published, described)
        returns = [_returns(session, family, proposal) for proposal in proposed]
        best = max(range(len(proposed)), key=lambda index: returns[index].mean)
        described_now = _describe(session, family, proposed[best])
    if proposed[0].origin == "published":
        before: KnownReturn | None = KnownReturn.played(returns[0])
    else:
        before = None if current is None or described is None else _stored_return(family, current)
    yardstick = yardstick_of(family, published=before, first=returns[0])
    name = learner_name(family)
    log.info("few-shot family chosen", family=family.name, origin=proposed[best].origin, mean=returns[best].mean)
    return Chosen(
        family=family.name,
        tensors=as_part(proposed[best].tensors, name),
        described=described_now,
        comparison=compare(returns[best], yardstick),
    )


def _stored_return(family: Family, current: Initialization) -> KnownReturn | None:
    """Return the return stored with the current version; None if it was not scored on the family."""
    found = next((score for score in current.scores if score.family == family.name), None)
    return None if found is None else KnownReturn.stored(found, scale_of(family))


def _proposals(
    session: TrainerSession,
    family: Family,
    published: Mapping[str, Tensor] | None,
    described: dict[str, Any] | None,
) -> list[_Proposed]:
    """Return the proposals; the published initialization is first so that ties keep it."""
    name = learner_name(family)
    learner = session.few_shot.learner_of(family, name)
    fast = _Proposed(origin="fast", tensors=learner.initialization(), meta=learner.to_meta())
    if published is None or described is None or described["name"] != name:
        return [fast]
    before = part_of(published, name)
    stays = _Proposed(origin="published", tensors=before, meta=described["meta"])
    if any(described["meta"][key] != fast.meta[key] for key in ("learner", "shapes", "config")):
        return [stays, fast]
    slow = _Proposed(origin="slow", tensors=slow_weights(before, fast.tensors), meta=fast.meta)
    return [stays, slow, fast]


def slow_weights(published: Mapping[str, Tensor], fast: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the outer step of Reptile: φ + ε (W - φ) (Nichol et al. 2018, arXiv:1803.02999, eq. 1).

    A tensor is that of W if it is not floating point, or if φ lacks it or has it in another shape.

    Args:
        published: φ.
        fast: W.
    """

    def has_step(name: str, value: Tensor) -> bool:
        return name in published and published[name].shape == value.shape and value.is_floating_point()

    return {
        name: published[name].lerp(value, SLOW_STEP) if has_step(name, value) else value.clone()
        for name, value in fast.items()
    }


def _returns(session: TrainerSession, family: Family, proposed: _Proposed) -> HeldOutReturns:
    return held_out_tasks(
        restore(proposed.tensors, proposed.meta, device=session.device),
        session.few_shot.tasks_of(family),
        first_task=GATE_TASKS,
        num_tasks=held_out_trials(family, session.settings.consolidation),
        chance=family.random_return or 0.0,
        device=session.device,
        is_brief=True,
        progress=lambda _tasks: session.heartbeat.beat_or_give_up(),
    )


def _describe(session: TrainerSession, family: Family, proposed: _Proposed) -> dict[str, Any]:
    tasks = session.few_shot.tasks_of(family)
    values: dict[str, Any] = {
        "name": learner_name(family),
        "meta": proposed.meta,
        "origin": proposed.origin,
        "entry": family.require_spec().entry,
        "kwargs": family.require_spec().kwargs,
    }
    if isinstance(tasks, ImageFamily):
        values |= {"ink_extent": tasks.ink_extent, "orientations": tasks.config.orientations}
    return values


def _kept(
    session: TrainerSession,
    asked: set[str],
    published: Mapping[str, Tensor] | None,
    described: Mapping[str, dict[str, Any]],
) -> list[Chosen]:
    """Return the published initializations of known families that cannot be scored now."""
    if published is None:
        return []
    known = {family.name: learner_name(family) for family in session.store.families.all()}
    return [
        Chosen(
            family=name,
            tensors=as_part(part_of(published, known[name]), known[name]),
            described=values,
            comparison=None,
        )
        for name, values in described.items()
        if name not in asked and known.get(name) == values["name"]
    ]
