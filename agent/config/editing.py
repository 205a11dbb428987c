"""A change of one setting in the text of a settings file, which keeps everything else as it is."""

from __future__ import annotations

import tomllib
from typing import Any

from agent.errors import AgentError
from envs.foreign_text import parse_toml


class EditError(AgentError):
    """An error: a settings file cannot be changed."""


def edited(text: str, key: str, value: Any) -> str:
    """Return the text of a settings file with another value of a setting. Comments and order are kept.

    Args:
        text: the TOML text; empty for a new file.
        key: the setting's dotted name.
        value: the value, as TOML has it.

    Raises:
        EditError: the file has a value where the setting needs a section, or the text cannot be changed.
    """
    import tomlkit  # slow to load, and only `config set` changes settings
    from tomlkit.exceptions import TOMLKitError

    section, _, name = key.rpartition(".")
    try:
        document = tomlkit.parse(text)
        if section and section not in document:
            document[section] = tomlkit.table()
        target: Any = document[section] if section else document
        target[name] = value
        changed = tomlkit.dumps(document)
        written = tomllib.loads(changed)
        found = (written[section] if section else written)[name]
    except (TOMLKitError, TypeError, KeyError, tomllib.TOMLDecodeError) as error:
        raise EditError(operation="changing", subject=key, found=f"{error}.", hint="Edit the file by hand.") from error
    if found != value:
        raise EditError(operation="changing", subject=key, found="the text did not change.", hint="Edit it by hand.")
    return changed


def toml_value(text: str) -> Any:
    """Return the value that a text on the command line means: TOML if it is TOML, such as 3 or true, else the text."""
    try:
        values = parse_toml(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = values["value"]
    return value if len(values) == 1 and isinstance(value, bool | int | float | str | list | dict) else text
