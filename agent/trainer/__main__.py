"""Entry of the learner process; control starts it, people do not."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import sys

from agent.output.streams import prepare_streams
from agent.running_version import running_version

PR_SET_PDEATHSIG = 1
OTHER_VERSION = 6
"""Exit status of a learner of another version than control's."""


def main() -> None:
    """Restore the learner's state and do jobs until control stops it.

    When all is committed and reported, and the workers are gone, the process ends at once: on a busy machine the
    interpreter's own teardown, with torch loaded, takes seconds in which nothing is saved.
    """
    parser = argparse.ArgumentParser(prog="python -m agent.trainer", description=__doc__)
    parser.add_argument("--settings", required=True, help="all settings, as JSON")
    parser.add_argument("--channel-fd", type=int, required=True)
    parser.add_argument("--control-version", default=running_version(), help="the version of learnd that control runs")
    arguments = parser.parse_args()
    _follow_control()
    _refuse_other_version(arguments.control_version)

    from agent.trainer.composition import run

    prepare_streams()
    run(settings=arguments.settings, connection=socket.socket(fileno=arguments.channel_fd))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _refuse_other_version(control_version: str) -> None:
    """End before the store is opened and migrated where learnd was replaced on disk under a running control."""
    if control_version != running_version():
        sys.stderr.write(
            f"learnd {running_version()} is installed now, and control runs {control_version}: restart the service.\n"
        )
        sys.exit(OTHER_VERSION)


def _follow_control() -> None:
    """Die with control, and leave stopping to control: other signals may reach all processes of the service."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    main()
