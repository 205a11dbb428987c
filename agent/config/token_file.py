"""The first line of a token file, which is the token of the service's page."""

from __future__ import annotations

from pathlib import Path

from envs.user_paths import expanded

MOST_TOKEN_BYTES = 1024


def token_line(path: Path) -> bytes:
    """Return the first line of a token file; of a longer one than the service takes, one byte more than it takes.

    Raises:
        OSError: the file cannot be read.
    """
    with expanded(path).open("rb") as file:  # may be a device that has no end
        return file.readline(MOST_TOKEN_BYTES + 1)
