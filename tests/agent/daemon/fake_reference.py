"""A fake measuring process: it follows the protocol of the channel and measures nothing.

Values of ``--reference-behaviour``:

- ``good``: report half of the steps, then a return of 2.0.
- ``poor``: report a return of 0.0.
- ``fail``: report a fault of the environment.
- ``exit``: write a line and exit with status 7.
- ``endless``: report progress until it is killed.

All of them first add a line to the checkpoint. The return's ``num_resumed`` is the number of lines that were there.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from pathlib import Path
from typing import Any


def measured(mean: float, request: dict[str, Any], *, num_resumed: int) -> dict[str, Any]:
    return {
        "mean_return": mean,
        "standard_error": 0.1,
        "agent": "PPO",
        "library": "fake 1.0",
        "steps": request["steps"],
        "seed": 0,
        "first_task": 0,
        "num_tasks": 32,
        "duration_s": 0.5,
        "measured_at": time.time(),
        "num_resumed": num_resumed,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--channel-fd", type=int, required=True)
    parser.add_argument("--behaviour", default="good")
    arguments = parser.parse_args()
    channel = socket.socket(fileno=arguments.channel_fd)
    request = json.loads(channel.makefile("rb").readline())

    def send(kind: str, **values: Any) -> None:
        channel.sendall(json.dumps({"type": kind, "run_id": request["run_id"], **values}).encode() + b"\n")

    with Path(request["checkpoint"]).open("a+") as checkpoint:
        checkpoint.seek(0)
        num_resumed = len(checkpoint.readlines())
        checkpoint.write("begun\n")
    send("progress", phase="training", units=request["steps"] // 2)
    if arguments.behaviour == "exit":
        sys.stderr.write("no such library: fake\n")
        sys.exit(7)
    while arguments.behaviour == "endless":
        time.sleep(0.2)
        send("progress", phase="training", units=request["steps"] // 2)
    if arguments.behaviour == "fail":
        send("finished", outcome="failed", detail={}, error="reset raised ValueError: the dog ate it")
        return
    mean = 0.0 if arguments.behaviour == "poor" else 2.0
    send(
        "finished", outcome="succeeded", detail={"measured": measured(mean, request, num_resumed=num_resumed)}, error=""
    )


if __name__ == "__main__":
    main()
