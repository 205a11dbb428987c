"""Admission of a family before practice: check that it runs, read its spaces and measure the random return."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

from envs.effort import Effort
from envs.errors import EnvsError
from envs.examination import NUM_TRIALS, Examination, check_reference, examine
from envs.family import FamilySource, FamilySpec, Split
from envs.few_shot.options import SinusoidOptions, options_of
from envs.few_shot.returns import chance_of
from envs.few_shot.tasks import FewShotShapes
from envs.findings import Finding, Severity
from envs.limits import WorkerLimits
from envs.pace import UNKNOWN_PACE, Pace
from envs.random_play import Progress
from envs.registry import open_few_shot
from envs.spaces import SpacePair

NUM_FEW_SHOT_TASKS = 16

QUICK = Effort()
"""The effort of an admission, unless another one is given."""


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
        findings: possible problems and remarks.
        report: what was measured, as JSON values.
        steps_per_s: environment steps per second of all copies together, with random actions; for a few-shot family,
            examples drawn per second.
        pace: the usual speed of its environment, as far as a worker found it.
    """

    spec: FamilySpec
    spaces: SpacePair | FewShotShapes
    random_return: float
    random_standard_error: float
    reference_return: float | None
    reference_source: str
    findings: list[Finding]
    report: dict[str, Any]
    steps_per_s: float
    pace: Pace = UNKNOWN_PACE

    @property
    def warnings(self) -> list[str]:
        """The possible problems as text for people, without the remarks."""
        return [found.text() for found in self.findings if found.severity is Severity.WARNING]


def probe(
    spec: FamilySpec,
    *,
    limits: WorkerLimits | None = None,
    num_copies: int = NUM_TRIALS,
    effort: Effort | None = None,
    progress: Progress | None = None,
) -> Admission:
    """Open a family, check it and play it with random actions for a few seconds.

    Args:
        spec: the family.
        limits: limits of its worker, which should be those of practice.
        num_copies: number of copies of the environment in its worker, which should be that of practice.
        effort: the limits of time; None takes those of an admission.
        progress: called regularly with the phase and the number of units done. It may raise to end the probe.

    Raises:
        FamilySpecError: the description does not fit the environment, the environment breaks its contract, no episode
            ends, or the reference return is not above the random return; for a few-shot family, there are too few
            images.
        UnsupportedSpaceError: no encoder or head exists for one of the family's spaces.
        EnvsError: the images cannot be read.
        WorkerFaultError: the worker failed during the probe.
    """
    report = progress or say_nothing
    if spec.source is FamilySource.FEW_SHOT:
        return _probe_few_shot(spec, report)
    found = examine(spec, limits=limits, num_copies=num_copies, effort=effort or QUICK, report=report)
    if found.refusals:
        raise _refusal_of(found)
    return admission_of(found)


def _refusal_of(found: Examination) -> EnvsError:
    """Return the error of the first refusal; its hint says how many others there are."""
    first, *others = found.refusals
    if others and first.error is None:
        more = f"learnd env check {found.spec.entry} names {len(others)} further fault{'s' if len(others) > 1 else ''}."
        first = replace(first, hint=f"{first.hint} {more}".strip())
    return first.to_error(found.spec.name)


def admission_of(found: Examination) -> Admission:
    """Return the admission of an examined family.

    Raises:
        ValueError: the family is refused, so that something was not measured.
    """
    if found.spaces is None or found.random_return is None or found.play is None:
        raise ValueError(f"{found.spec.name!r} is refused, or was not examined to the end")
    steps_per_s, lengths = found.play.num_steps / found.play.seconds, found.play.episode_lengths
    trial_steps = found.spec.episodes_per_trial * math.fsum(lengths) / max(1, len(lengths))
    return Admission(
        spec=found.spec,
        spaces=found.spaces,
        random_return=found.random_return,
        random_standard_error=found.random_standard_error,
        reference_return=found.reference_return,
        reference_source=found.reference_source,
        findings=found.findings,
        report=found.report(),
        steps_per_s=steps_per_s,
        pace=replace(found.pace, steps_per_s=steps_per_s, trial_steps=trial_steps),
    )


def say_nothing(phase: str, units: int) -> None:
    """Report no progress."""
    del phase, units


def _probe_few_shot(spec: FamilySpec, report: Progress) -> Admission:
    """Open a few-shot family and draw tasks of both splits.

    Score 0 is chance, score 1 is a perfect answer. ``steps_per_s`` counts examples.
    """
    options = options_of(spec)
    family = open_few_shot(spec, report=lambda count: report("reading images", count))
    report("drawing tasks", 0)
    start, num_examples = time.monotonic(), 0
    for split in Split:
        num_examples += family.sample(NUM_FEW_SHOT_TASKS, split=split, first_task=0).num_examples
    examples_per_s = num_examples / (time.monotonic() - start)
    chance = chance_of(family)
    random_return = chance.mean if spec.random_return is None else spec.random_return
    if isinstance(options, SinusoidOptions):
        reference, source = -(options.noise_std**2), "no error but the noise of the targets"
    else:
        reference, source = 1.0, "every query correct"
    if spec.reference_return is not None:
        check_reference(spec, spec.reference_return, random_return)
        reference, source = spec.reference_return, spec.reference_source or "declared"
    return Admission(
        spec=spec,
        spaces=FewShotShapes.of(family),
        random_return=random_return,
        random_standard_error=chance.standard_error if spec.random_return is None else 0.0,
        reference_return=reference,
        reference_source=source,
        findings=[],
        report={"examples_per_s": examples_per_s},
        steps_per_s=examples_per_s,
    )
