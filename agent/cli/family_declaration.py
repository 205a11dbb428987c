"""The family that the arguments of ``learnd env add`` and ``learnd env check`` declare, and its trial in a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.family_options import FamilyOptions, declared_environments, refuse_options
from agent.cli.few_shot_options import declared_few_shot, is_few_shot_entry
from agent.cli.invocation import Invocation
from agent.cli.reference_option import parse_reference, refuse_measurement
from agent.learners.config_json import config_from_json
from agent.learners.registry import RL2
from envs.user_paths import expanded

if TYPE_CHECKING:
    from envs.family import FamilySpec

FAMILY_FILE = ".toml"
"""The ending of the files that declare families (:mod:`envs.family_file`)."""


def declared_spec(
    invocation: Invocation,
    *,
    entry: str,
    name: str | None,
    options: FamilyOptions,
    reference: str | None,
    learner: str | None,
) -> FamilySpec:
    """Return the family that the arguments declare, or the file that they name.

    Args:
        invocation: the invocation, for the settings.
        entry: the family's entry.
        name: the family's name; None derives it from the entry.
        options: the options that describe the family.
        reference: the text of ``--reference``.
        learner: the learner of a few-shot family; None takes the default.

    Raises:
        CommandError: an option does not apply to the family.
        FamilySpecError: the declaration contradicts itself or names something unknown.
    """
    if entry.endswith(FAMILY_FILE):
        refused = {**options.of_any(), "--learner": learner, "--reference": reference}
        return declared_by_file(invocation, entry, refused=refused, name=name)
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
    refused = {**options.of_few_shot(), "--learner": None if learner == RL2 else learner}
    refuse_options(entry, refused, "its tasks are environments, which RL² practises")
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


def declared_by_file(
    invocation: Invocation, file: str, *, refused: Mapping[str, Any], name: str | None = None
) -> FamilySpec:
    """Return the family that a file declares, under another name if one is given.

    Args:
        invocation: the invocation, for the settings.
        file: the family file.
        refused: options that may not be given with a file, by name.
        name: the family's name; None takes that of the file.

    Raises:
        CommandError: an option was given.
        FamilySpecError: the file cannot be read, or declares no valid family; the error has the line.
    """
    from agent.family_files import declaration_in

    refuse_options(file, refused, "the file declares the family")
    spec = declaration_in(expanded(Path(file)).absolute(), invocation.settings).spec
    return spec if name is None else replace(spec, name=name)


@contextmanager
def trying(invocation: Invocation, name: str) -> Iterator[tuple[dict[str, Any], Callable[[str, int], None]]]:
    """Show the progress of a trial of a family.

    Yields:
        The limits and the number of copies of the family's worker, which are those of the trainer's workers; and a
        function that takes the phase of the trial and a count.
    """
    from agent.devices import default_threads, with_threads
    from agent.learners.rl2.config import RL2Config

    settings = invocation.settings
    config = config_from_json(RL2Config, settings.rl2)
    worker = {
        "limits": settings.worker_limits(nice=settings.learner.nice),
        "num_copies": config.num_trials_for(is_tensor_native=False),
    }
    with invocation.progress() as progress, with_threads(default_threads()):
        task = progress.add_task(f"trying {name}", total=None)

        def tell(phase: str, count: int) -> None:
            progress.update(task, description=f"trying {name}: {phase} {count or ''}")

        yield worker, tell
