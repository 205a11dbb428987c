"""Findings about one environment: its contract with Gymnasium, as the worker and Gymnasium's own checker see it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from envs.effort import Effort, TimeLimit
from envs.findings import Finding, FindingKind, finding
from envs.gymnasium.batch import WorkerTaskBatch

TOLERATED = (
    "share an object",
    "determin",
    "Determin",
    "equivalent",
    "np_random",
    "random number generator",
    "super().reset",
    "Range exceeds valid bounds",
    "is ambiguous",
)
"""Words of those failures of the checker that learnd reports as warnings.

A worker copies its observations, so shared arrays do no harm. Tasks that do not replay exactly can be practised. The
checker cannot draw from a Box with bounds such as ±1e308; learnd treats such a dimension as unbounded. It compares
observations by their truth value, which arrays of other libraries do not have; learnd converts them.
"""

ADVICE = (
    "infinity. This is probably",
    "symmetric and normalized",
    "overflow encountered",
    "is different from the unwrapped version",
    "within the observation space",
    "Environment truncates after 1 step",
    "The `reset` method does not provide",
)
"""Words of those warnings and failures of the checker that are not shown, because they are not about a fault.

- Gymnasium's own environments cause the first three too.
- The fourth advises to check an environment without its wrappers, but learnd practises it with them.
- Observations are compared with their space by the check of the contract, which also accepts ``uint64``.
- Episodes of one step can be practised.
- The arguments of ``reset`` are checked by the check of the contract, which also accepts ``**named``.
"""

TOLD_BY = {
    FindingKind.WRONG_DTYPE: ("dtype", "numpy array"),
    FindingKind.UNUSUAL_REWARD: ("reward returned by `step()` must be",),
    FindingKind.SEED_IGNORED: ("determin", "Determin", "equivalent", "super().reset", "np_random", "random number gen"),
    FindingKind.RESET_KEEPS_STATE: ("determin", "Determin", "equivalent"),
    FindingKind.GLOBAL_RANDOM: ("determin", "Determin", "equivalent"),
}
"""Words of the checker that say again what a finding of the contract says."""


OWN_SHARE = 0.7
"""The share of the time that learnd's own check may take; Gymnasium's checker gets the rest."""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """The result of the check of the contract.

    Attributes:
        findings: the faults of the environment.
        is_replayed: whether seed and actions determine what happens; None if that is not known.
        times: seconds of ``make_s``, ``reset_s``, ``slowest_reset_s``, ``step_s``, ``step_cpu_s`` of one copy.
        unchecked: the parts for which no time was left.
    """

    findings: list[Finding]
    is_replayed: bool | None
    times: dict[str, float]
    unchecked: list[str]


def check_contract(tasks: WorkerTaskBatch, effort: Effort, limit: TimeLimit) -> Contract:
    """Check an environment against its contract, by learnd's own check and by Gymnasium's checker, within a time.

    Raises:
        WorkerFaultError: the worker failed, for example because the environment raised an error.
    """
    checked = tasks.check_contract(
        max_steps=effort.contract_steps, max_s=effort.contract_s, within_s=limit.part(OWN_SHARE).left_s()
    )
    unchecked = list(checked["unchecked"])
    found = [_contract_finding(values) for values in checked["findings"]]
    # Gymnasium's checker stops at faults that were found already, and takes actions that a mask forbids.
    if not checked["has_mask"] and not any(fault.is_refusal for fault in found):
        told, is_whole = _checker_findings(tasks, {fault.kind for fault in found}, within_s=limit.left_s())
        found += told
        unchecked += [] if is_whole else ["what Gymnasium's checker tests"]
    return Contract(findings=found, is_replayed=checked["is_replayed"], times=checked["times"], unchecked=unchecked)


def _contract_finding(values: dict[str, Any]) -> Finding:
    count = values["count"]
    found = values["found"] if count == 1 else f"{values['found']} ({count} times)"
    return finding(FindingKind(values["kind"]), found, call=values["call"])


def _checker_findings(
    tasks: WorkerTaskBatch, told: Collection[FindingKind], *, within_s: float
) -> tuple[list[Finding], bool]:
    """Return what Gymnasium's checker adds to the findings of the contract, and whether it had enough time."""
    checked = tasks.check(within_s=within_s)
    known = (*ADVICE, *(words for kind in told for words in TOLD_BY.get(kind, ())))
    found = [
        finding(FindingKind.CHECKER, text) for text in checked["warnings"] if not any(words in text for words in known)
    ]
    failure: str | None = checked["failure"]
    if failure is not None and not any(words in failure for words in known):
        if any(words in failure for words in TOLERATED):
            found.append(finding(FindingKind.CHECKER, f"Gymnasium's checker stopped at: {failure}"))
        else:
            rejected = f"Gymnasium's checker rejects {tasks.spec.entry!r}: {failure}"
            found.append(finding(FindingKind.CHECKER_REJECTS, rejected))
    return found, bool(checked["is_whole"])
