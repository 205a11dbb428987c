"""Entry point of the trainer process. The daemon starts it; users do not."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import sys

from agent.output.streams import prepare_streams
from agent.process_settings import VARIABLE
from agent.running_version import running_version

PR_SET_PDEATHSIG = 1
OTHER_VERSION = 6
"""Exit status of a trainer whose version of learnd differs from the daemon's."""


def main() -> None:
    """Restore the trainer's state and do jobs until the daemon stops the trainer.

    When everything is committed and reported and the workers have exited, the process ends by ``os._exit``. The
    interpreter's teardown saves nothing, and with torch loaded it takes seconds on a busy machine.
    """
    parser = argparse.ArgumentParser(prog="python -m agent.trainer", description=__doc__)
    parser.add_argument("--settings", help="all settings, as JSON; default: the variable of the daemon")
    parser.add_argument("--channel-fd", type=int, required=True)
    parser.add_argument("--control-version", default=running_version(), help="the daemon's version of learnd")
    arguments = parser.parse_args()
    settings = arguments.settings or os.environ.pop(VARIABLE, "{}")
    _follow_daemon()
    _refuse_other_version(arguments.control_version)

    from agent.trainer.composition import run

    prepare_streams()
    run(settings=settings, connection=socket.socket(fileno=arguments.channel_fd))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _refuse_other_version(control_version: str) -> None:
    """Exit if the installed version of learnd is not the version that the daemon runs.

    This happens when learnd is upgraded on disk while the daemon runs. The trainer exits before it opens the store,
    because opening would migrate the store.
    """
    if control_version != running_version():
        sys.stderr.write(
            f"learnd {running_version()} is installed, but the daemon runs {control_version}: restart the service.\n"
        )
        sys.exit(OTHER_VERSION)


def _follow_daemon() -> None:
    """Have the kernel kill this process when the daemon exits, and ignore the signals that stop the service.

    Such a signal may reach all processes of the service. The daemon then stops the trainer through the channel.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    main()
