"""The process that measures a reference return. The daemon starts it: ``python -m agent.reference``.

It lowers its priority before it loads anything large. Its worker, which runs the environment, inherits the priority.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import socket
import sys

from agent.process_settings import VARIABLE
from agent.running_version import running_version

OTHER_VERSION = 3
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Measure the reference return that the daemon requests, and report it."""
    parser = argparse.ArgumentParser(prog="python -m agent.reference", description=__doc__)
    parser.add_argument("--settings", help="all settings, as JSON; default: the variable of the daemon")
    parser.add_argument("--nice", type=int, required=True, help="niceness, added to that of the daemon")
    parser.add_argument("--channel-fd", type=int, required=True)
    parser.add_argument("--control-version", default=running_version(), help="the daemon's version of learnd")
    arguments = parser.parse_args()
    settings = arguments.settings or os.environ.pop(VARIABLE, "{}")
    _follow_daemon()
    lower_priority(arguments.nice)
    if arguments.control_version != running_version():
        found = f"learnd {running_version()} is installed, but the daemon runs {arguments.control_version}"
        sys.stderr.write(f"{found}: restart the service.\n")
        sys.exit(OTHER_VERSION)

    from agent.reference.composition import run

    run(settings=settings, connection=socket.socket(fileno=arguments.channel_fd))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # Nothing is left to save, and the teardown of an interpreter with torch takes seconds.


def _follow_daemon() -> None:
    """Have the kernel kill this process when the daemon exits, and ignore the signals that stop the service."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def lower_priority(niceness: int) -> None:
    """Add to the niceness, and take the scheduling class of batch work where the system allows it.

    SCHED_IDLE is not used: on a machine whose cores are all busy, an idle process gets so little time that its worker
    would exceed its time limits.
    """
    os.nice(niceness)
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


if __name__ == "__main__":
    main()
