"""The entry point of the daemon process: signals and exit statuses."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict
from enum import IntEnum
from pathlib import Path

import structlog

from agent.config.local_time import use_time_zone
from agent.config.settings import Settings
from agent.daemon.daemon import Daemon
from agent.daemon.pauses import shorten_pauses
from agent.daemon.preloading import preload
from agent.errors import AgentError, ListenError
from agent.logs import configure_logs, log_uncaught
from agent.running_version import running_version
from memory.errors import FolderInUseError, FolderLostError, MemoryStoreError

log = structlog.get_logger(__name__)


class ExitCode(IntEnum):
    """An exit status of ``learnd run``."""

    OK = 0
    FAILED = 1
    FOLDER_IN_USE = 3
    ADDRESS_IN_USE = 4
    STORE_UNUSABLE = 5
    HUNG_UP = 128 + signal.SIGHUP
    """The terminal of the process was closed."""


def run(
    settings: Settings,
    *,
    stop_after_s: float | None = None,
    is_new: bool = False,
    trainer_command: Sequence[str] | None = None,
    reference_command: Sequence[str] | None = None,
    load_settings: Callable[[], Settings] | None = None,
) -> int:
    """Run the service until a signal stops it, or for ``stop_after_s`` seconds; return the exit code.

    Args:
        settings: all settings.
        stop_after_s: seconds after which the service stops; None for no limit.
        is_new: move a lost or damaged store aside and create a new one.
        trainer_command: the trainer's command line; None for ``python -m agent.trainer``.
        reference_command: the command line that measures references; None for ``python -m agent.reference``.
        load_settings: reads the settings again at SIGHUP; None if they cannot be reloaded.
    """
    configure_logs(settings, process="control")
    log_uncaught()
    use_time_zone(settings.service.time_zone)
    for ignored in settings.ignored:
        log.warning("removed setting has no effect", **asdict(ignored))
    running_version()
    preload()
    shorten_pauses()
    daemon = Daemon(
        settings,
        trainer_command=trainer_command,
        reference_command=reference_command,
        is_new=is_new,
        load_settings=load_settings,
    )
    try:
        asyncio.run(_run_with_signals(daemon, stop_after_s))
    except FolderInUseError as error:
        log.error("not started", error=str(error))  # noqa: TRY400 -- a traceback would add nothing
        return ExitCode.FOLDER_IN_USE
    except ListenError as error:
        log.error("not started", error=str(error))  # noqa: TRY400
        return ExitCode.ADDRESS_IN_USE
    except FolderLostError:
        return ExitCode.STORE_UNUSABLE  # logged when it was detected
    except MemoryStoreError as error:
        log.error("data folder cannot be used", error=str(error))  # noqa: TRY400
        return ExitCode.STORE_UNUSABLE
    except AgentError:
        log.exception("daemon failed")
        return ExitCode.FAILED
    return ExitCode.HUNG_UP if daemon.is_hung_up else ExitCode.OK


def has_terminal() -> bool:
    """Return whether the process has a controlling terminal and was not started by a service manager."""
    if os.environ.get("NOTIFY_SOCKET"):
        return False
    try:
        with Path("/dev/tty").open("rb"):
            return True
    except OSError:
        return False


async def _run_with_signals(daemon: Daemon, stop_after_s: float | None) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, daemon.request_stop, signal.SIGTERM.name)
    # Signals that are ignored at the start stay ignored: nohup ignores SIGHUP, and a shell ignores SIGINT in its
    # background jobs.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGINT, daemon.request_stop, signal.SIGINT.name)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, daemon.handle_hang_up, has_terminal())
    if stop_after_s is not None:
        loop.call_later(stop_after_s, daemon.request_stop, f"after {stop_after_s:g} s")
    await daemon.run()
