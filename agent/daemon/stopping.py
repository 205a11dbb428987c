"""The stop of the daemon: waiting for it, and the error of work that it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from agent.errors import AgentError


class StoppingError(Exception):
    """An error: the daemon stops, and the current work is abandoned."""


async def until_stop(stop: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for the request to stop, or until a task ends.

    Raises:
        AgentError: a task has ended before the request to stop.
    """
    stopped = asyncio.create_task(stop.wait())
    ended, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if stopped in ended or stop.is_set():
        return
    task = next(iter(ended))
    raise AgentError(
        operation="running", subject=task.get_name(), found=f"it ended unexpectedly: {task.exception()!r}."
    ) from task.exception()
