"""The base of the models of /api/v1, and the answer of an error.

The answers themselves are the values that the commands print with ``--json``. They are not converted by the models,
which would cost time in every answer: the OpenAPI document is generated from them, and tests hold the two together.
Times are seconds since the epoch (UTC).
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ConfigDict


class Values(BaseModel):
    """JSON values with exactly these fields. The text below a field is its description.

    A schema is built when it is first used. The descriptions are read while the module loads, because an upgrade may
    replace its file later. They are read for the whole module at once: pydantic's own reading, class by class, took a
    tenth of the service's start.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_kwargs: Any) -> None:
        """Set the descriptions of the fields."""
        descriptions = _descriptions(cls.__module__).get(cls.__name__, {})
        for name, field in cls.model_fields.items():
            field.description = field.description or descriptions.get(name)


@cache
def _descriptions(module: str) -> dict[str, dict[str, str]]:
    """Return the text below each field of each class of a module, by class and field."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return {node.name: dict(_described(node)) for node in classes}


def _described(node: ast.ClassDef) -> list[tuple[str, str]]:
    """Return the names of the fields of a class that have a text below, with the text."""
    return [
        (field.target.id, inspect.cleandoc(text.value.value))
        for field, text in pairwise(node.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    ]


class Failure(Values):
    """An error answer."""

    operation: str
    """The operation that failed."""
    subject: str
    found: str
    """The finding that differs from the expected one."""
    hint: str
    """The way to repair it."""


class Failed(Values):
    """The body of an error answer."""

    error: Failure
