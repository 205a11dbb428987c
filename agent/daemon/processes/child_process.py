"""Start, read and kill the processes of the daemon: the trainer, and the measurement of a reference."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence

from agent.logs import forward_line

MAX_KEPT_LINE = 20_000
"""Characters of an output line that are kept for messages."""


async def spawn_with_channel(
    command: Sequence[str], channel: socket.socket, environment: Mapping[str, str]
) -> asyncio.subprocess.Process:
    """Start a process in a group of its own, with a socket to the daemon and its output as a pipe.

    Args:
        command: the command line; ``--channel-fd N`` is appended.
        channel: the process's end of the channel.
        environment: its environment variables.

    Raises:
        OSError: it cannot be started.
    """
    descriptor = channel.fileno()
    return await asyncio.create_subprocess_exec(
        *command,
        "--channel-fd",
        str(descriptor),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        pass_fds=(descriptor,),
        env=environment,
        process_group=0,
        limit=2**20,
    )


async def forward_output(process: asyncio.subprocess.Process, keep: Callable[[str], None]) -> None:
    """Write the output of a process to stderr until it ends, and call ``keep`` with each line that is not empty."""
    while process.stdout is not None:
        try:
            line = await process.stdout.readline()
        except ValueError:  # a line beyond the limit
            continue
        if not line:
            return
        forward_line(line)
        if line.strip():
            keep(line.decode(errors="replace").strip()[:MAX_KEPT_LINE])


def kill_group(process: asyncio.subprocess.Process | None) -> None:
    """Kill a process and its group, unless it has exited."""
    if process is not None and process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def signal_text(status: int) -> str:
    """Return the signal that ended a process as text, such as "signal 9 (SIGKILL)".

    Args:
        status: the return code, minus the number of the signal.
    """
    return f"signal {-status} ({signal.Signals(-status).name})"


async def cancel_tasks(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def add_niceness(pid: int, added: int) -> None:
    """Set the niceness of a process to that of this one plus ``added``; a process that has ended is left alone."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, added_niceness(added))


def added_niceness(added: int) -> int:
    """Return the sum of this process's niceness and ``added``, at most 19."""
    return min(19, os.getpriority(os.PRIO_PROCESS, 0) + added)
