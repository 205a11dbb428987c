"""A copy of the store's state in memory, about a second old, for metrics and decisions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from agent.daemon.scheduling.family_choice import NUM_EVALUATIONS
from memory.records import (
    CounterValue,
    CurveMetric,
    Family,
    FamilyState,
    JobKind,
    JobSummary,
    Problem,
    ProblemKind,
    StoredCurvePoint,
    StoreSizes,
)
from memory.store import Store

Curves = Mapping[CurveMetric, Mapping[tuple[str, ...], float]]
"""Values by metric, and by family and label. A metric without values may be missing."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state of the store at one moment.

    Attributes:
        families: the families that are not removed.
        curves: the newest value of each metric, family and label.
        evaluated: time and environment steps of the newest held-out return of each family.
        returns: the newest held-out returns of each active family, oldest first.
        counters: every counter of the store.
        jobs: the newest run and the newest success of each kind of job.
        episodes: number of each family's episodes in episodic memory.
        sizes: the space that the store takes on the disk.
        policy_version: number of the current version; 0 before the first.
        data_version: a number that changes when another connection commits.
        damage: known damage of the store.
        first_added_at: time at which the first family was added, in seconds since the epoch; None if none ever was.
        newest_point: an id of a curve point up to which ``curves`` and ``evaluated`` are complete.
    """

    families: tuple[Family, ...]
    curves: Curves
    counters: tuple[CounterValue, ...]
    jobs: Mapping[JobKind, JobSummary]
    episodes: Mapping[str, int]
    sizes: StoreSizes
    policy_version: int
    data_version: int
    evaluated: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    returns: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    damage: tuple[Problem, ...] = ()
    first_added_at: float | None = None
    newest_point: int = 0

    def newest(self, metric: CurveMetric) -> dict[str, float]:
        """Return each family's newest value of a metric that has one series a family."""
        return {family: value for (family, _), value in self.curves.get(metric, {}).items()}


def read_snapshot(store: Store, before: Snapshot | None) -> Snapshot:
    """Return the present state of the store, or ``before`` if nothing was committed since.

    Args:
        store: a reader.
        before: the previous snapshot. Its returns are reused for families that were not evaluated since.
    """
    data_version = store.data_version()
    if before is not None and before.data_version == data_version:
        return before
    families = tuple(store.families.all())
    newest_point = store.curves.newest_id()
    known, added = _known_and_added(store, families, before)
    damage = store.damage.all()
    evaluated = {**(known.evaluated if known else {}), **_evaluated(added)}
    return Snapshot(
        families=families,
        curves=_with(known.curves if known else {}, added),
        counters=tuple(store.counters.all()),
        jobs={summary.kind: summary for summary in store.jobs.summaries()},
        episodes=store.stats.kept_episodes(),
        sizes=store.stats.sizes(),
        policy_version=store.initializations.current_version() or 0,
        data_version=data_version,
        evaluated=evaluated,
        returns=_returns(store, families, evaluated, before),
        damage=(*damage, *_damaged_families(damage, families)),
        first_added_at=store.families.first_added_at(),
        newest_point=newest_point,
    )


def _known_and_added(
    store: Store, families: tuple[Family, ...], before: Snapshot | None
) -> tuple[Snapshot | None, list[StoredCurvePoint]]:
    """Return the snapshot whose points still hold, and those that were added since: all if there is no such snapshot.

    Reading all of them takes 100 ms of CPU with 1,000 families, and each slice of practice adds points. So only what is
    new is read if the families are the same as before.
    """
    if before is None or [family.id for family in families] != [family.id for family in before.families]:
        return None, store.curves.latest()
    names = {family.name for family in families}
    return before, [stored for stored in store.curves.added_since(before.newest_point) if stored.family in names]


def _with(curves: Curves, points: Iterable[StoredCurvePoint]) -> Curves:
    """Return curves with further points. Metrics without further points keep their mapping."""
    new: dict[CurveMetric, dict[tuple[str, ...], float]] = defaultdict(dict)
    for stored in points:
        new[stored.point.metric][stored.family, stored.point.label] = stored.point.value
    return {**curves, **{metric: {**curves.get(metric, {}), **found} for metric, found in new.items()}}


def _evaluated(points: Iterable[StoredCurvePoint]) -> dict[str, tuple[float, int]]:
    return {p.family: (p.at, p.env_steps) for p in points if p.point.metric is CurveMetric.EVAL_RETURN}


def _damaged_families(known: Iterable[Problem], families: Iterable[Family]) -> Iterator[Problem]:
    """Yield a problem for each family whose row is damaged, unless a check has already reported it."""
    keys = {problem.key for problem in known}
    for family in families:
        key = f"families:{family.id}"
        if family.is_damaged and key not in keys:
            yield Problem(subject=f"family {family.name}", found=family.state_reason, kind=ProblemKind.ROW, key=key)


def _returns(
    store: Store, families: tuple[Family, ...], evaluated: Mapping[str, tuple[float, int]], before: Snapshot | None
) -> dict[str, tuple[float, ...]]:
    """Return the newest held-out returns of each active family; a curve is read only if it has a new point."""
    returns = {}
    for family in families:
        name = family.name
        if family.state is not FamilyState.ACTIVE or name not in evaluated:
            continue
        if before is not None and before.evaluated.get(name) == evaluated[name] and name in before.returns:
            returns[name] = before.returns[name]
            continue
        curve = store.curves.points(name, CurveMetric.EVAL_RETURN, limit=NUM_EVALUATIONS)
        returns[name] = tuple(p.point.value for p in curve if math.isfinite(p.point.value))
    return returns
