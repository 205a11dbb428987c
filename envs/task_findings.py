"""Findings about the tasks of a worker's family: their spaces, their independence, and their variations."""

from __future__ import annotations

from envs.family import FamilySpec
from envs.findings import Finding, FindingKind, finding
from envs.gymnasium.batch import WorkerTaskBatch
from envs.gymnasium.task_checks import (
    CompareTime,
    VariationFindings,
    WorldFinding,
    compare_copies,
    compare_spaces,
    compare_variations,
)
from envs.gymnasium.variations import Variation, VariationTarget
from envs.random_play import Progress

FEWEST_COPIES = 3
"""Number of copies in one process from which tasks are compared: one task twice, and one that differs."""

FEW_COPIES = f"fewer than {FEWEST_COPIES} of its copies share a process (--copies)"

_TARGET_NAMES = {
    VariationTarget.ATTRIBUTE: "attribute",
    VariationTarget.KWARG: "keyword argument",
    VariationTarget.RESET_OPTION: "reset option",
    VariationTarget.INTERFACE: "interface's",
}


def compare_tasks(tasks: WorkerTaskBatch, limits: CompareTime, report: Progress) -> list[Finding]:
    """Compare tasks with each other and return what was found.

    Raises:
        FamilySpecError: a task has other spaces than the first task; the worker is closed.
    """
    found = []
    if tasks.spec.variations and compare_spaces(tasks, limits, report) == 0:
        found.append(_not_compared("whether its tasks have the same spaces", why=_why_not(is_slow=True)))
    if tasks.num_trials < FEWEST_COPIES:
        is_told = bool(tasks.spec.variations)
        return [*found, _not_compared("whether its variations change anything", why=FEW_COPIES)] if is_told else found
    found += _world_findings(tasks.spec, compare_copies(tasks, limits, report))
    if tasks.spec.variations:
        found += _variation_findings(compare_variations(tasks, limits, report))
    return found


def _world_findings(spec: FamilySpec, world: WorldFinding) -> list[Finding]:
    difference = (
        f"with the same seed and the same actions one copy behaves differently, from its step {world.differing_step} "
        "on, if another copy is stepped in between"
    )
    if world.depends_on_actions:
        found = (
            f"copies of {spec.entry!r} in one process share a world: {difference}, and the difference depends on the "
            "actions of the other copy."
        )
        return [finding(FindingKind.SHARED_WORLD, found)]
    findings = (
        []
        if world.is_compared
        else [_not_compared("whether its copies share a world", why=_why_not(is_slow=world.is_slow))]
    )
    if world.differing_step is not None:
        found = f"Copies in one process share something, such as a counter or a setting: {difference}."
        findings.append(finding(FindingKind.SHARED_STATE, found))
    return findings


def _variation_findings(compared: VariationFindings) -> list[Finding]:
    without_effect = {variation.name for variation in compared.without_effect} if compared.is_compared else set()
    findings = []
    for name, (drawn, present) in compared.undone.items():
        found = f"a reset changes the varied attribute {name!r} from {drawn}, which was drawn for a task, to {present}."
        if name in without_effect:
            hint = (
                f"Change the environment so that reset keeps {name!r}, or vary a keyword argument (kwarg.NAME) or "
                "a reset option (option.NAME) that reset reads."
            )
            whole = f"{found} Tasks that differ only in this attribute are equal."
            findings.append(finding(FindingKind.VARIATION_LOST, whole, hint=hint))
        else:
            findings.append(finding(FindingKind.VARIATION_CHANGED, f"{found[0].upper()}{found[1:]}"))
    lost = {name for name in compared.undone if name in without_effect}
    if compared.is_compared:
        findings += [
            _without_effect(variation, compared.num_steps)
            for variation in compared.without_effect
            if variation.name not in lost
        ]
    else:
        findings.append(_not_compared("whether its variations change anything", why=_why_not(is_slow=compared.is_slow)))
    return findings


def _without_effect(variation: Variation, num_steps: int) -> Finding:
    found = (
        f"Varying the {_TARGET_NAMES[variation.target]} {variation.name!r} changed nothing: tasks of one seed that "
        f"differ only in this value gave the same observations and rewards in {num_steps} steps of random actions."
    )
    hint = "It may still matter in states that random actions do not reach."
    if variation.target is VariationTarget.RESET_OPTION:
        hint = "Probably reset reads no option of that name."
    return finding(FindingKind.VARIATION_WITHOUT_EFFECT, found, hint=hint)


def _not_compared(what: str, *, why: str) -> Finding:
    return finding(FindingKind.NOT_CHECKED, f"Not checked {what}: {why}.")


def _why_not(*, is_slow: bool) -> str:
    return "it is too slow to compare tasks" if is_slow else "a task does not replay from its seed"
