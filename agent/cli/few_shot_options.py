"""The declaration of few-shot families by `learnd env add`, and their presentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

from agent.cli.errors import CommandError, unknown_name_error
from agent.cli.family_options import FamilyOptions, few_shot_kwargs
from agent.config.settings import Settings
from agent.learners.registry import canonical_name, few_shot_learners, public_names
from envs.user_paths import exists, expanded

if TYPE_CHECKING:
    from envs.family import FamilySpec


def is_few_shot_entry(entry: str, few_shot: str | None) -> bool:
    """Return whether ENTRY names few-shot tasks: a built-in few-shot family, or images by class.

    Raises:
        CommandError: it is a file of another kind.
    """
    from envs.default_families import TENSOR_FAMILIES
    from envs.entries import is_python_file
    from envs.few_shot.options import FEW_SHOT_ENTRIES

    if few_shot is not None or entry in FEW_SHOT_ENTRIES:
        return True
    if entry in TENSOR_FAMILIES or is_python_file(entry) or not entry.strip():
        return False
    path = expanded(Path(entry))
    if path.is_file() and not is_zipfile(path):
        raise CommandError(
            operation="describing family",
            subject=entry,
            found="the file is neither a Python file (.py), nor a family file (.toml), nor a zip file of images.",
            hint="Give its name the ending of what it is.",
        )
    return exists(path)


def declared_few_shot(
    settings: Settings,
    entry: str,
    options: FamilyOptions,
    *,
    name: str | None,
    learner: str | None,
    reference: float | None,
) -> FamilySpec:
    """Return the few-shot family that the options declare.

    Raises:
        CommandError: the learner is unknown, or it cannot learn such tasks.
        FamilySpecError: a part of the declaration is not valid.
    """
    from envs.declaration import few_shot_from_declaration
    from envs.few_shot.options import is_regression

    said = few_shot_kwargs(entry, options)
    usual = settings.few_shot.regression_learner if is_regression(entry) else settings.few_shot.learner
    chosen = str(learner or usual)
    _check_learner(entry, chosen)
    return few_shot_from_declaration(entry, learner=chosen, name=name, kwargs=said, reference_return=reference)


def _check_learner(entry: str, learner: str) -> None:
    entries = {entry.name: entry for entry in few_shot_learners()}
    chosen = entries.get(canonical_name(learner))
    if chosen is None:
        known = sorted(public_names(entries.values()))
        raise unknown_name_error(operation="choosing learner", subject=learner, kind="few-shot learner", known=known)
    from envs.few_shot.options import is_regression

    if is_regression(entry) and not chosen.does_regression:
        able = public_names(other for other in entries.values() if other.does_regression)
        raise CommandError(
            operation="choosing learner",
            subject=learner,
            found="it does not learn regression.",
            hint=f"Learners of regression: {', '.join(sorted(able))}.",
        )


def shapes_text(spaces: Mapping[str, Any]) -> str:
    """Return a few-shot task's shapes of input and output as text: ``1×28×28 → 5 classes``, ``1 number → 1 number``."""
    sizes = spaces["input_shape"]
    shape = "×".join(str(size) for size in sizes)
    if len(sizes) == 1:
        shape += " number" if sizes[0] == 1 else " numbers"
    kind = "classes" if spaces["is_classification"] else "numbers"
    return f"{shape} → {spaces['output_size']} {kind if spaces['output_size'] != 1 else kind.removesuffix('s')}"


def shots_text(labels: Sequence[int]) -> str:
    """Return the numbers of shots that returns are shown for, as text: ``0, 1, 5``."""
    return ", ".join(str(label) for label in labels)
