"""Check of the fields of JSON objects that the store holds: another version may have written them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from envs.errors import FamilySpecError

FieldTypes = Mapping[str, tuple[type, ...]]
"""The types that the value of each known field may have."""

NULL = type(None)
TEXT = (str,)
COUNT = (int,)
NUMBER = (int, float)
ARRAY = (list, tuple)
OBJECT = (dict,)
FLAG = (bool,)


def checked_fields(values: object, types: FieldTypes, *, required: Collection[str], subject: str) -> dict[str, Any]:
    """Return the fields of a JSON object whose names and types are known.

    A number keeps its type, so that writing the values again gives the same JSON text.

    Args:
        values: the JSON value.
        types: the known fields; a boolean is not a number.
        required: the fields that the object must have.
        subject: the kind of object in error messages, such as "variation".

    Raises:
        FamilySpecError: the value is not an object, or a field is missing, unknown, or of another type.
    """
    if not isinstance(values, dict):
        raise unreadable(subject, f"it is {_kind(values)}, not an object.")
    if unknown := sorted(str(name) for name in values.keys() - types.keys()):
        raise unreadable(subject, f"this version of learnd does not know its {', '.join(unknown)}.")
    if missing := sorted(set(required) - values.keys()):
        raise unreadable(subject, f"it has no {', '.join(missing)}.")
    for name, value in values.items():
        if (isinstance(value, bool) and types[name] != FLAG) or not isinstance(value, types[name]):
            raise unreadable(subject, f"its {name} is {_kind(value)}.")
    return values


def require_texts(values: Collection[object], *, name: str, subject: str) -> None:
    """Check that the elements of an array are texts.

    Raises:
        FamilySpecError: one is not.
    """
    for value in values:
        if not isinstance(value, str):
            raise unreadable(subject, f"its {name} holds {_kind(value)}.")


def unreadable(subject: str, found: str) -> FamilySpecError:
    """Return the error for a JSON object that cannot be read."""
    return FamilySpecError(operation="reading", subject=subject, found=found)


def _kind(value: object) -> str:
    """Return the JSON name of a value's type; a scalar is shown."""
    if isinstance(value, dict):
        return "an object"
    return "an array" if isinstance(value, list | tuple) else "null" if value is None else repr(value)
