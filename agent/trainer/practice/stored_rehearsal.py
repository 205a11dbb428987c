"""Rehearsal from the store: reservoirs are read from it when they are first needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rehearsal.rehearsal import Rehearsal
from agent.learners.rl2.rehearsal.rehearsal_slice import RehearsalSlice
from agent.learners.rl2.rehearsal.reservoir import Reservoir
from agent.learners.rl2.rehearsal.teachers import fits
from agent.learners.state import as_tensors
from agent.trainer.families import family_id, learner_name
from memory.records import CurveMetric, CurvePoint, Family, FamilyState
from memory.tables.rehearsal import RehearsalTable

MOST_IN_TURN = 20
"""Number of active families up to which each counts as being in practice."""

MAX_LOADED = 32
"""Reservoirs that are kept loaded: about a megabyte each."""


def restored_rehearsal(
    learner: RL2Learner, families: Iterable[Family], reservoirs: RehearsalTable, meta: Mapping[str, Any]
) -> Rehearsal:
    """Return the rehearsal of all families that the learner knows and that have a reservoir.

    Args:
        learner: the restored learner.
        families: the families that are not removed.
        reservoirs: the reservoirs of the store.
        meta: what :meth:`Rehearsal.to_meta` returned; empty in checkpoints of learnd 0.1.0.
    """

    def load(name: str) -> Reservoir:
        reservoir = Reservoir(spaces=learner.spaces_of(name))
        found = sorted(reservoirs.trials(family_id(name)), key=lambda trial: trial.trial_id)
        reservoir.put_all({trial.slot: trial.trial for trial in found})
        teacher = as_tensors(reservoirs.teacher(family_id(name)) or {}, device=learner.device)
        if fits(teacher, learner.policy, reservoir.spaces):
            reservoir.teach(teacher)
        return reservoir

    stored = set(reservoirs.family_ids())
    known = dict.fromkeys(name for name in learner.families if family_id(name) in stored)
    measured = {name: loss for name, loss in meta.get("losses", ()) if name in known}
    unmeasured = {name: 0.0 for name in known if name not in measured}
    retention = {name: kept for name, kept in meta.get("retention", {}).items() if name in known}
    rehearsal = Rehearsal(learner, load=load, max_loaded=MAX_LOADED, losses=unmeasured | measured, retention=retention)
    rehearsal.keep_only(learner_name(family) for family in families)
    return rehearsal


def names_in_practice(families: Iterable[Family]) -> set[str]:
    """Return the names, within checkpoints, of the families that are practised in turn.

    If many families are active, each one waits long for its turn, and none counts as being in practice.
    """
    active = {learner_name(family) for family in families if family.state is FamilyState.ACTIVE}
    return active if len(active) <= MOST_IN_TURN else set()


def loss_points(
    rehearsal: Rehearsal, rehearsed: RehearsalSlice, families: Iterable[Family]
) -> dict[str, tuple[CurvePoint, ...]]:
    """Return a curve point with the KL of each family that was measured or rehearsed in a slice, by their names."""
    met = {*rehearsed.measured, *rehearsed.losses}
    return {
        family.name: (CurvePoint(metric=CurveMetric.REHEARSAL_KL, value=rehearsal.losses[learner_name(family)]),)
        for family in families
        if learner_name(family) in met
    }
