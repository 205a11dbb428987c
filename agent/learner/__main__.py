"""Entry of the learner process; control starts it, people do not."""

from __future__ import annotations

import argparse
import ctypes
import signal
import socket

from agent.streams import prepare_streams

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Restore the learner's state and do jobs until control stops it."""
    parser = argparse.ArgumentParser(prog="python -m agent.learner", description=__doc__)
    parser.add_argument("--settings", required=True, help="all settings, as JSON")
    parser.add_argument("--channel-fd", type=int, required=True)
    arguments = parser.parse_args()
    _follow_control()

    from agent.learner.composition import run

    prepare_streams()
    run(settings=arguments.settings, connection=socket.socket(fileno=arguments.channel_fd))


def _follow_control() -> None:
    """Die with control, and leave stopping to control: a terminal's Ctrl-C reaches the whole process group."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


if __name__ == "__main__":
    main()
