"""Fixtures: a trainer session on a real store, with small families."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agent.config.settings import Settings
from agent.trainer.channel import Channel
from agent.trainer.heartbeat import Heartbeat
from agent.trainer.session import TrainerSession
from envs.family import FamilySource, FamilySpec
from envs.registry import open_tasks
from envs.tensor.bandits import bandit_spaces
from memory.folder import DataFolder
from memory.records import Family
from memory.store import Store
from tests.envs.families import FEW_STEPS

SMALL = {
    "hidden_size": 16,
    "input_size": 16,
    "scorer_size": 8,
    "critic_size": 16,
    "num_trials_tensor": 64,
    "num_trials_gymnasium": 4,
    "num_epochs": 4,
    "minibatch_steps": 160,
}
"""Settings of a policy that is small enough for tests and learns three arms in forty updates."""

BANDITS = FamilySpec(
    name="bandits",
    source=FamilySource.TENSOR,
    entry="bernoulli_bandits",
    kwargs={"num_arms": 3},
    episodes_per_trial=5,
    reference_return=3.5,
    reference_source="test",
)


def settings_for(folder: Path, **sections: Any) -> Settings:
    """Return settings under which a slice is exactly one update."""
    quick = {
        "practise": {"slice_s": 1e-6, "wait_s": 600.0},
        "rl2": SMALL,
        "evaluation": {"trials_tensor": 64, "trials_gymnasium": 4},
        "consolidation": {"trials_tensor": 256, "trials_gymnasium": 4},
    }
    return Settings(data_dir=folder, **{**quick, **sections})


def feed_bandits(store: Store, name: str = "bandits", *, num_arms: int = 3) -> Family:
    store.families.add(replace(BANDITS, name=name, kwargs={"num_arms": num_arms}))
    return store.families.admit(
        name, spaces=bandit_spaces(num_arms).to_json(), random_return=2.5, reference_return=BANDITS.reference_return
    )


def practise(session: TrainerSession, family: Family, *, reason: str) -> dict[str, Any]:
    """Practise a family for one slice, without the boundary of the practise job."""
    return session.practice_of(family).practise(family, reason=reason)


@pytest.fixture(autouse=True)
def _few_random_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the check of a family play 64 trials at random instead of as many as it can in seconds."""
    monkeypatch.setattr("envs.random_play.MAX_TRIALS", 64)
    monkeypatch.setattr("envs.gymnasium.task_checks.MAX_TASKS", 16)
    monkeypatch.setattr("envs.gymnasium.task_checks.MAX_STEPS", FEW_STEPS)


@pytest.fixture
def folder(tmp_path: Path, new_store: Callable[[Path], DataFolder]) -> DataFolder:
    return new_store(tmp_path / "store")


@pytest.fixture
def store(folder: DataFolder) -> Iterator[Store]:
    with Store.open(folder) as store:
        yield store


SessionMaker = Callable[..., TrainerSession]


@pytest.fixture
def open_session() -> Iterator[SessionMaker]:
    """Return a function that opens sessions on a store, which end with the test."""
    with sessions() as make:
        yield make


@contextmanager
def sessions() -> Iterator[SessionMaker]:
    """Yield a function that opens sessions on a store; a thread discards the messages of each session's channel."""
    with ExitStack() as stack:

        def make(
            store: Store, *, opener: Any = open_tasks, settings: Settings | None = None, clock: Any = None
        ) -> TrainerSession:
            control, learner = socket.socketpair()
            reader = threading.Thread(target=_forget, args=(control,), daemon=True)
            reader.start()
            channel = Channel(learner)
            stack.callback(control.close)
            stack.callback(reader.join, 5)
            stack.callback(channel.close)
            session = TrainerSession(
                store=store,
                settings=settings or settings_for(store.folder.path),
                device=torch.device("cpu"),
                heartbeat=Heartbeat(channel),
                opener=opener,
                **({} if clock is None else {"clock": clock}),
            )
            stack.callback(session.close)
            return session

        yield make


def _forget(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass
