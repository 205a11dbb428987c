"""The messages between daemon and trainer."""

from __future__ import annotations

import pytest

from agent.errors import ChannelError
from agent.messages import Finished, Job, Message, Progress, Ready, Stop, parse_line, to_line
from memory.records import JobKind, JobOutcome


@pytest.mark.parametrize(
    "message",
    [
        Job(run_id=7, kind=JobKind.PRACTISE, family=None, reason="waited longest"),
        Stop(),
        Ready(pid=12, device="cpu", learner_steps=3),
        Progress(run_id=None, phase="rollout", units=40),
        Finished(run_id=7, outcome=JobOutcome.FAILED, detail={"trials": 3}, error="the dog ate it"),
        Finished(run_id=7, outcome=JobOutcome.SUCCEEDED, detail={}, error="", with_results=("slow", "dear")),
    ],
)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    line = to_line(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert parse_line(line) == message


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"[]\n",
        b"7\n",
        b'{"run_id": 1}\n',
        b'{"type": "applause"}\n',
        b'{"type": "job", "run_id": 1}\n',
        b'{"type": "job", "run_id": 1, "kind": "dance", "family": null, "reason": ""}\n',
        b'{"type": "stop", "now": true}\n',
        b"\xff\xfe\n",
    ],
)
def test_a_line_that_is_not_of_the_protocol_is_refused_with_what_was_said(line: bytes) -> None:
    with pytest.raises(ChannelError, match="channel between daemon and trainer"):
        parse_line(line)
