"""Tests of the trainer's end of the channel and of the heartbeat that it carries."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from agent.trainer.channel import Channel, ChannelClosedError
from agent.trainer.heartbeat import PERIOD_S, Heartbeat, JobInterruptedError
from memory.records import JobKind, JobOutcome

JOB = {"type": "job", "run_id": 7, "kind": "practise", "family": "bandits", "reason": "waited longest"}


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Channel]]:
    control, learner = socket.socketpair()
    channel = Channel(learner)
    yield control, channel
    control.close()
    channel.close()


def _line(message: dict[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def test_a_job_arrives_as_it_was_sent(ends: tuple[socket.socket, Channel]) -> None:
    control, channel = ends
    control.sendall(_line(JOB))
    job = channel.next_job()
    assert job is not None
    assert (job.run_id, job.kind, job.family, job.reason) == (7, JobKind.PRACTISE, "bandits", "waited longest")


def test_a_job_cut_anywhere_in_its_bytes_arrives_whole(ends: tuple[socket.socket, Channel]) -> None:
    control, channel = ends
    line = _line(JOB)
    control.sendall(line[:11])
    channel.poll()
    control.sendall(line[11:] + line)
    assert channel.next_job() == channel.next_job()


def test_stop_comes_before_jobs_that_wait(ends: tuple[socket.socket, Channel]) -> None:
    control, channel = ends
    control.sendall(_line(JOB) + _line({"type": "stop"}))
    channel.poll()
    assert channel.next_job() is None


def test_control_going_away_is_told_apart_from_stop(ends: tuple[socket.socket, Channel]) -> None:
    control, channel = ends
    control.close()
    with pytest.raises(ChannelClosedError):
        channel.next_job()
    with pytest.raises(ChannelClosedError):
        channel.send_progress(run_id=1, phase="practise", units=1)


def test_a_report_is_one_json_line(ends: tuple[socket.socket, Channel]) -> None:
    control, channel = ends
    channel.send_finished(run_id=7, outcome=JobOutcome.SUCCEEDED, detail={"trials": 3}, error="", with_results=["slow"])
    assert json.loads(control.recv(4096)) == {
        "type": "finished",
        "run_id": 7,
        "outcome": "succeeded",
        "detail": {"trials": 3},
        "error": "",
        "with_results": ["slow"],
    }


def test_beats_are_told_at_most_once_a_period_and_count_everything(ends: tuple[socket.socket, Channel]) -> None:
    control, channel = ends
    now = 0.0
    heartbeat = Heartbeat(channel, monotonic=lambda: now)
    heartbeat.begin(7, "practise")
    for _ in range(100):
        heartbeat.beat(2)
    now += PERIOD_S
    heartbeat.beat(2)
    messages = [json.loads(line) for line in control.recv(65536).splitlines()]
    assert [(message["run_id"], message["units"]) for message in messages] == [(7, 2), (7, 202)]


def test_a_job_that_can_be_given_up_is_given_up_on_stop(ends: tuple[socket.socket, Channel]) -> None:
    control, channel = ends
    heartbeat = Heartbeat(channel)
    heartbeat.begin(7, "evaluate")
    control.sendall(_line({"type": "stop"}))
    with pytest.raises(JobInterruptedError):
        heartbeat.beat_or_give_up()
    assert heartbeat.is_stop_requested


def test_a_request_to_close_is_passed_on_between_jobs_and_at_a_beat(ends: tuple[socket.socket, Channel]) -> None:
    control, channel = ends
    requests: list[str] = []
    channel.on_close_request = lambda: requests.append("idle")
    control.sendall(_line({"type": "closeunwanted"}) + _line(JOB))
    assert channel.next_job() is not None
    heartbeat = Heartbeat(channel)
    heartbeat.on_close_request = lambda: requests.append("beat")
    control.sendall(_line({"type": "closeunwanted"}))
    heartbeat.beat()
    assert requests == ["idle", "beat"]
