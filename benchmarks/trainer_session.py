"""The trainer's session on an empty store, as the service has it, for benchmarks in one process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from agent.config.settings import Settings
from agent.trainer.channel import Channel
from agent.trainer.heartbeat import Heartbeat
from agent.trainer.session import TrainerSession
from memory.folder import DataFolder
from memory.store import Store


@contextmanager
def trainer_session(settings: Settings) -> Iterator[TrainerSession]:
    """Open the trainer's session on the store of the settings, with a channel whose messages are read and discarded."""
    control, learner = socket.socketpair()
    reader = threading.Thread(target=_discard, args=(control,), daemon=True)
    reader.start()
    channel = Channel(learner)
    with Store.open(DataFolder(settings.data_dir)) as store:
        heartbeat = Heartbeat(channel)
        session = TrainerSession(store=store, settings=settings, device=torch.device("cpu"), heartbeat=heartbeat)
        try:
            yield session
        finally:
            session.close()
            channel.close()
            control.close()
            reader.join()


def _discard(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass
