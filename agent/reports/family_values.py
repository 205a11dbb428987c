"""The JSON values of one family: its record, adaptation, reference and last job runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agent.reference_requests import is_to_be_measured, retry_at
from envs.kinds import FamilyKind
from memory.records import CurveMetric, FailureStreak, Family, JobRun, StoredCurvePoint, UnreadableSpec

if TYPE_CHECKING:
    from memory.store import Store

NUM_RUNS = 5
"""The last job runs of a family that are reported."""


def family_report(store: Store, family: Family) -> dict[str, Any]:
    """Return all JSON values of a family that is not removed: the answer of `learnd env show`."""
    name = family.name
    report = next(report for report in store.family_reports() if report["name"] == name)
    points = [point for point in store.curves.latest() if point.family == name]
    # Runs are stored by family name, and a removed family may have had the same name.
    runs = [run for run in store.jobs.runs(limit=200) if run.family == name and run.started_at >= family.created_at]
    return {
        **family_values(family),
        **report,
        **adaptation_values(family, points),
        **run_values(runs[:NUM_RUNS]),
        "reference": reference_values(family, store.references.failures().get(name)),
    }


def family_values(family: Family) -> dict[str, Any]:
    """Return the JSON values of a family's record."""
    return {
        "name": family.name,
        "state": family.state,
        "state_reason": family.state_reason,
        "spec": family.spec.to_json(),
        "spaces": family.spaces,
        "random_return": family.random_return,
        "reference_return": family.reference_return,
        "strikes": family.strikes,
        "quarantined_until": family.quarantined_until,
        "created_at": family.created_at,
    }


def adaptation_values(family: Family, points: Sequence[StoredCurvePoint]) -> dict[str, Any]:
    """Return the newest held-out returns by episode (few-shot: by number of shots), and what was before practice."""
    returns = _episode_returns(points)
    shots = {"shots": list(returns)} if family.kind is FamilyKind.FEW_SHOT else {}
    return {"episode_returns": list(returns.values()), **shots, **_met_values(points), **_before_practice(points)}


def run_values(runs: Sequence[JobRun]) -> dict[str, Any]:
    """Return the JSON values of a family's last job runs."""
    return {
        "last_runs": [
            {
                "job": r.kind,
                "outcome": r.outcome,
                "started_at": r.started_at,
                "reason": r.reason,
                "error": r.problem,
                "progress": (r.detail or None) if r.outcome is None else None,
            }
            for r in runs
        ]
    }


def reference_values(family: Family, failures: FailureStreak | None) -> dict[str, Any]:
    """Return the JSON values of a family's reference: its source, and the state of its measurement."""
    spec = None if isinstance(family.spec, UnreadableSpec) else family.spec
    measured = None if spec is None else spec.measured_reference
    return {
        "return": family.reference_return,
        "source": None if spec is None else spec.reference_source or None,
        "is_to_be_measured": is_to_be_measured(family),
        "steps": None if spec is None else spec.reference_steps or None,
        "measured": None if measured is None else asdict(measured),
        "failure": None if failures is None else {**asdict(failures), "retry_at": retry_at(failures)},
    }


def _episode_returns(points: Sequence[StoredCurvePoint]) -> dict[int, float]:
    """Return the held-out return by episode of the trial; for a few-shot family, by number of shots."""
    by_index = {
        int(point.point.label): point.point.value
        for point in points
        if point.point.metric is CurveMetric.EPISODE_RETURN and point.point.label.isdigit()
    }
    return dict(sorted(by_index.items()))


def _met_values(points: Sequence[StoredCurvePoint]) -> dict[str, Any]:
    """Return the returns of the first episode and of the trial in tasks that were met; empty if not measured."""
    first, whole = (
        {stored.point.label: stored.point for stored in points if stored.point.metric is metric}
        for metric in (CurveMetric.MET_RETURN, CurveMetric.MET_TRIAL_RETURN)
    )
    returns = {
        label: {
            "return": point.value,
            "standard_error": point.standard_error,
            "trial_return": whole[label].value if label in whole else None,
            "trial_return_standard_error": whole[label].standard_error if label in whole else None,
        }
        for label, point in first.items()
    }
    return {"met_tasks": returns} if returns else {}


def _before_practice(points: Sequence[StoredCurvePoint]) -> dict[str, Any]:
    """Return the scores before the first practice, and the forward transfer, as far as they were measured."""
    return {**_zero_shot_values(points), **_transfer_values(points), **_lent_values(points)}


def _zero_shot_values(points: Sequence[StoredCurvePoint]) -> dict[str, Any]:
    """Return what the family's policy began with and its score and return before practice; empty if not measured."""
    newest = {stored.point.metric: stored.point for stored in points}
    returned, score = newest.get(CurveMetric.ZERO_SHOT_RETURN), newest.get(CurveMetric.ZERO_SHOT_SCORE)
    if returned is None:
        return {}
    values = {"start": returned.label, "return": returned.value, "return_standard_error": returned.standard_error}
    scored = (None, None) if score is None else (score.value, score.standard_error)
    return {"zero_shot": values | {"score": scored[0], "standard_error": scored[1]}}


def _transfer_values(points: Sequence[StoredCurvePoint]) -> dict[str, Any]:
    """Return the forward transfer and the return of new parameters; empty if not measured."""
    newest = {stored.point.metric: stored.point for stored in points}
    fresh, transfer = newest.get(CurveMetric.FRESH_RETURN), newest.get(CurveMetric.FORWARD_TRANSFER)
    if fresh is None:
        return {}
    scored = (None, None) if transfer is None else (transfer.value, transfer.standard_error)
    values = {"fresh_return": fresh.value, "fresh_return_standard_error": fresh.standard_error}
    return {"forward_transfer": {"score": scored[0], "standard_error": scored[1], **values}}


def _lent_values(points: Sequence[StoredCurvePoint]) -> dict[str, Any]:
    """Return the score of another family's learner on this family before practice; empty if it was not measured."""
    lent = [stored.point for stored in points if stored.point.metric is CurveMetric.LENT_SCORE]
    if not lent:
        return {}
    newest = lent[-1]
    return {
        "lent_score": {"family": newest.label, "score": newest.value, "standard_error": newest.standard_error},
    }
