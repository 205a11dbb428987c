"""Tests of the requests to a running service."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli.running_service import authorization
from agent.config.token_file import MOST_TOKEN_BYTES


@pytest.mark.parametrize("token", ["0123456789abcdef", "鍵" * 16])
def test_a_header_takes_any_token_as_the_bytes_of_utf_8(token: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f" {token} \nanother line\n", encoding="utf-8")
    header = authorization(tmp_path / "token")["authorization"]
    assert header.encode("latin-1").decode("utf-8") == f"Bearer {token}"


def test_a_token_file_that_has_no_end_is_read_to_the_longest_token() -> None:
    header = authorization(Path("/dev/zero"))["authorization"]
    assert len(header) == len("Bearer ") + MOST_TOKEN_BYTES + 1
