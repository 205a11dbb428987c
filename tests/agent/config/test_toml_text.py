"""The text of a settings file."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config.toml_text import TomlTextError, read_toml


def test_a_file_that_has_no_end_is_refused() -> None:
    with pytest.raises(TomlTextError, match="it is larger than 1048576 bytes"):
        read_toml(Path("/dev/zero"))


def test_a_text_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "learnd.toml").write_text("rl2 = " + "[" * 3000 + "]" * 3000)
    with pytest.raises(TomlTextError, match="nested more than 64 levels deep"):
        read_toml(tmp_path / "learnd.toml")
