"""What command lines that declare a family share: keyword arguments, and options that do not apply."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from agent.cli.errors import CommandError


def parse_kwargs(texts: Sequence[str]) -> dict[str, Any]:
    """Read KEY=VALUE; VALUE is a word, a number, true, false, none, or a JSON list or object."""
    return dict(_parse_kwarg(text) for text in texts)


def _parse_kwarg(text: str) -> tuple[str, Any]:
    from envs.declaration import parse_setting

    key, value = parse_setting(text)
    if isinstance(value, str) and value[:1] in {"[", "{"}:
        try:
            return key, json.loads(value)
        except json.JSONDecodeError as error:
            raise typer.BadParameter(f"{value!r} is not JSON: {error}", param_hint="--kwarg") from error
    return key, value


def refuse_options(entry: str, options: Mapping[str, Any], why: str) -> None:
    """Refuse options that were given and do not apply.

    Args:
        entry: the family's entry.
        options: by name, with what was given; None and nothing where nothing was.
        why: why they do not apply.

    Raises:
        CommandError: at least one was given.
    """
    given = [name for name, value in options.items() if value]
    if given:
        raise CommandError(
            operation="describing family",
            subject=entry,
            found=f"{', '.join(given)} does not apply: {why}.",
            hint="Leave it out.",
        )


def few_shot_kwargs(
    entry: str, kwargs: Mapping[str, Any], *, few_shot: str | None, shots: int | None, queries: int | None
) -> dict[str, Any]:
    """Keyword arguments of a few-shot family, with what the options say of its tasks laid over them.

    Args:
        entry: the family's entry.
        kwargs: as given.
        few_shot: WAYSxSHOTS.
        shots: support examples.
        queries: query examples.

    Raises:
        CommandError: ways are given of a regression.
        FamilySpecError: ``few_shot`` is not WAYSxSHOTS.
    """
    from envs.declaration import parse_few_shot
    from envs.few_shot.declared import is_regression

    said = dict(kwargs)
    if few_shot is not None:
        if is_regression(entry):
            refuse_options(entry, {"--few-shot": few_shot}, "its tasks have no ways; --shots says how many points")
        said["ways"], said["shots"] = parse_few_shot(few_shot)
    return said | {key: value for key, value in (("shots", shots), ("queries", queries)) if value is not None}
