"""Parsing of families that are declared on a command line: ``CartPole-v1 --vary gravity=5:20``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from envs.default_families import RECURRING_TENSOR_FAMILIES, TENSOR_FAMILIES
from envs.entries import ONLY_CLASS, file_entry, is_python_file
from envs.errors import FamilySpecError
from envs.family import DEFAULT_IMAGE_SIZE, FamilySource, FamilySpec
from envs.few_shot.options import FEW_SHOT_ENTRIES, read_options
from envs.gymnasium.variations import Distribution, Variation, VariationTarget, is_open
from envs.gymnasium.wrappers import EnvWrapper, declared_wrappers, from_modules
from envs.reference import ReferenceRule

VARIATION_FORMS = (
    "Write NAME=LOW:HIGH (uniform), NAME=log:LOW:HIGH, NAME=int:LOW:HIGH, NAME=A|B|C (one of), NAME=sum:X+Y, "
    "NAME=product:X*Y or NAME=frozen_lake_map:SIZE:P; kwarg.NAME and option.NAME vary a keyword argument or a reset "
    "option. Variations that fit any environment: auto, actions, observations[=permute|scale|flip], sticky[=LARGEST], "
    "rewards[=delay:STEPS], numbers[=FACTOR]."
)
AUTOMATIC = {
    "auto": ("", 1.25),
    "actions": ("", 1.0),
    "observations": ("permute", 2.0),
    "sticky": ("", 0.25),
    "rewards": ("delay", 3.0),
    "numbers": ("", 1.25),
}
"""The variations that are completed from the environment: name → default form, and default amount."""
LONGEST_DELAY = 100
LARGEST_FACTOR = 10.0
EPISODES_OF_A_FIXED_ENVIRONMENT = 1
EPISODES_OF_A_VARIED_ENVIRONMENT = 3
EPISODES_OF_A_TENSOR_FAMILY = 10
"""Numbers of episodes in a trial, if none is declared. Where nothing varies but the seed, an episode has nothing to
find out that helps the next one, and longer trials only mean fewer of them."""

FEW_SHOT_FORM = re.compile(r"(?P<ways>\d{1,4})[x×](?P<shots>\d{1,4})", re.IGNORECASE)
TARGETS = {
    "attribute": VariationTarget.ATTRIBUTE,
    "kwarg": VariationTarget.KWARG,
    "option": VariationTarget.RESET_OPTION,
}
RANGES = {"uniform": Distribution.UNIFORM, "log": Distribution.LOG_UNIFORM, "int": Distribution.INTEGER}
COMBINATIONS = {"sum": (Distribution.SUM, "+"), "product": (Distribution.PRODUCT, "*")}


def parse_variation(text: str) -> Variation:
    """Read one variation.

    Args:
        text: ``[attribute.|kwarg.|option.]NAME=`` and then ``LOW:HIGH`` (uniform), ``log:LOW:HIGH``, ``int:LOW:HIGH``,
            ``A|B|C``, ``sum:X+Y``, ``product:X*Y`` or ``frozen_lake_map[:SIZE[:P]]``; or one of ``AUTOMATIC``.

    Raises:
        FamilySpecError: the text has none of these forms, or its range is empty.
    """
    path, separator, value = (part.strip() for part in text.partition("="))
    automatic = _automatic(text, path, value)
    if automatic is not None:
        return automatic
    if not separator or not path or not value:
        _refuse(text, "it has no NAME=VALUES.")
    target, name = _target(text, path)
    if "|" in value:
        values = tuple(_scalar(choice) for choice in value.split("|"))
        return Variation(name=name, target=target, distribution=Distribution.CHOICE, values=values)
    kind, *rest = value.split(":")
    if kind in COMBINATIONS and len(rest) == 1:
        distribution, sign = COMBINATIONS[kind]
        names = tuple(operand.strip() for operand in rest[0].split(sign))
        return Variation(name=name, target=target, distribution=distribution, values=names)
    if kind == Distribution.FROZEN_LAKE_MAP.value and len(rest) <= 2:
        numbers = [_number(text, number) for number in rest]
        options: dict[str, Any] = {
            "size": int(numbers[0]) if numbers else 4,
            "p": numbers[1] if len(numbers) > 1 else 0.8,
        }
        return Variation(name=name, target=target, distribution=Distribution.FROZEN_LAKE_MAP, options=options)
    distribution = RANGES.get(kind, Distribution.UNIFORM)
    bounds = rest if kind in RANGES else [kind, *rest]
    if len(bounds) != 2:
        _refuse(text, f"{value!r} is neither a range nor a choice.")
    low, high = (_number(text, bound) for bound in bounds)
    if distribution is Distribution.INTEGER and not (low.is_integer() and high.is_integer()):
        _refuse(text, f"{value!r} is not a range of whole numbers.")
    return Variation(name=name, target=target, distribution=distribution, low=low, high=high)


def _automatic(text: str, name: str, value: str) -> Variation | None:
    """Return the automatic variation that a text names; None if it has another form.

    The forms are such that a name of an attribute with values (``sticky=0.1:0.3``) keeps its meaning.
    """
    if name not in AUTOMATIC or (value and name in {"auto", "actions"}):
        return None
    form, amount = AUTOMATIC[name]
    kind, _, rest = value.partition(":")
    if name == "observations" and kind in {"permute", "scale", "flip"} and (kind == "scale" or not rest):
        form, number = kind, rest
    elif name == "rewards" and kind == "delay":
        number = rest
    elif name in {"sticky", "numbers"} and re.fullmatch(r"[\d.]+", value):
        number = value
    elif value:
        return None
    else:
        number = ""
    amount = _number(text, number) if number else amount
    if (complaint := _amount_complaint(name, form, amount)) is not None:
        _refuse(text, complaint)
    target, options = VariationTarget.INTERFACE, {"form": form, "amount": amount}
    return Variation(name=name, target=target, distribution=Distribution.AUTO, options=options)


def _amount_complaint(name: str, form: str, amount: float) -> str | None:
    """Return what is wrong with the amount of an automatic variation."""
    if name == "sticky":
        return None if 0 < amount < 1 else f"its largest probability, {amount:g}, is not between 0 and 1."
    if name == "rewards":
        is_whole = amount.is_integer() and 1 <= amount <= LONGEST_DELAY
        return None if is_whole else f"its delay, {amount:g}, is not a whole number from 1 to {LONGEST_DELAY}."
    if name == "numbers" or form == "scale":
        return None if 1 < amount <= LARGEST_FACTOR else f"its factor, {amount:g}, is not between 1 and 10."
    return None


def parse_setting(text: str) -> tuple[str, Any]:
    """Read one keyword argument, ``NAME=VALUE``. Numbers, true, false and none are converted; other values are text.

    Raises:
        FamilySpecError: the text does not have this form.
    """
    name, separator, value = (part.strip() for part in text.partition("="))
    if not separator or not name.isidentifier():
        raise FamilySpecError(
            operation="reading keyword argument", subject=text, found="it has no NAME=VALUE.", hint="Write size=5."
        )
    return name, _scalar(value)


def default_name(entry: str) -> str:
    """Return a family's name made from its entry: ``ale_py:ALE/Pong-v5`` → ``pong``, ``maze.envs:Maze`` → ``maze``."""
    entry = entry.removesuffix(f":{ONLY_CLASS}")
    last = re.split(r"[:/]", entry)[-1].rpartition(".")[2] if ":" in entry else entry.rpartition("/")[2]
    plain = re.sub(r"-v\d+$", "", last).lower()
    return re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-_")[:48] or "family"


def parse_few_shot(text: str) -> tuple[int, int]:
    """Read the ways and the shots of few-shot tasks, written as ``5x1``.

    Raises:
        FamilySpecError: the text does not have this form.
    """
    match = FEW_SHOT_FORM.fullmatch(text.strip())
    if match is None:
        raise FamilySpecError(
            operation="reading ways and shots", subject=text, found="it has no WAYSxSHOTS.", hint="Write 5x1."
        )
    return int(match["ways"]), int(match["shots"])


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
        entry=entry if is_built_in else str(place.expanduser().resolve()),
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
        variations: variations, or text that :func:`parse_variation` reads.
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
                _refuse(variation.name, f"it combines {', '.join(unknown)}, which no earlier variation draws.")


def _target(text: str, path: str) -> tuple[VariationTarget, str]:
    prefix, separator, name = path.rpartition(".")
    if not name.isidentifier():
        _refuse(text, f"{name!r} is not a name.")
    if not separator:
        return VariationTarget.ATTRIBUTE, name
    if prefix not in TARGETS:
        _refuse(text, f"{prefix!r} is not one of {', '.join(TARGETS)}.")
    return TARGETS[prefix], name


def _number(text: str, word: str) -> float:
    try:
        return float(word)
    except ValueError:
        _refuse(text, f"{word!r} is not a number.")


def _scalar(word: str) -> Any:
    word = word.strip()
    known = {"true": True, "false": False, "none": None}
    if word.lower() in known:
        return known[word.lower()]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _refuse(text: str, found: str) -> NoReturn:
    raise FamilySpecError(operation="reading variation", subject=text, found=found, hint=VARIATION_FORMS)
