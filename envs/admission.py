"""Admission of a family before practice: check that it runs, read its spaces and measure the random return.

Shapes: B trials.
"""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import dataclass, field

import torch

from envs.errors import EnvsError, FamilySpecError
from envs.family import FamilySource, FamilySpec, Split
from envs.few_shot.options import SinusoidOptions, options_of
from envs.few_shot.returns import chance_of
from envs.few_shot.tasks import FewShotShapes
from envs.gymnasium.automatic_variations import complete
from envs.gymnasium.batch import WorkerTaskBatch
from envs.gymnasium.task_checks import (
    Progress,
    VariationFindings,
    compare_copies,
    compare_spaces,
    compare_variations,
)
from envs.gymnasium.variations import Variation, VariationTarget
from envs.limits import WorkerLimits
from envs.random_actions import random_actions
from envs.reference import ReferenceRule
from envs.registry import open_few_shot, open_tasks
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch, allowed_choices

NUM_TRIALS = 16
MAX_TRIALS = 1024
_TARGET_NAMES = {
    VariationTarget.ATTRIBUTE: "attribute",
    VariationTarget.KWARG: "keyword argument",
    VariationTarget.RESET_OPTION: "reset option",
    VariationTarget.INTERFACE: "interface's",
}
KEEP_APART = (
    "Many copies run in one process: keep the state of an environment in its instance, not in its class, its module or "
    "one shared simulation."
)
ENOUGH_S = 3.0
"""After this time no further batch of trials is started."""

MAX_S = 30.0
"""After this time the running batch is stopped; only trials and episodes that have ended are counted."""

TOLERATED = (
    "share an object",
    "determin",
    "Determin",
    "equivalent",
    "np_random",
    "super().reset",
    "Range exceeds valid bounds",
)
"""Words of those failures of the checker that learnd reports as warnings.

A worker copies its observations, so shared arrays do no harm. Tasks that do not replay exactly can be practised. The
checker cannot draw from a Box with bounds such as ±1e308; learnd treats such a dimension as unbounded.
"""

ADVICE = (
    "infinity. This is probably",
    "symmetric and normalized",
    "overflow encountered",
    "is different from the unwrapped version",
)
"""Words of those warnings of the checker that are not shown, because they are not about a fault of the environment.

Gymnasium's own environments cause the first three too. The last one advises to check an environment without its
wrappers, but learnd practises it with them.
"""


@dataclass(frozen=True, kw_only=True)
class Admission:
    """The results of the admission of a family.

    Attributes:
        spec: the family; its automatic variations are complete.
        spaces: observation and action spaces, or the shapes of a few-shot family's tasks.
        random_return: the declared random return, or the mean trial return of uniformly random actions; for a few-shot
            family, the return of chance.
        random_standard_error: standard error of ``random_return``; 0 if it was declared.
        reference_return: trial return that counts as score 1; None if it is unknown.
        reference_source: source of ``reference_return``.
        warnings: possible problems, as text for people.
        steps_per_s: environment steps per second of all copies together, with random actions; for a few-shot family,
            examples drawn per second.
    """

    spec: FamilySpec
    spaces: SpacePair | FewShotShapes
    random_return: float
    random_standard_error: float
    reference_return: float | None
    reference_source: str
    warnings: list[str]
    steps_per_s: float


@dataclass
class _Tally:
    """The returns of random play so far."""

    trial_returns: list[float] = field(default_factory=list)
    episode_returns: list[float] = field(default_factory=list)
    num_steps: int = 0
    is_truncated: bool = False
    """Whether an episode was truncated, so that the environment limits its episodes."""


def probe(
    spec: FamilySpec,
    *,
    limits: WorkerLimits | None = None,
    num_copies: int = NUM_TRIALS,
    progress: Progress | None = None,
) -> Admission:
    """Open a family, check it and play it with random actions for a few seconds.

    Args:
        spec: the family.
        limits: limits of its worker, which should be those of practice.
        num_copies: number of copies of the environment in its worker, which should be that of practice.
        progress: called regularly with the phase and the number of units done. It may raise to end the probe.

    Raises:
        FamilySpecError: the description does not fit the environment, no episode ends, or the reference return is not
            above the random return; for a few-shot family, there are too few images.
        UnsupportedSpaceError: no encoder or head exists for one of the family's spaces.
        EnvsError: Gymnasium's checker rejects the environment, or the images cannot be read.
        WorkerFaultError: the worker failed during the probe.
    """
    report = progress or _say_nothing
    if spec.source is FamilySource.FEW_SHOT:
        return _probe_few_shot(spec, report)
    report("opening", 0)
    spec = complete(spec, limits=limits, on_wait=lambda: report("waiting", 0))
    num_trials = NUM_TRIALS if spec.source is FamilySource.TENSOR else num_copies
    tasks = open_tasks(
        spec, None, num_trials=num_trials, device="cpu", limits=limits, on_wait=lambda: report("waiting", 0)
    )
    with closing(tasks):
        warnings = _check(spec, tasks)
        report("checking", 0)
        warnings += compare_tasks(tasks, report) if isinstance(tasks, WorkerTaskBatch) else []
        tally, steps_per_s = _play_at_random(tasks, report)
    if tasks.max_episode_steps is None and not tally.is_truncated:
        warnings.append("The environment has no step limit. Set one (--max-steps) unless every episode ends by itself.")
    random_return, standard_error = _random_return(spec, tally, warnings)
    reference_return, source = _reference(spec, tasks, random_return, warnings)
    return Admission(
        spec=spec,
        spaces=tasks.spaces,
        random_return=random_return,
        random_standard_error=standard_error,
        reference_return=reference_return,
        reference_source=source,
        warnings=warnings,
        steps_per_s=steps_per_s,
    )


def _probe_few_shot(spec: FamilySpec, report: Progress) -> Admission:
    """Open a few-shot family and draw tasks of both splits.

    Score 0 is chance, score 1 is a perfect answer. ``steps_per_s`` counts examples.
    """
    options = options_of(spec)
    family = open_few_shot(spec, report=lambda count: report("reading images", count))
    report("drawing tasks", 0)
    start, num_examples = time.monotonic(), 0
    for split in Split:
        num_examples += family.sample(NUM_TRIALS, split=split, first_task=0).num_examples
    examples_per_s = num_examples / (time.monotonic() - start)
    chance = chance_of(family)
    random_return = chance.mean if spec.random_return is None else spec.random_return
    if isinstance(options, SinusoidOptions):
        reference, source = -(options.noise_std**2), "no error but the noise of the targets"
    else:
        reference, source = 1.0, "every query correct"
    if spec.reference_return is not None:
        _check_reference(spec, spec.reference_return, random_return)
        reference, source = spec.reference_return, spec.reference_source or "declared"
    return Admission(
        spec=spec,
        spaces=FewShotShapes.of(family),
        random_return=random_return,
        random_standard_error=chance.standard_error if spec.random_return is None else 0.0,
        reference_return=reference,
        reference_source=source,
        warnings=[],
        steps_per_s=examples_per_s,
    )


def _say_nothing(phase: str, units: int) -> None:
    del phase, units


def _check(spec: FamilySpec, tasks: TaskBatch) -> list[str]:
    if not isinstance(tasks, WorkerTaskBatch):
        return []
    checked = tasks.check()
    warnings = [text for text in checked["warnings"] if not any(words in text for words in ADVICE)]
    failure: str | None = checked["failure"]
    if failure is not None and any(words in failure for words in TOLERATED):
        warnings.append(f"Gymnasium's checker stopped at: {failure}")
    elif failure is not None:
        raise EnvsError(
            operation="admitting family",
            subject=spec.name,
            found=f"Gymnasium's checker rejects {spec.entry!r}: {failure}",
            hint="Fix the environment: gymnasium.utils.env_checker.check_env shows the same error.",
        )
    return warnings


def compare_tasks(tasks: WorkerTaskBatch, report: Progress) -> list[str]:
    """Compare tasks with each other; return harmless findings as warnings.

    Raises:
        FamilySpecError: tasks have different spaces, or a reset undoes a varied attribute, so that the tasks are equal.
        EnvsError: environments in one process share a simulated world.
    """
    compare_spaces(tasks, report)
    world = compare_copies(tasks, report)
    found = (
        f"with the same seed and the same actions one copy behaves differently, from its step {world.differing_step} "
        "on, if another copy is stepped in between"
    )
    if world.depends_on_actions:
        raise EnvsError(
            operation="admitting family",
            subject=tasks.spec.name,
            found=f"copies of {tasks.spec.entry!r} in one process share a world: {found}, and the difference depends "
            "on the actions of the other copy.",
            hint=f"{KEEP_APART} In PyBullet, connect a client for each environment. A simulator with one world per "
            "process needs a process for each environment.",
        )
    warnings = [] if world.is_compared else [_not_compared("whether its copies share a world", is_slow=world.is_slow)]
    if world.differing_step is not None:
        warnings.append(f"Copies in one process share something, such as a counter or a setting: {found}. {KEEP_APART}")
    if tasks.spec.variations:
        warnings += _variation_warnings(tasks.spec, compare_variations(tasks, report))
    return warnings


def _variation_warnings(spec: FamilySpec, findings: VariationFindings) -> list[str]:
    without_effect = {variation.name for variation in findings.without_effect} if findings.is_compared else set()
    warnings = []
    for name, (drawn, present) in findings.undone.items():
        found = f"a reset changes the varied attribute {name!r} from {drawn}, which was drawn for a task, to {present}"
        if name in without_effect:
            raise FamilySpecError(
                operation="admitting family",
                subject=spec.name,
                found=f"{found}. Tasks that differ only in this attribute are equal.",
                hint=f"Change the environment so that reset keeps {name!r}, or vary a keyword argument (kwarg.NAME) or "
                "a reset option (option.NAME) that reset reads.",
            )
        warnings.append(f"{found[0].upper()}{found[1:]}.")
    if findings.is_compared:
        warnings += [_without_effect(variation, findings.num_steps) for variation in findings.without_effect]
    if not findings.is_compared:
        warnings.append(_not_compared("whether its variations change anything", is_slow=findings.is_slow))
    return warnings


def _without_effect(variation: Variation, num_steps: int) -> str:
    found = (
        f"Varying the {_TARGET_NAMES[variation.target]} {variation.name!r} changed nothing: tasks of one seed that "
        f"differ only in this value gave the same observations and rewards in {num_steps} steps of random actions."
    )
    if variation.target is VariationTarget.RESET_OPTION:
        return f"{found} Probably reset reads no option of that name."
    return f"{found} It may still matter in states that random actions do not reach."


def _not_compared(what: str, *, is_slow: bool) -> str:
    why = "it is too slow to compare tasks" if is_slow else "a task does not replay from its seed"
    return f"Not checked {what}: {why}."


def _play_at_random(tasks: TaskBatch, report: Progress) -> tuple[_Tally, float]:
    tally, start = _Tally(), time.monotonic()
    generator = torch.Generator().manual_seed(0)
    batches = 0
    while len(tally.trial_returns) < MAX_TRIALS and time.monotonic() - start < ENOUGH_S:
        tasks.begin(batches * tasks.num_trials, split=Split.TRAINING)
        # The time for making and resetting the copies does not count here; it has limits of its own.
        is_whole = _play_batch(tasks, generator, tally, deadline=time.monotonic() + MAX_S, report=report)
        batches += 1
        if not is_whole:
            break
    return tally, tally.num_steps / (time.monotonic() - start)


def _play_batch(
    tasks: TaskBatch, generator: torch.Generator, tally: _Tally, *, deadline: float, report: Progress
) -> bool:
    """Play one batch of trials to its end; return False if the deadline passed first."""
    trial_return = torch.zeros(tasks.num_trials, dtype=torch.float64)
    episode_return = torch.zeros(tasks.num_trials, dtype=torch.float64)
    episodes = torch.zeros(tasks.num_trials, dtype=torch.int64)
    active = torch.ones(tasks.num_trials, dtype=torch.bool)
    while active.any():
        allowed = allowed_choices(tasks)
        transition = tasks.step(
            random_actions(tasks.spaces.action, tasks.num_trials, generator, allowed=allowed), active
        )
        tally.num_steps += int(active.sum())
        trial_return += transition.reward
        episode_return += transition.reward
        has_ended = transition.terminated | transition.truncated
        tally.is_truncated |= bool((transition.truncated & active).any())
        if has_ended.any():
            tally.episode_returns += episode_return[has_ended].tolist()
            episode_return[has_ended] = 0.0
            episodes += has_ended
            active = episodes < tasks.spec.episodes_per_trial
            report("playing at random", len(tally.episode_returns))
        if time.monotonic() > deadline:
            return False
    tally.trial_returns += trial_return.tolist()
    return True


def _random_return(spec: FamilySpec, tally: _Tally, warnings: list[str]) -> tuple[float, float]:
    if not tally.episode_returns:
        raise FamilySpecError(
            operation="admitting family",
            subject=spec.name,
            found=f"no episode ended within {tally.num_steps} steps of random actions, in {MAX_S:g} s.",
            hint="Set a step limit (--max-steps), so that episodes end.",
        )
    if spec.random_return is not None:
        return spec.random_return, 0.0
    if tally.trial_returns:
        return _mean_and_error(tally.trial_returns)
    warnings.append("The environment is slow: the random return is estimated from single episodes.")
    mean, error = _mean_and_error(tally.episode_returns)
    return mean * spec.episodes_per_trial, error * spec.episodes_per_trial


def _mean_and_error(values: list[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def _reference(
    spec: FamilySpec, tasks: TaskBatch, random_return: float, warnings: list[str]
) -> tuple[float | None, str]:
    if spec.reference_return is not None:
        _check_reference(spec, spec.reference_return, random_return)
        return spec.reference_return, spec.reference_source or "declared"
    if spec.reference_rule is not ReferenceRule.THRESHOLD:
        return None, ""
    if spec.source is FamilySource.TENSOR or not isinstance(tasks, WorkerTaskBatch) or tasks.reward_threshold is None:
        return None, ""
    reference = tasks.reward_threshold * spec.episodes_per_trial
    if reference <= random_return:
        warnings.append(
            f"The registered reward threshold, {tasks.reward_threshold:g} per episode, is not above the return of "
            "random actions, so it is not used as reference."
        )
        return None, ""
    return reference, f"Gymnasium's reward threshold for {spec.entry}, {tasks.reward_threshold:g} per episode"


def _check_reference(spec: FamilySpec, reference_return: float, random_return: float) -> None:
    if reference_return <= random_return:
        raise FamilySpecError(
            operation="admitting family",
            subject=spec.name,
            found=f"its reference return, {reference_return:g}, is not above the return of random actions in a "
            f"trial, {random_return:g}.",
            hint="A reference return is the sum over all episodes of a trial; declare a higher one, or none.",
        )
