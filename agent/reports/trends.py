"""The newest evaluations of every family, for small pictures beside its name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from memory.records import CurveMetric

if TYPE_CHECKING:
    from memory.store import Store

NUM_POINTS = 40
"""The newest evaluations of a family that are reported."""


def trend_values(store: Store) -> dict[str, Any]:
    """Return the JSON values of the newest evaluations of each family, oldest first.

    They are held-out scores; held-out returns of a family that has no scale.
    """
    families = []
    for family in store.families.all():
        metric = CurveMetric.EVAL_SCORE if family.has_scale else CurveMetric.EVAL_RETURN
        points = store.curves.points(family.name, metric, limit=NUM_POINTS)
        finite = [point for point in points if math.isfinite(point.point.value)]
        families.append(
            {
                "name": family.name,
                "metric": metric,
                "at": [point.at for point in finite],
                "values": [point.point.value for point in finite],
            }
        )
    return {"families": families}
