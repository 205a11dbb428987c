"""Declared wrappers of an environment, and the presets that name several at once.

The worker applies them, in their order, to each copy of the environment (:mod:`envs.gymnasium.host.making`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from envs.entries import ONLY_CLASS, file_entry, is_python_file
from envs.errors import FamilySpecError
from envs.foreign_text import parse_json
from envs.json_fields import OBJECT, TEXT, FieldTypes, checked_fields

WRAPPER_FORMS = (
    "Write NAME for a wrapper of gymnasium.wrappers, or module:Wrapper, then its keyword arguments as JSON: "
    "'FrameStackObservation:{\"stack_size\": 4}'."
)


@dataclass(frozen=True, kw_only=True)
class EnvWrapper:
    """A wrapper with its keyword arguments.

    Attributes:
        name: the name of a wrapper in ``gymnasium.wrappers``, or ``module:Wrapper``; a function of an environment that
            returns an environment is a wrapper too.
        kwargs: its keyword arguments, as JSON values.
    """

    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the wrapper as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: object) -> EnvWrapper:
        """Return the wrapper from the values that :meth:`to_json` returned.

        Raises:
            FamilySpecError: the values are damaged, or a newer version wrote them.
        """
        return cls(**checked_fields(values, FIELD_TYPES, required=("name",), subject="wrapper"))

    def __str__(self) -> str:
        """Return the wrapper as a call: ``FrameStackObservation(stack_size=4)``."""
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.kwargs.items())})"


FIELD_TYPES: FieldTypes = {"name": TEXT, "kwargs": OBJECT}
"""The JSON types of the fields of a :class:`EnvWrapper`."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Wrappers, and keyword arguments of the environment below them, that one name stands for.

    Attributes:
        kwargs: keyword arguments of the environment; those of the user take precedence.
        wrappers: the wrappers in the order in which they are applied.
    """

    kwargs: Mapping[str, Any]
    wrappers: tuple[EnvWrapper, ...]


PRESETS: Mapping[str, Preset] = {
    # Machado et al. 2018, "Revisiting the Arcade Learning Environment", table 6: sticky actions with probability 0.25,
    # frame skip 4, the whole game as episode. Sticky actions replace the no-ops at the start of an episode (section 4).
    # Grey, 84 × 84 and the stack of 4 are of Mnih et al. 2015. The wrapper skips frames, so the environment does not.
    "atari": Preset(
        kwargs={"frameskip": 1, "repeat_action_probability": 0.25},
        wrappers=(
            EnvWrapper(
                name="AtariPreprocessing",
                kwargs={"noop_max": 0, "frame_skip": 4, "screen_size": 84, "grayscale_obs": True},
            ),
            EnvWrapper(name="FrameStackObservation", kwargs={"stack_size": 4}),
        ),
    ),
}
"""The presets by name."""


def parse_wrapper(text: str) -> EnvWrapper:
    """Read one wrapper: ``NAME``, ``NAME:JSON``, ``module:Wrapper`` or ``module:Wrapper:JSON``.

    The module may be written as a Python file, ``FILE.py:Wrapper``.

    Raises:
        FamilySpecError: the text has none of these forms, or its JSON is not an object.
    """
    head, brace, tail = text.partition("{")
    name = head.strip()
    if brace and not name.endswith(":"):
        _refuse(text, "its JSON is not separated from its name by a colon.")
    name = name.removesuffix(":").strip() if brace else name
    if not is_python_file(name) and not all(part.isidentifier() for part in _parts(name)):
        _refuse(text, f"{name!r} is not the name of a wrapper.")
    try:
        kwargs = parse_json(brace + tail) if brace else {}
    except ValueError as error:
        _refuse(text, f"{brace + tail!r} is not JSON: {error}.")
    return EnvWrapper(name=name, kwargs=kwargs)


def preset_named(name: str) -> Preset:
    """Return the preset of that name.

    Raises:
        FamilySpecError: there is none.
    """
    if name not in PRESETS:
        raise FamilySpecError(
            operation="reading preset", subject=name, found="there is no such preset.", hint=f"Write {_listed()}."
        )
    return PRESETS[name]


def declared_wrappers(
    entry: str,
    wrappers: Sequence[EnvWrapper | str],
    preset: str | None,
    kwargs: Mapping[str, Any],
    *,
    is_tensor: bool,
) -> Preset:
    """Return all wrappers and keyword arguments of a declaration: those of its preset, then its own.

    Raises:
        FamilySpecError: a wrapper cannot be read, the preset is unknown, or the family has no environment to wrap.
    """
    if is_tensor and (wrappers or preset):
        raise FamilySpecError(
            operation="describing family",
            subject=entry,
            found="a tensor-native family has no environment that could be wrapped.",
            hint="Leave --wrap and --preset out.",
        )
    own = tuple(parse_wrapper(wrapper) if isinstance(wrapper, str) else wrapper for wrapper in wrappers)
    given = Preset(kwargs={}, wrappers=()) if preset is None else preset_named(preset)
    return Preset(kwargs={**given.kwargs, **kwargs}, wrappers=(*given.wrappers, *own))


def from_modules(wrapped: Preset, paths: list[str], *, folder: Path | None) -> tuple[Preset, list[str]]:
    """Return the wrappers with modules in place of Python files, and the import paths with the folders of the files.

    Raises:
        FamilySpecError: there is no such file, or it names no wrapper.
    """
    wrappers = []
    for wrapper in wrapped.wrappers:
        if not is_python_file(wrapper.name):
            wrappers.append(wrapper)
            continue
        named = file_entry(wrapper.name, folder=folder)
        if named.entry.endswith(f":{ONLY_CLASS}"):
            raise FamilySpecError(
                operation="reading wrapper",
                subject=wrapper.name,
                found="it names a file and no wrapper in it.",
                hint="Write FILE.py:Wrapper.",
            )
        wrappers.append(replace(wrapper, name=named.entry))
        paths = [*paths, *({named.import_path} - set(paths))]
    return replace(wrapped, wrappers=tuple(wrappers)), paths


def _listed() -> str:
    return " or ".join(PRESETS)


def _parts(name: str) -> list[str]:
    """Return the identifiers of ``NAME`` or ``package.module:Class``."""
    module, separator, inner = name.partition(":")
    return [*module.split("."), *inner.split(".")] if separator else [module]


def _refuse(text: str, found: str) -> NoReturn:
    raise FamilySpecError(operation="reading wrapper", subject=text, found=found, hint=WRAPPER_FORMS)
