"""Dataclasses as JSON values: one writer and one reader for every class, by the types of its fields."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

ValueT = TypeVar("ValueT")


def dataclass_to_json(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON values, in their order: enums become their values, tuples lists.

    Infinity and not-a-number stay as they are.
    """
    values: dict[str, Any] = to_jsonable_python(value)
    return values


def dataclass_from_json(kind: type[ValueT], values: Mapping[str, Any]) -> ValueT:
    """Return the value that :func:`dataclass_to_json` wrote.

    Missing fields take their defaults, and unknown ones are ignored: files outlive changes of the classes. Values of
    another type are refused, except that a whole number may stand for a float.

    Args:
        kind: the dataclass.
        values: JSON values.

    Raises:
        pydantic.ValidationError: a value does not fit its field, or a field without default is missing; a ValueError.
    """
    # Only JSON text is checked strictly and still read into tuples, enums and nested dataclasses.
    value: ValueT = _adapter(cast("Hashable", kind)).validate_json(json.dumps(values), strict=True)
    return value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
