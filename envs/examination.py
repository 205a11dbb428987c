"""The examination of a family: it runs, its environment keeps its contract, its tasks differ and are independent.

:func:`examine` collects all findings; :mod:`envs.admission` admits a family by them.
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from envs.effort import Effort, TimeLimit, TimeUpError
from envs.errors import EnvsError, FamilySpecError, UnsupportedSpaceError, WorkerFaultError
from envs.family import FamilySource, FamilySpec
from envs.findings import MORE_TIME, Finding, FindingKind, finding, out_of_time, refusal
from envs.gymnasium.automatic_variations import complete
from envs.gymnasium.batch import WorkerTaskBatch
from envs.gymnasium.contract_findings import check_contract
from envs.gymnasium.task_checks import CompareTime
from envs.gymnasium.variations import VariationTarget
from envs.limits import WorkerLimits
from envs.pace import UNKNOWN_PACE, Pace
from envs.random_play import Progress, RandomPlay, play_at_random
from envs.reference import ReferenceRule
from envs.registry import open_tasks
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch
from envs.task_findings import compare_tasks

NUM_TRIALS = 16

EPISODE_SHARE = 0.3
"""The share of the patience with a first episode that all copies together may take for one of the largest length."""

PART_SHARE = 0.4
"""The share of the time that is left which a part before the play of random actions may take."""

BEGIN_SHARE = 0.5
"""The share of the time for random actions in which the copies begin; copies that begin slowly are fewer."""

ONE_LENGTH_EPISODES, ONE_LENGTH_STEPS = 16, 10
"""Numbers of episodes and of steps from which equal lengths of terminated episodes look like a limit of time."""


@dataclass(kw_only=True)
class Examination:
    """The findings and measurements of an examination.

    Attributes:
        spec: the family; its automatic variations are complete if it could be opened.
        findings: faults and remarks, in the order in which they were found.
        spaces: observation and action spaces; None if the family could not be opened.
        num_copies: copies of the environment that were stepped together.
        max_episode_steps: the limit of steps of an episode; None if none is known.
        is_replayed: whether seed and actions determine what happens; None if that is not known.
        times: seconds of making, resetting and stepping one copy; empty for tensor families.
        play: what random actions gave; None if they were not played.
        random_return: the declared random return, or the mean trial return of random actions; None if unknown.
        random_standard_error: standard error of ``random_return``; 0 if it was declared.
        reference_return: trial return that counts as score 1; None if it is unknown.
        reference_source: source of ``reference_return``.
        pace: the usual speed of the environment, as far as its worker found it.
    """

    spec: FamilySpec
    findings: list[Finding] = field(default_factory=list)
    spaces: SpacePair | None = None
    num_copies: int = 0
    max_episode_steps: int | None = None
    is_replayed: bool | None = None
    times: dict[str, float] = field(default_factory=dict)
    play: RandomPlay | None = None
    random_return: float | None = None
    random_standard_error: float = 0.0
    reference_return: float | None = None
    reference_source: str = ""
    pace: Pace = UNKNOWN_PACE

    @property
    def refusals(self) -> list[Finding]:
        """The findings because of which the family cannot be practised."""
        return [found for found in self.findings if found.is_refusal]

    def begin_s(self, *, is_made: bool) -> float:
        """Return the seconds in which a task usually begins; 0 if that is not known.

        Args:
            is_made: whether a copy exists that can be reset. Where keyword arguments vary, each task needs a new one.
        """
        is_new = not is_made or any(v.target is VariationTarget.KWARG for v in self.spec.variations)
        return self.times.get("reset_s", 0.0) + (self.times.get("make_s", 0.0) if is_new else 0.0)

    def report(self) -> dict[str, Any]:
        """Return what was measured as JSON values."""
        played = (self.play or RandomPlay()).to_json()
        return {
            "num_copies": self.num_copies,
            "max_episode_steps": self.max_episode_steps,
            "is_replayed": self.is_replayed,
            **played,
            "one_copy": self.times,
        }


def examine(
    spec: FamilySpec, *, limits: WorkerLimits | None, num_copies: int, effort: Effort, report: Progress
) -> Examination:
    """Open a family of environments, check it and play it with random actions.

    The examination ends at the first refusal, unless the effort is thorough. It ends in any case when the worker does.
    When its time is over, the call that is at work is interrupted; findings say what was not checked.

    Args:
        spec: the family; not a few-shot family.
        limits: limits of its worker.
        num_copies: number of copies of the environment in its worker.
        effort: the limits of time.
        report: called regularly with the phase and the number of units done. It may raise to end the examination.
    """
    found, limit = Examination(spec=spec), TimeLimit(effort.whole_s)
    limits = replace(limits or WorkerLimits(), num_processes=1)
    try:
        tasks = _opened(found, limit, limits=limits, num_copies=num_copies, report=report)
    except TimeUpError:
        found.findings.append(_not_played("its first copy was not made and described", effort))
        return found
    except EnvsError as error:
        found.findings.append(refusal(error, _kind_of(error)))
        return found
    with closing(tasks):
        _examine_opened(found, tasks, effort, limit, report)
        if isinstance(tasks, WorkerTaskBatch):
            found.pace = tasks.pace
    return found


def _examine_opened(found: Examination, tasks: TaskBatch, effort: Effort, limit: TimeLimit, report: Progress) -> None:
    parts = [
        ("whether the environment keeps its contract", _check_contract),
        ("whether tasks differ and are independent", _compare),
        ("", _play),
    ]
    while parts:
        if found.refusals and not effort.is_thorough:
            return
        what, part = parts.pop(0)
        try:
            part(found, tasks, effort, limit, report)
        except TimeUpError:
            found.findings += [out_of_time(what) for what in (what, *(other for other, _ in parts)) if what]
            found.findings.append(_not_played("the parts before were not done", effort))
            return
        except EnvsError as error:
            # A worker that ends after a refusal was told of probably ends because of the same fault.
            if not found.refusals:
                found.findings.append(refusal(error, _kind_of(error)))
            return


def _not_played(found: str, effort: Effort) -> Finding:
    text = f"no episode was played: {found} within the time of the check, {effort.whole_s:g} s."
    return finding(FindingKind.NO_END, text, hint=MORE_TIME)


def _opened(
    found: Examination, limit: TimeLimit, *, limits: WorkerLimits | None, num_copies: int, report: Progress
) -> TaskBatch:
    report("opening", 0)

    def on_wait() -> None:
        limit.check()
        report("waiting", 0)

    found.spec = complete(
        found.spec,
        limits=limits,
        on_wait=on_wait,
        within_s=limit.part(PART_SHARE).left_s(),
        tell_unchecked=lambda what: found.findings.append(out_of_time(what)),
    )
    found.num_copies = NUM_TRIALS if found.spec.source is FamilySource.TENSOR else num_copies
    tasks = open_tasks(
        found.spec,
        None,
        num_trials=found.num_copies,
        device="cpu",
        limits=limits,
        on_wait=on_wait,
    )
    found.spec = tasks.spec  # its entry names the class if it was declared as the only one of a file
    found.spaces, found.max_episode_steps = tasks.spaces, tasks.max_episode_steps
    if found.spaces.action.is_single:
        found.findings.append(finding(FindingKind.ONE_ACTION, "the action space has one action: nothing is chosen."))
    return tasks


def _kind_of(error: EnvsError) -> FindingKind:
    if isinstance(error, UnsupportedSpaceError):
        return FindingKind.UNSUPPORTED_SPACE
    return FindingKind.FAULT if isinstance(error, WorkerFaultError) else FindingKind.DESCRIPTION


def _check_contract(found: Examination, tasks: TaskBatch, effort: Effort, limit: TimeLimit, report: Progress) -> None:
    report("checking", 0)
    if isinstance(tasks, WorkerTaskBatch):
        contract = check_contract(tasks, effort, limit.part(PART_SHARE))
        found.is_replayed, found.times = contract.is_replayed, contract.times
        found.findings += map(out_of_time, contract.unchecked)
        for fault in contract.findings:
            # Where something else varies, tasks need not differ by their seed.
            if fault.kind is not FindingKind.SEED_WITHOUT_EFFECT or not found.spec.variations:
                found.findings.append(fault)
    else:
        found.is_replayed = True


def _compare(found: Examination, tasks: TaskBatch, effort: Effort, limit: TimeLimit, report: Progress) -> None:
    if isinstance(tasks, WorkerTaskBatch):
        limits = CompareTime(effort=effort, limit=limit.part(PART_SHARE), begin_s=found.begin_s(is_made=True))
        found.findings += compare_tasks(tasks, limits, report)


def _play(found: Examination, tasks: TaskBatch, effort: Effort, limit: TimeLimit, report: Progress) -> None:
    has_limit = found.max_episode_steps is not None
    num_rows = max(1, int(min(tasks.num_trials, _affordable_copies(found, effort, limit))))
    found.play = play = play_at_random(tasks, effort, limit, num_rows=num_rows, has_step_limit=has_limit, report=report)
    if num_rows < tasks.num_trials and play.num_steps:
        few = f"{tasks.num_trials} copies at once, as many as practice has, but {num_rows}"
        found.findings.append(out_of_time(few))
        found.num_copies = num_rows
    found.findings += _play_findings(play, has_step_limit=has_limit)
    if isinstance(tasks, WorkerTaskBatch):
        found.findings += _time_limit_findings(play)
    if not play.episode_lengths:
        return
    _take_random_return(found, play)
    _take_reference(found, tasks)


def _affordable_copies(found: Examination, effort: Effort, limit: TimeLimit) -> float:
    """Return how many copies can begin in time, and play an episode of the largest length: they share a process."""
    episode_s = (found.max_episode_steps or 0) * found.times.get("step_s", 0.0)
    patience_s = min(effort.patience_s, limit.left_s())
    begin_s = found.begin_s(is_made=False)
    return min(BEGIN_SHARE * limit.left_s() / max(begin_s, 1e-9), EPISODE_SHARE * patience_s / max(episode_s, 1e-9))


def _play_findings(play: RandomPlay, *, has_step_limit: bool) -> list[Finding]:
    lengths = play.episode_lengths
    if not lengths:
        text = f"no episode ended within {play.num_steps} steps of random actions, in {play.seconds:.0f} s."
        hint = "Set a smaller step limit (--max-steps), or look at the environment with learnd env check --max-time 1h."
        if not has_step_limit:
            hint = "Set a step limit (--max-steps), so that episodes end."
        return [finding(FindingKind.NO_END, text, hint=hint)]
    if not play.is_whole and not has_step_limit and not play.num_truncated:
        text = "No limit of steps is known, and an episode did not end."
        return [finding(FindingKind.NO_STEP_LIMIT, text)]
    return []


def _time_limit_findings(play: RandomPlay) -> list[Finding]:
    """Return a finding if all episodes terminated after the same number of steps, and none was truncated."""
    lengths = play.episode_lengths
    if len(lengths) < ONE_LENGTH_EPISODES or play.num_truncated:
        return []
    if not min(lengths) == max(lengths) >= ONE_LENGTH_STEPS:
        return []
    text = f"each of {len(lengths)} episodes terminated after {lengths[0]} steps, which looks like a limit of time."
    return [finding(FindingKind.TRUNCATION_MISSING, text, call="step")]


def _take_random_return(found: Examination, play: RandomPlay) -> None:
    if found.spec.random_return is not None:
        found.random_return = found.spec.random_return
        return
    if play.trial_returns:
        found.random_return, found.random_standard_error = _mean_and_error(play.trial_returns)
        return
    text = "Not every trial ended in time: the random return is estimated from single episodes."
    found.findings.append(finding(FindingKind.FEW_EPISODES, text))
    mean, error = _mean_and_error(play.episode_returns)
    episodes = found.spec.episodes_per_trial
    found.random_return, found.random_standard_error = mean * episodes, error * episodes


def _mean_and_error(values: list[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def _take_reference(found: Examination, tasks: TaskBatch) -> None:
    spec, random_return = found.spec, found.random_return
    if random_return is None:
        return
    if spec.reference_return is not None:
        try:
            check_reference(spec, spec.reference_return, random_return)
        except FamilySpecError as error:
            found.findings.append(refusal(error, FindingKind.REFERENCE_TOO_LOW))
        found.reference_return, found.reference_source = spec.reference_return, spec.reference_source or "declared"
        return
    if spec.reference_rule is not ReferenceRule.THRESHOLD:
        return
    if not isinstance(tasks, WorkerTaskBatch) or tasks.reward_threshold is None:
        return
    reference = tasks.reward_threshold * spec.episodes_per_trial
    if reference <= random_return:
        text = (
            f"The registered reward threshold, {tasks.reward_threshold:g} per episode, is not above the return of "
            "random actions, so it is not used as reference."
        )
        found.findings.append(finding(FindingKind.THRESHOLD_UNUSED, text))
        return
    found.reference_return = reference
    found.reference_source = f"Gymnasium's reward threshold for {spec.entry}, {tasks.reward_threshold:g} per episode"


def check_reference(spec: FamilySpec, reference_return: float, random_return: float) -> None:
    """Raise if a declared reference is not above the return of random actions.

    Raises:
        FamilySpecError: it is not.
    """
    if reference_return <= random_return:
        raise FamilySpecError(
            operation="admitting family",
            subject=spec.name,
            found=f"its reference return, {reference_return:g}, is not above the return of random actions in a "
            f"trial, {random_return:g}.",
            hint="A reference return is the sum over all episodes of a trial; declare a higher one, or none.",
        )
