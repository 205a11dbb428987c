"""Construction of a measurement from settings and request, and the report of its result to the daemon."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import structlog
import torch

from agent.config.settings import Settings
from agent.learners.config_json import config_from_json
from agent.learners.rl2.config import RL2Config
from agent.logs import configure_logs, log_uncaught
from agent.messages import Finished, Progress, to_line
from agent.reference.checkpoint import CheckpointFile
from agent.reference.measure import Measurement, library, measure
from agent.reference_requests import ReferenceRequest
from agent.running_version import running_version
from envs.errors import EnvsError, WorkerFaultError
from envs.family import FamilySpec
from envs.spaces import SpacePair
from memory.files.parameters import sha256_of
from memory.records import JobOutcome

log = structlog.get_logger(__name__)

PATIENCE = 10.0
"""Factor on the time limits of the worker: at the lowest priority, a step on a busy machine takes that much longer."""

PERIOD_S = 0.5
"""Time between two reports of progress."""


def run(*, settings: str, connection: socket.socket) -> None:
    """Receive the request, measure, and report the result.

    Args:
        settings: the daemon's settings, as JSON.
        connection: the channel to the daemon.
    """
    resolved = Settings(**json.loads(settings))
    configure_logs(resolved, process="reference")
    log_uncaught()
    torch.set_num_threads(1)
    with connection.makefile("rb") as lines:
        request = ReferenceRequest.from_line(lines.readline())
    connection.sendall(to_line(_finished(request, measurement_of(request, resolved), connection)))


def measurement_of(request: ReferenceRequest, settings: Settings) -> Measurement:
    """Return the measurement that a request describes. Its held-out tasks are those of an evaluation."""
    rows = config_from_json(RL2Config, settings.rl2).num_trials_for(is_tensor_native=False)
    limits = settings.worker_limits()
    num_batches = -(-settings.evaluation.trials_gymnasium // rows)
    return Measurement(
        spec=FamilySpec.from_json(request.spec),
        spaces=SpacePair.from_json(request.spaces),
        num_steps=request.steps,
        num_held_out=num_batches * rows,
        seed=settings.learner.seed,
        limits=replace(
            limits,
            step_timeout_s=PATIENCE * limits.step_timeout_s,
            shortest_limit_s=PATIENCE * limits.shortest_limit_s,
            start_timeout_s=PATIENCE * limits.start_timeout_s,
            num_processes=1,
        ),
    )


def checkpoint_of(request: ReferenceRequest, measurement: Measurement) -> CheckpointFile:
    """Return the checkpoint of a request. Only the same family, seed and versions go on from what it holds."""
    determining = [request.spec, request.spaces, measurement.seed, library(), running_version()]
    return CheckpointFile(
        Path(request.checkpoint), identity=sha256_of(json.dumps(determining, sort_keys=True).encode())
    )


def _finished(request: ReferenceRequest, measurement: Measurement, connection: socket.socket) -> Finished:
    """Measure, and return the message with the result or with the fault of the family."""
    name = measurement.spec.name
    try:
        report = _reporter(request.run_id, connection)
        measured = measure(measurement, report=report, checkpoint=checkpoint_of(request, measurement))
    except EnvsError as fault:
        if isinstance(fault, WorkerFaultError):
            log.warning("family fault", family=name, reason=str(fault.reason), detail=fault.detail[-2000:])
        error = fault.found if isinstance(fault, WorkerFaultError) else str(fault)
        return Finished(run_id=request.run_id, outcome=JobOutcome.FAILED, detail={}, error=error)
    detail: dict[str, Any] = {"measured": asdict(measured)}
    return Finished(run_id=request.run_id, outcome=JobOutcome.SUCCEEDED, detail=detail, error="")


def _reporter(
    run_id: int, connection: socket.socket, *, monotonic: Callable[[], float] = time.monotonic
) -> Callable[[str, int], None]:
    """Return a function that sends the progress to the daemon, at most once every ``PERIOD_S``."""
    sent_at = -PERIOD_S

    def report(phase: str, units: int) -> None:
        nonlocal sent_at
        if monotonic() - sent_at >= PERIOD_S:
            sent_at = monotonic()
            connection.sendall(to_line(Progress(run_id=run_id, phase=phase, units=units)))

    return report
