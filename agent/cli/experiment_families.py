"""Families of `learnd learn` and `learnd compare`: declared on the command line, or stored in the data folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.errors import unknown_name_error
from agent.cli.family_declaration import FAMILY_FILE, declared_by_file
from agent.cli.family_options import FamilyOptions, declared_environments, few_shot_kwargs, refuse_options
from agent.cli.invocation import Invocation
from envs.user_paths import exists, expanded

if TYPE_CHECKING:
    from envs.family import FamilySpec

ON_THE_COMMAND_LINE = "named on the command line"
"""The value of ``learner`` in a spec that the daemon does not practise: the command line names the learner."""

NO_MEMORY = "without the service every trial begins without the memory of earlier trials of its task"
"""The reason why these commands do not take ``--recurring``."""


def declared_family(invocation: Invocation, name: str, options: FamilyOptions) -> FamilySpec:
    """Return the family that a command line names.

    Args:
        invocation: the invocation whose data folder is searched.
        name: a built-in family, a folder or zip file of images, a family of the data folder, a Gymnasium id,
            ``module:Class``, a Python file or a family file.
        options: the options that describe the family.

    Raises:
        CommandError: the name is unknown, or an option does not apply to the family.
        FamilySpecError: the name or an option is not valid.
    """
    refuse_options(name, {"--recurring": options.recurring}, NO_MEMORY)
    spec = _declared(invocation, name, options)
    if spec.recurring:
        invocation.note(f"warning: the tasks of {spec.name} recur, but {NO_MEMORY}")
    return spec


def _declared(invocation: Invocation, name: str, options: FamilyOptions) -> FamilySpec:
    from envs.default_families import TENSOR_FAMILIES
    from envs.entries import is_python_file
    from envs.few_shot.options import FEW_SHOT_ENTRIES

    if name.endswith(FAMILY_FILE):
        return declared_by_file(invocation, name, refused=options.of_any())
    if name in FEW_SHOT_ENTRIES:
        return _few_shot_family(name, options)
    if name in TENSOR_FAMILIES or is_python_file(name):
        return _environments(name, options)
    known, is_place = _known_family(invocation, name), exists(expanded(Path(name)))
    if known is not None and not (is_place and options.of_any()):
        refuse_options(name, options.of_any(), "the data folder already defines this family")
        return known
    if is_place:
        return _few_shot_family(name, options)
    if ":" in name or "-v" in name:
        return _environments(name, options)
    raise unknown_name_error(
        operation="looking for family",
        subject=name,
        kind="family",
        known=[*FEW_SHOT_ENTRIES, *TENSOR_FAMILIES, *_known_names(invocation)],
    )


def _few_shot_family(name: str, options: FamilyOptions) -> FamilySpec:
    from envs.declaration import few_shot_from_declaration

    refuse_options(name, options.of_environments(), "its tasks are few-shot tasks, not environments")
    return few_shot_from_declaration(name, learner=ON_THE_COMMAND_LINE, kwargs=few_shot_kwargs(name, options))


def _environments(name: str, options: FamilyOptions) -> FamilySpec:
    refuse_options(name, options.of_few_shot(), "its tasks are environments, not few-shot tasks")
    return declared_environments(name, options)


def _known_family(invocation: Invocation, name: str) -> FamilySpec | None:
    with invocation.reading_if_any(is_optional=True) as store:
        families = {} if store is None else {family.name: family for family in store.families.all()}
    return families[name].require_spec() if name in families else None


def _known_names(invocation: Invocation) -> list[str]:
    with invocation.reading_if_any(is_optional=True) as store:
        return [] if store is None else [family.name for family in store.families.all()]
