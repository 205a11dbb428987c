"""Descriptions of families that are declared on a command line: ``CartPole-v1 --vary gravity=5:20``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envs.declared_values import parse_variation, refuse_variation
from envs.default_families import RECURRING_TENSOR_FAMILIES, TENSOR_FAMILIES
from envs.entries import ONLY_CLASS, file_entry, is_python_file
from envs.errors import FamilySpecError
from envs.family import DEFAULT_IMAGE_SIZE, LARGEST_COUNT, FamilySource, FamilySpec
from envs.few_shot.options import FEW_SHOT_ENTRIES, read_options
from envs.gymnasium.variations import Distribution, Variation, is_open
from envs.gymnasium.wrappers import EnvWrapper, declared_wrappers, from_modules
from envs.reference import ReferenceRule
from envs.tensor.options import check_tensor_options
from envs.user_paths import expanded, resolved

EPISODES_OF_A_FIXED_ENVIRONMENT = 1
EPISODES_OF_A_VARIED_ENVIRONMENT = 3
EPISODES_OF_A_TENSOR_FAMILY = 10
"""Numbers of episodes in a trial, if none is declared. Where nothing varies but the seed, an episode has nothing to
find out that helps the next one, and longer trials only mean fewer of them."""


def default_name(entry: str) -> str:
    """Return a family's name made from its entry: ``ale_py:ALE/Pong-v5`` → ``pong``, ``maze.envs:Maze`` → ``maze``."""
    entry = entry.removesuffix(f":{ONLY_CLASS}")
    last = re.split(r"[:/]", entry)[-1].rpartition(".")[2] if ":" in entry else entry.rpartition("/")[2]
    plain = re.sub(r"-v\d+$", "", last).lower()
    return re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-_")[:48] or "family"


def few_shot_from_declaration(
    entry: str,
    *,
    learner: str,
    name: str | None = None,
    kwargs: dict[str, Any] | None = None,
    reference_return: float | None = None,
) -> FamilySpec:
    """Return the description of a few-shot family from its declaration.

    Args:
        entry: one of ``FEW_SHOT_ENTRIES``, or a folder or zip file of images by class.
        learner: name of the learner that practises it.
        name: the family's name; None makes one from the entry.
        kwargs: the options that ``envs.few_shot.options`` lists for the entry.
        reference_return: return that counts as score 1.

    Raises:
        FamilySpecError: a part of the declaration is invalid; the error names it.
    """
    is_built_in = entry in FEW_SHOT_ENTRIES
    place = Path(entry)
    stem = place.stem if place.suffix.lower() == ".zip" else place.absolute().name
    spec = FamilySpec(
        name=name if name is not None else default_name(entry if is_built_in else stem),
        source=FamilySource.FEW_SHOT,
        entry=entry if is_built_in else str(resolved(expanded(place))),
        kwargs=dict(kwargs or {}),
        episodes_per_trial=1,
        reference_return=reference_return,
        reference_source="declared" if reference_return is not None else "",
        learner=learner,
    )
    read_options(spec.entry, spec.kwargs, subject=spec.name)
    return spec


def family_from_declaration(
    entry: str,
    *,
    name: str | None = None,
    variations: Sequence[Variation | str] = (),
    kwargs: dict[str, Any] | None = None,
    wrappers: Sequence[EnvWrapper | str] = (),
    preset: str | None = None,
    episodes_per_trial: int | None = None,
    max_episode_steps: int | None = None,
    image_size: int | None = None,
    reference_return: float | None = None,
    reference_rule: ReferenceRule = ReferenceRule.THRESHOLD,
    reference_steps: int = 0,
    python: str | None = None,
    import_paths: Sequence[str] = (),
    recurring: int = 0,
    network: bool = False,
    copies: int = 0,
    folder: Path | None = None,
) -> FamilySpec:
    """Return the description of a family from its declaration.

    Args:
        entry: a built-in tensor family's name, a Gymnasium id (``CartPole-v1``, ``module:Id-v0``), ``module:Class``, or
            a Python file (``maze.py:Maze``, or ``maze.py`` for its only environment class).
        name: the family's name; None makes one from the entry.
        variations: variations, or text that :func:`envs.declared_values.parse_variation` reads.
        kwargs: keyword arguments of the environment.
        wrappers: wrappers, or text that :func:`envs.gymnasium.wrappers.parse_wrapper` reads; applied in their order.
        preset: a name of ``envs.gymnasium.wrappers.PRESETS``, whose wrappers come before the others.
        episodes_per_trial: episodes in a trial; None takes the number of :func:`default_episodes`.
        max_episode_steps: steps after which an episode is truncated.
        image_size: largest side of observed images; None takes ``DEFAULT_IMAGE_SIZE``.
        reference_return: trial return that counts as score 1.
        reference_rule: rule for the reference if no return is given.
        reference_steps: environment steps of training for a measured reference; ignored if a return is given.
        python: another interpreter for the family's workers.
        import_paths: folders to add to the workers' import path.
        recurring: number of training tasks that recur; 0 for tasks that are all new.
        network: whether the worker may open network connections.
        copies: most copies of the environment that may share a process; 0 for no bound.
        folder: the folder from which the relative path of a file starts; None for the working folder.

    Raises:
        FamilySpecError: a part of the declaration is invalid; the error names it.
    """
    _check_entry(entry)
    is_tensor, paths = entry in TENSOR_FAMILIES, list(import_paths)
    if is_python_file(entry):
        named = file_entry(entry, folder=folder)
        name = name if name is not None else default_name(named.default_name)
        entry, paths = named.entry, [named.import_path, *(path for path in paths if path != named.import_path)]
    wrapped = declared_wrappers(entry, wrappers, preset, kwargs or {}, is_tensor=is_tensor)
    wrapped, paths = from_modules(wrapped, paths, folder=folder)
    read = tuple(parse_variation(varied) if isinstance(varied, str) else varied for varied in variations)
    _check_names(entry, read, is_tensor=is_tensor)
    _check_max_steps(entry, max_episode_steps)
    _check_episodes(entry, read, episodes_per_trial)
    _check_recurring(entry, recurring)
    _check_reference_steps(entry, reference_steps)
    if is_tensor:
        check_tensor_options(entry, wrapped.kwargs)
    return FamilySpec(
        name=name if name is not None else default_name(entry),
        source=FamilySource.TENSOR if is_tensor else FamilySource.GYMNASIUM,
        entry=entry,
        kwargs=dict(wrapped.kwargs),
        wrappers=wrapped.wrappers,
        variations=read,
        episodes_per_trial=default_episodes(is_tensor=is_tensor, is_varied=bool(read))
        if episodes_per_trial is None
        else episodes_per_trial,
        max_episode_steps=max_episode_steps,
        image_size=DEFAULT_IMAGE_SIZE if image_size is None else image_size,
        reference_return=reference_return,
        reference_source="declared" if reference_return is not None else "",
        reference_rule=reference_rule,
        reference_steps=0 if reference_return is not None or is_tensor else reference_steps,
        python=python,
        import_paths=tuple(paths),
        recurring=recurring,
        network=network,
        copies=copies,
    )


def default_episodes(*, is_tensor: bool, is_varied: bool) -> int:
    """Return the number of episodes in a trial of a family that declares none.

    Args:
        is_tensor: whether the family is a tensor family.
        is_varied: whether a variation is declared.
    """
    if is_tensor:
        return EPISODES_OF_A_TENSOR_FAMILY
    return EPISODES_OF_A_VARIED_ENVIRONMENT if is_varied else EPISODES_OF_A_FIXED_ENVIRONMENT


def _check_entry(entry: str) -> None:
    if not entry.strip():
        raise FamilySpecError(
            operation="describing family", subject=entry, found="it names no environment.", hint="Write CartPole-v1."
        )
    module, separator, name = entry.partition(":")
    if separator and not (module.strip() and name.strip()):
        lacking = "name after" if module.strip() else "module before"
        raise FamilySpecError(
            operation="describing family",
            subject=entry,
            found=f"it has no {lacking} the colon.",
            hint="Write module:Class, FILE.py:Class, or an id such as CartPole-v1.",
        )


def _check_max_steps(entry: str, max_episode_steps: int | None) -> None:
    if max_episode_steps is not None and max_episode_steps < 1:
        raise FamilySpecError(
            operation="describing family",
            subject=entry,
            found=f"max_episode_steps is {max_episode_steps}.",
            hint="An episode has at least 1 step.",
        )


def _check_episodes(entry: str, variations: tuple[Variation, ...], episodes_per_trial: int | None) -> None:
    if episodes_per_trial == 1 and is_open(variations):
        raise FamilySpecError(
            operation="describing family",
            subject=entry,
            found="a trial of 1 episode is too short for variations that are found out by trying.",
            hint="Give --episodes 2 or more.",
        )


def _check_recurring(entry: str, recurring: int) -> None:
    if recurring and entry in TENSOR_FAMILIES and entry not in RECURRING_TENSOR_FAMILIES:
        raise FamilySpecError(
            operation="describing family",
            subject=entry,
            found="the tasks of this tensor family do not recur.",
            hint=f"Leave --recurring out, or choose {' or '.join(RECURRING_TENSOR_FAMILIES)}.",
        )


def _check_reference_steps(entry: str, reference_steps: int) -> None:
    if not 0 <= reference_steps <= LARGEST_COUNT:
        raise FamilySpecError(
            operation="describing family",
            subject=entry,
            found=f"reference_steps is {reference_steps}.",
            hint=f"It is a number of steps, up to {LARGEST_COUNT}; 0 measures no reference.",
        )


def _check_names(entry: str, variations: tuple[Variation, ...], *, is_tensor: bool) -> None:
    names = [
        f"{variation.name} {variation.options.get('form', '')}".strip()
        if variation.distribution is Distribution.AUTO
        else variation.name
        for variation in variations
    ]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise FamilySpecError(
            operation="describing family",
            subject=entry,
            found=f"{', '.join(repeated)} is varied more than once.",
            hint="Vary each name once.",
        )
    if is_tensor and names:
        raise FamilySpecError(
            operation="describing family",
            subject=entry,
            found="a tensor-native family draws its tasks by its own rules and takes no variations.",
            hint="Leave --vary out.",
        )
    for position, variation in enumerate(variations):
        if variation.distribution in {Distribution.SUM, Distribution.PRODUCT}:
            unknown = [operand for operand in variation.values if operand not in names[:position]]
            if unknown:
                refuse_variation(variation.name, f"it combines {', '.join(unknown)}, which no earlier variation draws.")
