"""A family of the filled store that has no reference return."""

from __future__ import annotations

from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint
from memory.store import Store
from tests.agent.cli.filled_store import spec_of

RETURNS = (-1210.0, -1190.0, -900.0, -1050.0, -640.0)


def add_unscaled(folder: DataFolder, name: str = "arm") -> None:
    """Add a family without a reference, evaluated five times."""
    with Store.open(folder) as store:
        spaces = store.families.get("pendulum").spaces or {}
        store.families.add(spec_of(name))
        store.families.admit(name, spaces=spaces, random_return=-1200.0, reference_return=None)
        for value in RETURNS:
            point = CurvePoint(metric=CurveMetric.EVAL_RETURN, value=value, standard_error=31.0)
            store.curves.commit_evaluation(name, [point])
