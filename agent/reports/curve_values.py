"""The curves of a family, read from the store, and their JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from agent.output.quantities import short_count, with_error
from agent.reports.family_curves import FamilyCurves
from envs.kinds import FamilyKind
from memory.records import CurveMetric, Family, StoredCurvePoint, UnreadableSpec

if TYPE_CHECKING:
    from memory.store import Store


def read_curves(store: Store, family: Family, metric: CurveMetric) -> FamilyCurves:
    """Return the points and labels to draw, oldest first; without a reference, returns in place of scores."""
    shown = _evaluated_metric(family) if metric is CurveMetric.EVAL_SCORE else metric
    points = sorted(
        store.curves.points(family.name, shown), key=lambda point: (_label_order(point), point.at, point.env_steps)
    )
    episodes = sorted(
        store.curves.points(family.name, CurveMetric.EPISODE_RETURN), key=lambda p: (p.at, _label_order(p))
    )
    evaluations = [list(evaluation) for _, evaluation in groupby(episodes, key=lambda point: point.at)]
    return FamilyCurves(
        family=family.name,
        metric=shown,
        subtitle=_subtitle(family, store.curves.points(family.name, _evaluated_metric(family))),
        lines={label: list(line) for label, line in groupby(points, key=lambda point: point.point.label)},
        first_episodes=evaluations[0] if evaluations else (),
        latest_episodes=evaluations[-1] if evaluations else (),
        is_by_shots=family.kind is FamilyKind.FEW_SHOT,
        random_episode_return=_random_episode_return(family),
    )


def _random_episode_return(family: Family) -> float | None:
    """Return the mean return of random actions in one episode; None if it is not known."""
    if family.random_return is None or isinstance(family.spec, UnreadableSpec):
        return None
    return family.random_return / family.spec.episodes_per_trial


def _label_order(point: StoredCurvePoint) -> tuple[int, str]:
    """Return a sort key: episode indices sort as numbers, other labels sort as text before them."""
    label = point.point.label
    return (int(label), "") if label.isdigit() else (-1, label)


def _evaluated_metric(family: Family) -> CurveMetric:
    return CurveMetric.EVAL_SCORE if family.has_scale else CurveMetric.EVAL_RETURN


def _subtitle(family: Family, evaluations: Sequence[StoredCurvePoint]) -> str:
    pieces = [str(family.state), f"{short_count(family.totals.env_steps)} steps"]
    pieces.append(f"{short_count(family.totals.meta_updates)} updates")
    if evaluations:
        latest = max(evaluations, key=lambda point: point.at).point
        name = "score" if family.has_scale else "held-out return"
        pieces.append(f"{name} {with_error(latest.value, latest.standard_error)}")
    return " · ".join(pieces)


def curve_values(curves: FamilyCurves) -> dict[str, Any]:
    """Return the JSON values of a family's curves."""
    return {
        "name": curves.family,
        "metric": curves.metric,
        "points": [point_values(point) for line in curves.lines.values() for point in line],
        "first_episodes": [point_values(point) for point in curves.first_episodes],
        "latest_episodes": [point_values(point) for point in curves.latest_episodes],
    }


def point_values(point: StoredCurvePoint) -> dict[str, Any]:
    """Return the JSON values of a point."""
    return {
        "label": point.point.label,
        "env_steps": point.env_steps,
        "meta_updates": point.meta_updates,
        "at": point.at,
        "value": point.point.value,
        "standard_error": point.point.standard_error,
        "learner_steps": point.learner_steps,
    }
