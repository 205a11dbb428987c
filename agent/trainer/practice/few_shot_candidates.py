"""Candidates of few-shot families: a version contains the best initialization of each family.

Every few-shot family has its own parameters, which no other family uses, so each is decided separately on the held-out
tasks of the gate. The published initialization stays unless another has a higher return: the learner's own (``fast``),
or the point halfway towards it (``slow``, :func:`slow_weights`). No few-shot family can therefore fall or prevent
another family from being published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
import torch
from torch import Tensor

from agent.config.settings import ConsolidationSettings
from agent.learners.evaluation.few_shot import held_out_tasks
from agent.learners.evaluation.trials import GATE_TASKS, HeldOutReturns
from agent.learners.factory import restore
from agent.learners.family_parts import as_part, part_of
from agent.trainer.families import held_out_trials, learner_name
from agent.trainer.faults import FamilyFaults
from agent.trainer.gate import Comparison, KnownReturn, Part, compare, yardstick_of
from agent.trainer.heartbeat import Heartbeat
from agent.trainer.known_returns import stored_return
from agent.trainer.practice.few_shot_learners import FewShotLearners
from agent.trainer.practice.protocol import PublishedVersion
from envs.few_shot.images.folder import ImageFamily
from memory.records import Family, Initialization

log = structlog.get_logger(__name__)

SLOW_STEP = 0.5
"""ε of the slow weights: halfway from the published initialization to the learner's. No other value was measured."""

PROVENANCE = "few_shot"
"""Key of a version's provenance with the descriptions of its few-shot families, by their names."""


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """One few-shot family's share of a part.

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
    comparison: Comparison | None = None


@dataclass(frozen=True, kw_only=True)
class _Proposed:
    """A proposed initialization of one family: its tensors by their own names, and the learner's meta values."""

    origin: str
    tensors: Mapping[str, Tensor]
    meta: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FewShotCandidates:
    """The proposals of few-shot families, and the choice between them.

    Attributes:
        learners: the learners and open tasks of the families; no learner is changed.
        faults: records the faults of families that cannot be scored.
        settings: the number of held-out tasks.
        device: the device of the learners.
        heartbeat: receives a beat after each batch of tasks.
    """

    learners: FewShotLearners
    faults: FamilyFaults
    settings: ConsolidationSettings
    device: torch.device
    heartbeat: Heartbeat

    def best(self, families: Sequence[Family], *, base: PublishedVersion | None, known: Iterable[Family]) -> Part:
        """Return the best initialization of each family that can be scored, and the published one of the others.

        Args:
            families: the few-shot families that have been practised and can be scored.
            base: the published version.
            known: all families of the store.

        Raises:
            UnscoredError: a family failed, and has a strike for it.
            JobInterruptedError: the daemon requested a stop.
        """
        chosen = [self._choose(family, base) for family in families]
        chosen += _kept({family.name for family in families}, base, known)
        described = {share.family: share.described for share in chosen}
        return Part(
            origin="",
            tensors={name: tensor for share in chosen for name, tensor in share.tensors.items()},
            comparisons=tuple(share.comparison for share in chosen if share.comparison is not None),
            provenance={PROVENANCE: described} if described else {},
        )

    def _choose(self, family: Family, base: PublishedVersion | None) -> _Chosen:
        with self.faults.scoring(family):
            proposed = self._proposals(family, base)
            returns = [self._returns(family, proposal) for proposal in proposed]
            best = max(range(len(proposed)), key=lambda index: returns[index].mean)
            described = self._describe(family, proposed[best])
        before: KnownReturn | None = None
        if proposed[0].origin == "published":
            before = KnownReturn.played(returns[0])
        elif base is not None and family.name in described_in(base.initialization):
            before = stored_return(base.initialization, family)
        yardstick = yardstick_of(family, published=before, first=returns[0])
        log.info("few-shot family chosen", family=family.name, origin=proposed[best].origin, mean=returns[best].mean)
        return _Chosen(
            family=family.name,
            tensors=as_part(proposed[best].tensors, learner_name(family)),
            described=described,
            comparison=compare(returns[best], yardstick),
        )

    def _proposals(self, family: Family, base: PublishedVersion | None) -> list[_Proposed]:
        """Return the proposals; the published initialization is first so that ties keep it."""
        name = learner_name(family)
        learner = self.learners.learner_of(family, name)
        fast = _Proposed(origin="fast", tensors=learner.initialization(), meta=learner.to_meta())
        if base is None or base.tensors is None:
            return [fast]
        described = described_in(base.initialization).get(family.name)
        if described is None or described["name"] != name:
            return [fast]
        before = part_of(base.tensors, name)
        stays = _Proposed(origin="published", tensors=before, meta=described["meta"])
        if any(described["meta"][key] != fast.meta[key] for key in ("learner", "shapes", "config")):
            return [stays, fast]
        tensors = slow_weights(before, fast.tensors)
        return [stays, _Proposed(origin="slow", tensors=tensors, meta=fast.meta), fast]

    def _returns(self, family: Family, proposed: _Proposed) -> HeldOutReturns:
        return held_out_tasks(
            restore(proposed.tensors, proposed.meta, device=self.device),
            self.learners.tasks_of(family),
            first_task=GATE_TASKS,
            num_tasks=held_out_trials(family, self.settings),
            chance=family.random_return or 0.0,
            device=self.device,
            is_brief=True,
            progress=lambda _tasks: self.heartbeat.beat_or_give_up(),
        )

    def _describe(self, family: Family, proposed: _Proposed) -> dict[str, Any]:
        tasks = self.learners.tasks_of(family)
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


def described_in(version: Initialization) -> dict[str, dict[str, Any]]:
    """Return the descriptions of a version's few-shot families, by their names."""
    described: dict[str, dict[str, Any]] = version.provenance.get(PROVENANCE, {})
    return described


def published_meta(version: Initialization) -> dict[str, Any]:
    """Return ``to_meta()`` of a version's few-shot learners, by the families' names within the version."""
    return {values["name"]: values["meta"] for values in described_in(version).values()}


def _kept(scored: set[str], base: PublishedVersion | None, families: Iterable[Family]) -> list[_Chosen]:
    """Return the published initializations of known families that cannot be scored now."""
    if base is None or base.tensors is None:
        return []
    known = {family.name: learner_name(family) for family in families}
    return [
        _Chosen(
            family=name,
            tensors=as_part(part_of(base.tensors, known[name]), known[name]),
            described=values,
        )
        for name, values in described_in(base.initialization).items()
        if name not in scored and known.get(name) == values["name"]
    ]
