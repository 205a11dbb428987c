"""The reader of TOML files for people: it accepts a byte order mark, and knows the line of each key."""

from __future__ import annotations

import codecs
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.foreign_text import parse_toml as parse_toml_values

MOST_BYTES = 1 << 20

_OTHER_ENCODINGS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


class TomlTextError(ValueError):
    """An error: a text is not TOML.

    Args:
        found: the fault.
        line: its line, from 1 on; None if it has none.
    """

    def __init__(self, found: str, *, line: int | None = None) -> None:
        self.found = found
        self.line = line
        super().__init__(found)


@dataclass(frozen=True, kw_only=True)
class TomlFile:
    """The values of a TOML file, with the lines of their keys.

    Attributes:
        values: the values by section and key.
        lines: the line of each key and section by its parts, from 1 on: ``("learner", "seed")``.
    """

    values: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]


def read_toml(path: Path) -> TomlFile:
    """Return the values of a file and the lines of its keys.

    Raises:
        OSError: the file cannot be read.
        TomlTextError: the file is not TOML in UTF-8, or is too large.
    """
    with path.open("rb") as file:  # may be a pipe, as of the shell's <(command), or a device that has no end
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise TomlTextError(f"it is larger than {MOST_BYTES} bytes, the most that settings may have")
    return parse_toml(decoded(content))


def parse_toml(text: str) -> TomlFile:
    """Return the values of a text and the lines of its keys.

    Raises:
        TomlTextError: the text is not TOML.
    """
    try:
        values = parse_toml_values(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        raise TomlTextError(message, line=_line_of_message(message, text)) from error
    return TomlFile(values=values, lines=dict(_lines_of_keys(text)))


def decoded(content: bytes) -> str:
    """Return the text of a file, without the byte order mark that some editors write.

    Raises:
        TomlTextError: the content is not UTF-8.
    """
    for mark, encoding in _OTHER_ENCODINGS.items():
        if content.startswith(mark):
            raise TomlTextError(f"it is {encoding}; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TomlTextError(f"it is not UTF-8 (byte 0x{content[error.start]:02x})", line=line) from error


def _line_of_message(message: str, text: str) -> int:
    """Return the line that a message of tomllib names; it names none for the end of the file."""
    _, _, after = message.partition("(at line ")
    number = after.partition(",")[0]
    return int(number) if number.isdigit() else max(1, len(text.splitlines()))


def _lines_of_keys(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield each key and section of a valid TOML text by its parts, with its line.

    A statement ends at the first line with which it is TOML by itself; so the lines of lists and of texts over several
    lines are no statements.
    """
    section: tuple[str, ...] = ()
    statement, first = "", 1
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if not statement:
            first = number
        statement += line
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        is_header = statement.lstrip().startswith("[")
        keys = list(_keys_of(parsed))
        if is_header and keys:
            section = keys[-1]
        for key in keys:
            yield (key if is_header else (*section, *key)), first
        statement = ""


def _keys_of(values: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(values, list) and values:  # [[a list of tables]]
        values = values[-1]
    if isinstance(values, Mapping):
        for key, inner in values.items():
            yield (*above, key)
            yield from _keys_of(inner, (*above, key))
