"""The checkpoint of a measurement: the state of the agent's training, with which an interrupted measurement goes on.

The file is a safetensors file with a checksum, so that loading it executes no code and detects damage; the files of
stable-baselines3 are pickles. It is written every ``SAVE_PERIOD_S`` between two updates. A measurement that goes on
draws new random numbers and begins new training tasks, so it is not bit-identical to one that was not interrupted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from agent.learners.state import as_arrays, as_tensors, load_state, optimizer_to_tensors, with_prefix
from memory.errors import MemoryStoreError
from memory.files.parameters import content_checksum, decode, encode, write_durably

log = structlog.get_logger(__name__)

SAVE_PERIOD_S = 30.0
"""Time between two checkpoints: the most training that an interruption loses, but for one update."""

STATISTICS = ("obs_rms", "ret_rms")
"""The running statistics of a ``VecNormalize``; the first exists only if observations are normalised."""


@dataclass(frozen=True, kw_only=True)
class SavedTraining:
    """The state of an agent's training between two updates.

    Attributes:
        tensors: the result of :func:`training_tensors`.
        num_steps: environment steps of training so far.
        next_task: index of the next training task.
        duration_s: duration of training so far.
        num_resumed: number of times that the training went on after an interruption.
    """

    tensors: Mapping[str, Tensor]
    num_steps: int
    next_task: int
    duration_s: float
    num_resumed: int


class CheckpointFile:
    """The file of a measurement's checkpoint.

    Args:
        path: the file; its folder exists.
        identity: text that is the same only for measurements that may go on from each other's checkpoints.
    """

    def __init__(self, path: Path, *, identity: str) -> None:
        self._path = path
        self._identity = identity

    def read(self) -> SavedTraining | None:
        """Return the saved state; None if there is none, it is damaged, or it is that of another measurement."""
        try:
            identity, saved = _decoded(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("checkpoint of a measurement cannot be used", file=str(self._path), error=str(error))
            return None
        return saved if identity == self._identity else None

    def write(self, saved: SavedTraining) -> None:
        """Write the state durably. A state that cannot be written is logged, and training goes on."""
        description = json.dumps(
            {
                "identity": self._identity,
                "num_steps": saved.num_steps,
                "next_task": saved.next_task,
                "duration_s": saved.duration_s,
                "num_resumed": saved.num_resumed,
            }
        )
        arrays = as_arrays(saved.tensors)
        checksum = content_checksum(arrays, description=description)
        try:
            write_durably(self._path, encode(arrays, metadata={"training": description, "checksum": checksum}))
        except MemoryStoreError as error:
            log.warning("checkpoint of a measurement cannot be written", file=str(self._path), error=str(error))


def _decoded(content: bytes) -> tuple[str, SavedTraining]:
    """Return the identity and the state of a file's content, which has the form that :class:`CheckpointFile` writes.

    Raises:
        ValueError: the content is damaged.
        KeyError, TypeError: the content has another form.
    """
    arrays, metadata = decode(content)
    description = metadata["training"]
    if metadata["checksum"] != content_checksum(arrays, description=description):
        raise ValueError("its checksum differs")
    values = json.loads(description)
    return values.pop("identity"), SavedTraining(tensors=as_tensors(arrays), **values)


def training_tensors(agent: PPO, normaliser: VecNormalize) -> dict[str, Tensor]:
    """Return the agent's parameters and optimiser state, and the normaliser's running statistics."""
    named = dict(agent.policy.named_parameters())
    tensors = with_prefix("parameters", named) | optimizer_to_tensors(agent.policy.optimizer, named.items())
    for name in STATISTICS:
        if (statistics := getattr(normaliser, name, None)) is not None:
            for field in ("mean", "var", "count"):
                value = np.asarray(getattr(statistics, field), np.float64)
                tensors[f"{name}.{field}"] = torch.from_numpy(value.copy())
    return tensors


def load_training(agent: PPO, normaliser: VecNormalize, saved: SavedTraining) -> None:
    """Put an agent and its normaliser into the saved state, with random numbers that were not drawn before."""
    named = dict(agent.policy.named_parameters())
    load_state(saved.tensors, named.items(), optimizer=agent.policy.optimizer)
    for name in STATISTICS:
        if (statistics := getattr(normaliser, name, None)) is not None:
            statistics.mean = saved.tensors[f"{name}.mean"].numpy().copy()
            statistics.var = saved.tensors[f"{name}.var"].numpy().copy()
            statistics.count = float(saved.tensors[f"{name}.count"])
    agent.num_timesteps = saved.num_steps
    agent.set_random_seed((agent.seed or 0) + saved.num_steps)


class SavingCallback(BaseCallback):
    """A callback of stable-baselines3 that saves between two updates, at most once every ``SAVE_PERIOD_S``.

    Args:
        save: saves the present state.
        monotonic: clock of the period.
    """

    def __init__(self, save: Callable[[], None], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._save = save
        self._monotonic = monotonic
        self._saved_at = monotonic()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps and self._monotonic() - self._saved_at >= SAVE_PERIOD_S:
            self._save()
            self._saved_at = self._monotonic()

    def _on_step(self) -> bool:
        return True
