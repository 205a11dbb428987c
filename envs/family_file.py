"""Family files: a family as a TOML file, with the options of `learnd env add` as keys.

    entry = "maze.py:Maze"
    episodes = 5
    vary = ["gravity=5:20"]
    [kwargs]
    size = 7

:func:`read_family_file` and :func:`family_file_text` are inverse to each other. Relative paths start at the file.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from envs.declaration import family_from_declaration, few_shot_from_declaration
from envs.declared_values import parse_few_shot, parse_setting, parse_variation
from envs.default_families import TENSOR_FAMILIES
from envs.entries import interpreter_of, is_python_file
from envs.errors import FamilySpecError
from envs.family import DEFAULT_IMAGE_SIZE, FamilySource, FamilySpec
from envs.few_shot.options import FEW_SHOT_ENTRIES, is_regression
from envs.foreign_text import parse_json, parse_toml
from envs.gymnasium.variations import Variation
from envs.gymnasium.wrappers import EnvWrapper, parse_wrapper
from envs.reference import ReferenceChoice, ReferenceRule, read_reference
from envs.toml_values import is_finite, is_json, is_toml
from envs.user_paths import exists, expanded, resolved

T = TypeVar("T")

_AT_LINE = re.compile(r"\(at line (?P<line>\d+), column \d+\)")
_ENVIRONMENT_KEYS = frozenset(
    {
        "vary",
        "wrap",
        "preset",
        "episodes",
        "max_steps",
        "recurring",
        "image_size",
        "network",
        "copies",
        "python",
        "path",
        "reference_steps",
        "random_return",
    }
)
_FEW_SHOT_KEYS = frozenset({"few_shot", "shots", "queries", "learner"})

KEY_TYPES: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "entry": ("a text", (str,)),
    "name": ("a text", (str,)),
    "vary": ("a list of texts or tables", (list,)),
    "kwargs": ("a table", (dict,)),
    "kwarg": ("a list of texts", (list,)),
    "wrap": ("a list of texts or tables", (list,)),
    "preset": ("a text", (str,)),
    "episodes": ("a whole number", (int,)),
    "max_steps": ("a whole number", (int,)),
    "recurring": ("a whole number", (int,)),
    "image_size": ("a whole number", (int,)),
    "network": ("true or false", (bool,)),
    "copies": ("a whole number", (int,)),
    "reference": ("a number or a text", (int, float, str)),
    "reference_steps": ("a whole number", (int,)),
    "random_return": ("a number", (int, float)),
    "python": ("a text", (str,)),
    "path": ("a list of texts", (list,)),
    "few_shot": ("a text", (str,)),
    "shots": ("a whole number", (int,)),
    "queries": ("a whole number", (int,)),
    "learner": ("a text", (str,)),
}
"""The keys of a family file: what a value must be, in words, and its types."""


@dataclass(frozen=True, kw_only=True)
class FileDefaults:
    """The values that a family file leaves to the settings.

    Attributes:
        reference_steps: steps of a measured reference where none is declared; 0 for no measurement.
        ppo_steps: steps of the reference "ppo" without a number.
        classification_learner: learner of few-shot tasks of images.
        regression_learner: learner of few-shot tasks of regression.
    """

    reference_steps: int
    ppo_steps: int
    classification_learner: str
    regression_learner: str


def read_family_file(text: str, *, path: Path, defaults: FileDefaults) -> FamilySpec:
    """Return the family that a file declares.

    Args:
        text: the content of the file.
        path: the file; relative paths start in its folder, and its name is the family's name if it declares none.
        defaults: what the file leaves to the settings.

    Raises:
        FamilySpecError: the file is not TOML, or declares no valid family; the error has the line.
    """
    source = _Source(text, path)
    values = source.values()
    with source.at("entry"):
        if "entry" not in values:
            raise ValueError('it has no entry; write entry = "CartPole-v1"')
    if "name" not in values:
        values["name"] = re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower()).strip("-_")[:48]
    with source.at("reference"):
        choice = _reference(values, defaults)
    with source.at("entry"):
        is_few_shot = _is_few_shot(values, path.parent)
    if is_few_shot:
        return _few_shot(values, source, choice, defaults)
    return _environments(values, source, choice)


def family_file_text(spec: FamilySpec) -> str:
    """Return the text of a family file that declares a family.

    What admission or a measurement found out is not part of it, except for completed variations.
    """
    import tomli_w

    values: dict[str, Any] = {"entry": spec.entry, "name": spec.name}
    declared = declaration_of(spec)
    if spec.source is FamilySource.FEW_SHOT:
        values["learner"] = spec.learner
    else:
        values |= _environment_values(declared)
    if declared.reference_return is not None:
        values["reference"] = declared.reference_return
    elif declared.reference_rule is ReferenceRule.NONE:
        values["reference"] = "none"
    elif declared.reference_rule is ReferenceRule.PPO:
        values["reference"] = f"ppo:{declared.reference_steps}"
    elif spec.source is FamilySource.GYMNASIUM:
        values["reference_steps"] = declared.reference_steps
    if special := [f"{name}={json.dumps(value)}" for name, value in spec.kwargs.items() if not is_toml(value)]:
        values["kwarg"] = [text.replace("=null", "=none") if text.endswith("=null") else text for text in special]
    if plain := {name: value for name, value in spec.kwargs.items() if is_toml(value)}:
        values["kwargs"] = plain
    return tomli_w.dumps(values, multiline_strings=False)


def declaration_of(spec: FamilySpec) -> FamilySpec:
    """Return a family as it was declared: without a measured reference, and without the source of a registered one."""
    if spec.measured_reference is not None:
        return replace(spec, reference_return=None, reference_source="", measured_reference=None)
    if spec.reference_return is None:
        return replace(spec, reference_source="")
    is_tensor = spec.source is FamilySource.TENSOR
    steps = spec.reference_steps if is_tensor else 0
    return replace(spec, reference_source="declared", reference_rule=ReferenceRule.THRESHOLD, reference_steps=steps)


class _Source:
    """The text of a family file, which knows the line of each key.

    Args:
        text: the text.
        path: the file.
    """

    def __init__(self, text: str, path: Path) -> None:
        self._text = text
        self.path = path

    def values(self) -> dict[str, Any]:
        """Return the keys and values of the file.

        Raises:
            FamilySpecError: it is not TOML, or a key is unknown or has a value of another type.
        """
        try:
            values = parse_toml(self._text)
        except tomllib.TOMLDecodeError as error:
            match = _AT_LINE.search(str(error))
            line = int(match["line"]) if match else self._text.count("\n") + 1
            found = _AT_LINE.sub("", str(error)).strip()
            raise self.error(line, f"it is not TOML: {found}.") from error
        for key, value in values.items():
            with self.at(key):
                _check_type(key, value)
        return values

    @contextmanager
    def at(self, key: str, item: object = None) -> Iterator[None]:
        """Give errors inside the block the line of a key, or of an item of its list."""
        try:
            yield
        except FamilySpecError as error:
            subject = f"{error.subject}: " if error.subject else ""
            raise self.error(self._line(key, item), f"{subject}{error.found}", error.hint) from error
        except OSError as error:
            found = f"{error.filename}: {error.strerror}."
            raise self.error(self._line(key, item), found) from error
        except (ValueError, TypeError) as error:
            raise self.error(self._line(key, item), f"{str(error).rstrip('.')}.") from error

    def error(self, line: int, found: str, hint: str = "") -> FamilySpecError:
        """Return an error with the line."""
        return FamilySpecError(
            operation="reading family file", subject=str(self.path), found=f"line {line}: {found}", hint=hint
        )

    def each(self, key: str, values: Mapping[str, Any], read: Callable[[Any], T]) -> list[T]:
        """Read the items of a list; an error has the line of its item."""
        found = []
        for item in values.get(key, ()):
            with self.at(key, item):
                found.append(read(item))
        return found

    def _line(self, key: str, item: object) -> int:
        """Return the line of an item, or of a key; 1 if neither is found."""
        if isinstance(item, str) and (place := self._text.find(item)) >= 0:
            return self._text.count("\n", 0, place) + 1
        match = re.search(rf'^[ \t]*(\[+\s*)?"?{re.escape(key)}"?\s*[\].=]', self._text, re.MULTILINE)
        return 1 if match is None else self._text.count("\n", 0, match.start()) + 1


def _check_type(key: str, value: object) -> None:
    if key not in KEY_TYPES:
        raise ValueError(f"{key!r} is not a key of a family file. Its keys are {', '.join(KEY_TYPES)}")
    words, types = KEY_TYPES[key]
    if (isinstance(value, bool) and types != (bool,)) or not isinstance(value, types):
        raise TypeError(f"{key} is {value!r}, and should be {words}")
    if not is_json(value):
        raise ValueError(f"{key} is {value!r}, which has a date, a time or NaN")
    if key == "random_return" and not is_finite(value):
        raise ValueError(f"{key} is {value!r}, and should be a finite number")
    if key in {"kwarg", "path"} and isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise ValueError(f"{key} is {value!r}, and should be {words}")


def _reference(values: Mapping[str, Any], defaults: FileDefaults) -> ReferenceChoice:
    if "reference" in values:
        return read_reference(str(values["reference"]), steps=defaults.ppo_steps)
    return ReferenceChoice(steps=values.get("reference_steps", defaults.reference_steps))


def _is_few_shot(values: Mapping[str, Any], folder: Path) -> bool:
    entry = values["entry"]
    if "few_shot" in values or entry in FEW_SHOT_ENTRIES:
        return True
    return entry not in TENSOR_FAMILIES and not is_python_file(entry) and exists(folder / expanded(Path(entry)))


def _environments(values: Mapping[str, Any], source: _Source, choice: ReferenceChoice) -> FamilySpec:
    _refuse_keys(values, _FEW_SHOT_KEYS - {"learner"}, source, "its tasks are environments, not few-shot tasks")
    folder = source.path.parent
    variations = source.each("vary", values, _variation)
    wrappers = source.each("wrap", values, _wrapper)
    kwargs = _kwargs(values, source)
    with source.at("python"):
        python = str(interpreter_of(folder / expanded(Path(values["python"])))) if "python" in values else None
    with source.at("preset" if values.get("preset") else "entry"):
        spec = family_from_declaration(
            values["entry"],
            name=values["name"],
            variations=variations,
            kwargs=kwargs,
            wrappers=wrappers,
            preset=values.get("preset"),
            episodes_per_trial=values.get("episodes"),
            max_episode_steps=values.get("max_steps"),
            recurring=values.get("recurring", 0),
            image_size=values.get("image_size"),
            network=values.get("network", False),
            copies=values.get("copies", 0),
            reference_return=choice.declared,
            reference_rule=choice.rule,
            reference_steps=choice.steps,
            python=python,
            import_paths=[_folder(folder, path) for path in values.get("path", ())],
            folder=folder,
        )
    return replace(spec, random_return=values.get("random_return"))


def _folder(start: Path, path: str) -> str:
    """Return an absolute folder as it is written, and a relative one without symbolic links."""
    place = expanded(Path(path))
    return os.path.normpath(place) if place.is_absolute() else str(resolved(start / place))


def _few_shot(
    values: Mapping[str, Any], source: _Source, choice: ReferenceChoice, defaults: FileDefaults
) -> FamilySpec:
    _refuse_keys(values, _ENVIRONMENT_KEYS, source, "its tasks are few-shot tasks, not environments")
    entry, kwargs = values["entry"], _kwargs(values, source)
    if "few_shot" in values:
        with source.at("few_shot"):
            kwargs["ways"], kwargs["shots"] = parse_few_shot(values["few_shot"])
    kwargs |= {key: values[key] for key in ("shots", "queries") if key in values}
    usual = defaults.regression_learner if is_regression(entry) else defaults.classification_learner
    with source.at("entry"):
        place = entry if entry in FEW_SHOT_ENTRIES else str(source.path.parent / expanded(Path(entry)))
    with source.at("entry"):
        return few_shot_from_declaration(
            place,
            learner=values.get("learner", usual),
            name=values["name"],
            kwargs=kwargs,
            reference_return=choice.declared,
        )


def _refuse_keys(values: Mapping[str, Any], keys: frozenset[str], source: _Source, why: str) -> None:
    for key in values:
        if key in keys:
            with source.at(key):
                raise ValueError(f"{key} does not apply: {why}")


def _variation(item: object) -> Variation:
    if isinstance(item, str) and not item.startswith("{"):
        return parse_variation(item)
    if isinstance(item, str):
        item = parse_json(item)
    return Variation.from_json(item)


def _wrapper(item: object) -> EnvWrapper:
    if isinstance(item, str):
        return parse_wrapper(item)
    return EnvWrapper.from_json(item)


def _kwargs(values: Mapping[str, Any], source: _Source) -> dict[str, Any]:
    return {**values.get("kwargs", {}), **dict(source.each("kwarg", values, _kwarg))}


def _kwarg(text: str) -> tuple[str, Any]:
    key, value = parse_setting(text)
    if isinstance(value, str) and value[:1] in {"[", "{"}:
        return key, parse_json(value)
    return key, value


def _environment_values(spec: FamilySpec) -> dict[str, Any]:
    """Return the keys of a family of environments."""
    values: dict[str, Any] = {"episodes": spec.episodes_per_trial}
    if spec.max_episode_steps is not None:
        values["max_steps"] = spec.max_episode_steps
    if spec.recurring:
        values["recurring"] = spec.recurring
    if spec.image_size != DEFAULT_IMAGE_SIZE:
        values["image_size"] = spec.image_size
    values |= {key: value for key, value in (("network", spec.network), ("copies", spec.copies)) if value}
    if spec.random_return is not None:
        values["random_return"] = spec.random_return
    if spec.python is not None:
        values["python"] = spec.python
    if spec.import_paths:
        values["path"] = list(spec.import_paths)
    if spec.variations:
        values["vary"] = [_variation_value(variation) for variation in spec.variations]
    if spec.wrappers:
        values["wrap"] = [_wrapper_value(wrapper) for wrapper in spec.wrappers]
    return values


def _wrapper_value(wrapper: EnvWrapper) -> str | dict[str, Any]:
    """Return a wrapper as a table, or as text if its keyword arguments have a null, which TOML lacks."""
    values = wrapper.to_json()
    return values if is_toml(values) else f"{wrapper.name}:{json.dumps(dict(wrapper.kwargs))}"


def _variation_value(variation: Variation) -> str | dict[str, Any]:
    """Return a variation as a table, or as JSON text if one of its values is a null."""
    values = asdict(variation)
    return values if is_toml(values) else json.dumps(values)
