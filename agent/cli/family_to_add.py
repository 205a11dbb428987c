"""The family that a command line of `learnd env add` declares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.family_options import FamilyOptions, declared_environments, refuse_options
from agent.cli.few_shot_options import declared_few_shot, is_few_shot_entry
from agent.cli.invocation import Invocation
from agent.cli.reference_option import parse_reference, refuse_measurement
from agent.learners.registry import RL2

if TYPE_CHECKING:
    from envs.family import FamilySpec

FAMILY_FILE = ".toml"
"""The ending of the files that declare families (:mod:`envs.family_file`)."""


def family_to_add(
    invocation: Invocation,
    entry: str,
    options: FamilyOptions,
    *,
    name: str | None,
    learner: str | None,
    reference: str | None,
) -> FamilySpec:
    """Return the family that the command line declares, or the file that it names.

    Raises:
        CommandError: an option does not apply to the family.
        EnvsError: a part of the declaration is not valid.
    """
    if entry.endswith(FAMILY_FILE):
        given = {**options.of_any(), "--learner": learner, "--reference": reference}
        refuse_options(entry, given, "the file declares the family")
        return _from_file(invocation, Path(entry), name)
    return _declared(invocation, entry, options, name=name, learner=learner, reference=reference)


def _declared(
    invocation: Invocation,
    entry: str,
    options: FamilyOptions,
    *,
    name: str | None,
    learner: str | None,
    reference: str | None,
) -> FamilySpec:
    from agent.reference_requests import unmeasurable
    from envs.family import FamilySource
    from envs.reference import ReferenceRule

    choice = parse_reference(reference, invocation.settings.reference)
    if is_few_shot_entry(entry, options.few_shot):
        refuse_options(entry, options.of_environments(), "its tasks are few-shot tasks, not environments")
        why = unmeasurable(FamilySource.FEW_SHOT)
        refuse_measurement(entry, choice, why=why)
        refuse_options(entry, {"--reference none": choice.rule is ReferenceRule.NONE}, why)
        declared = choice.declared
        return declared_few_shot(invocation.settings, entry, options, name=name, learner=learner, reference=declared)
    given = {**options.of_few_shot(), "--learner": None if learner == RL2 else learner}
    refuse_options(entry, given, "its tasks are environments, which RL² practises")
    spec = declared_environments(
        entry,
        options,
        name=name,
        reference_return=choice.declared,
        reference_rule=choice.rule,
        reference_steps=choice.steps,
    )
    refuse_measurement(entry, choice, why=unmeasurable(spec.source))
    return spec


def _from_file(invocation: Invocation, file: Path, name: str | None) -> FamilySpec:
    """Return the family that a file declares, under another name if one is given."""
    from agent.family_files import declared_in

    spec = declared_in(file.expanduser().absolute(), invocation.settings)
    return spec if name is None else replace(spec, name=name)
