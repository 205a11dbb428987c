"""Tests of the requests to a running service."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli.running_service import authorization


@pytest.mark.parametrize("token", ["0123456789abcdef", "鍵" * 16])
def test_a_header_takes_any_token_as_the_bytes_of_utf_8(token: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f" {token} \nanother line\n", encoding="utf-8")
    header = authorization(tmp_path / "token")["authorization"]
    assert header.encode("latin-1").decode("utf-8") == f"Bearer {token}"
