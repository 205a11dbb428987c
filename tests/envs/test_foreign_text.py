"""Text that is nested too deeply, or has numbers of too many digits, is refused as text that is not JSON or TOML."""

from __future__ import annotations

import json
import tomllib

import pytest

from envs.foreign_text import MOST_LEVELS, parse_json, parse_toml

DIGITS = "9" * 5000


@pytest.mark.parametrize("levels", [MOST_LEVELS + 1, 300, 100_000])
def test_json_that_is_nested_too_deeply_is_no_json(levels: int) -> None:
    with pytest.raises(json.JSONDecodeError, match="nested more than 64 levels"):
        parse_json("[" * levels + "1" + "]" * levels)
    with pytest.raises(json.JSONDecodeError, match="nested more than 64 levels"):
        parse_json('{"a":' * levels + "1" + "}" * levels)


@pytest.mark.parametrize("levels", [MOST_LEVELS, 300, 5000])
def test_toml_that_is_nested_too_deeply_is_no_toml(levels: int) -> None:
    with pytest.raises(tomllib.TOMLDecodeError, match="nested more than 64 levels"):
        parse_toml("a = " + "[" * levels + "1" + "]" * levels)
    with pytest.raises(tomllib.TOMLDecodeError, match="nested more than 64 levels"):
        parse_toml("a." * levels + "b = 1")


def test_values_of_the_largest_depth_are_read() -> None:
    text = "[" * MOST_LEVELS + "1" + "]" * MOST_LEVELS
    assert parse_json(text) == json.loads(text)
    assert parse_toml(f"a = {text[1:-1]}") == tomllib.loads(f"a = {text[1:-1]}")


def test_a_number_of_thousands_of_digits_is_no_json_and_no_toml() -> None:
    with pytest.raises(json.JSONDecodeError, match="too many digits"):
        parse_json(f"[{DIGITS}]")
    with pytest.raises(tomllib.TOMLDecodeError, match="too many digits"):
        parse_toml(f"a = {DIGITS}")


@pytest.mark.parametrize("text", ["[1, 2", "{", b"\xff\xfe1", ""])
def test_what_is_no_json_stays_an_error_of_json(text: str | bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        parse_json(text)
