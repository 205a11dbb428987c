"""Construction of the trainer's objects: settings, device, store and session."""

from __future__ import annotations

import json
import os
import socket

import structlog
import torch

from agent.config.settings import Settings
from agent.devices import choose_device, default_threads
from agent.learners.registry import LEARNERS
from agent.logs import configure_logs, log_uncaught
from agent.trainer.channel import Channel
from agent.trainer.heartbeat import Heartbeat
from agent.trainer.process import TrainerProcess
from agent.trainer.session import TrainerSession
from memory.folder import DataFolder
from memory.store import Store

log = structlog.get_logger(__name__)


def run(*, settings: str, connection: socket.socket) -> None:
    """Restore the state and do jobs until the daemon stops the trainer.

    Args:
        settings: the daemon's settings, as JSON.
        connection: the channel to the daemon.

    Raises:
        FolderInUseError: another trainer still uses this data folder.
        MemoryStoreError: the daemon's store no longer exists, or cannot be used.
        DeviceError: the settings name a GPU and there is none.
    """
    resolved = Settings(**json.loads(settings))
    configure_logs(resolved, process="learner")
    log_uncaught()
    for entry in LEARNERS.values():
        entry.load()  # Now, because an upgrade may replace the files before a family first needs them.
    device = choose_device(resolved.learner.device)
    torch.set_num_threads(resolved.learner.threads or default_threads())
    folder = DataFolder(resolved.data_dir)
    channel = Channel(connection)
    with folder.hold("learner"), Store.open(folder, must_exist=True) as store:
        session = TrainerSession(store=store, settings=resolved, device=device, heartbeat=Heartbeat(channel))
        try:
            channel.send_ready(pid=os.getpid(), device=str(device), learner_steps=session.learner_steps)
            TrainerProcess(session, channel).run()
        finally:
            session.close()
            channel.close()
