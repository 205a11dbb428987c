"""The base of the models of /api/v1, and the answer of an error.

The answers themselves are the values that the commands print with ``--json``. They are not converted by the models,
which would cost time in every answer: the OpenAPI document is generated from them, and tests hold the two together.
Times are seconds since the epoch (UTC).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Values(BaseModel):
    """JSON values with exactly these fields. A schema is built when it is first used."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, defer_build=True)


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
