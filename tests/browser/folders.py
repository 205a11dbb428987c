"""Data folders with any number of families, written in one transaction."""

from __future__ import annotations

import math
from pathlib import Path

from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint, FamilyState
from memory.store import Store
from tests.agent.cli.filled_store import spaces, spec_of

EPISODES = 3
EVALUATIONS = 6


def fill_with(path: Path, num_families: int) -> DataFolder:
    """Write a data folder with so many evaluated families; every seventh has no reference, and the last is refused."""
    folder = DataFolder(path)
    folder.create()
    with Store.open(folder) as store, store._connection.transaction("filling"):
        for number in range(num_families):
            name = f"family-{number:03}"
            store.families.add(spec_of(name))
            reference = None if number % 7 == 6 else 100.0
            store.families.admit(name, spaces=spaces().to_json(), random_return=0.0, reference_return=reference)
            for evaluation in range(EVALUATIONS):
                store.curves.commit_evaluation(name, _points(number, evaluation, has_scale=reference is not None))
        if num_families > 1:
            store.families.set_state(name, FamilyState.REFUSED, reason="reset() returned <b>no</b> observation")
    return folder


def _points(number: int, evaluation: int, *, has_scale: bool) -> list[CurvePoint]:
    score = (1 - math.exp(-evaluation / 3)) * (0.3 + 0.7 * (number % 5) / 4)
    scored = [CurvePoint(metric=CurveMetric.EVAL_SCORE, value=score, standard_error=0.03)] if has_scale else []
    return [
        *scored,
        CurvePoint(metric=CurveMetric.EVAL_RETURN, value=100 * score, standard_error=3.0),
        *(
            CurvePoint(metric=CurveMetric.EPISODE_RETURN, label=str(i), value=score * (20 + 10 * i))
            for i in range(EPISODES)
        ),
    ]
