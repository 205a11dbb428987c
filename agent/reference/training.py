"""The training of the PPO agent that measures a reference.

The agent is that of stable-baselines3 with its default settings, except that it steps 8 environments of 256 steps per
update in place of one of 2048, and that observations and rewards are normalised, as its documentation recommends for
PPO. It has no memory, so it learns one compromise for all tasks if they differ in what is not observed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

from agent.learners.adam import Adam
from agent.reference.checkpoint import CheckpointFile, SavedTraining, SavingCallback, load_training, training_tensors
from agent.reference.image_features import ImageFeatures
from agent.reference.vec_env import TrainingTasks
from envs.gymnasium.batch import WorkerTaskBatch
from envs.spaces import ObservationKind, ObservationSpec

NUM_ENVIRONMENTS = 8
STEPS_PER_UPDATE = 256
"""Steps of each environment per update: with 8 environments, the 2048 steps of stable-baselines3's default."""

ADAM_EPSILON = 1e-5
"""The ε that stable-baselines3 gives to Adam."""


class Training:
    """The training of one agent. It goes on from a checkpoint if there is one.

    Args:
        num_steps: environment steps of training in all; rounded up to whole updates.
        seed: seed of the agent.
        report: called after each step with the number of environment steps so far; it may raise to end the training.
        checkpoint: keeps the state; None keeps nothing.
    """

    def __init__(
        self, *, num_steps: int, seed: int, report: Callable[[int], None], checkpoint: CheckpointFile | None = None
    ) -> None:
        self._num_steps = num_steps
        self._seed = seed
        self._report = report
        self._checkpoint = checkpoint
        self._saved = None if checkpoint is None else checkpoint.read()
        self._began = time.monotonic() - (self._saved.duration_s if self._saved else 0.0)
        self.steps_done = self._saved.num_steps if self._saved else 0
        self.num_resumed = self._saved.num_resumed + 1 if self._saved else 0

    @property
    def duration_s(self) -> float:
        """The time since the training began, without interruptions."""
        return time.monotonic() - self._began

    def run(self, tasks: WorkerTaskBatch) -> tuple[PPO, VecNormalize]:
        """Train on the tasks of a family; return the agent, and the normaliser of its observations."""
        first_task = self._saved.next_task if self._saved else 0
        environments = TrainingTasks(tasks, on_step=self._count, first_task=first_task)
        observation = tasks.spaces.observation
        normaliser = VecNormalize(environments, norm_obs=observation.kind is ObservationKind.VECTOR)
        agent = PPO(
            "MlpPolicy",
            normaliser,
            n_steps=STEPS_PER_UPDATE,
            seed=self._seed,
            device="cpu",
            verbose=0,
            policy_kwargs=self._policy_kwargs(observation),
        )
        if self._saved is not None:
            load_training(agent, normaliser, self._saved)

        def save() -> None:
            self._save(agent, normaliser, environments.next_task)

        remaining = max(0, self._num_steps - self.steps_done)
        agent.learn(remaining, callback=SavingCallback(save), reset_num_timesteps=self._saved is None)
        save()  # so that a measurement that is interrupted while it plays the held-out tasks need not train again
        return agent, normaliser

    def _policy_kwargs(self, observation: ObservationSpec) -> dict[str, Any]:
        """Return the arguments of the agent's policy: its optimiser, and with images, what computes its features."""
        optimizer: dict[str, Any] = {"optimizer_class": Adam, "optimizer_kwargs": {"eps": ADAM_EPSILON}}
        if observation.kind is not ObservationKind.IMAGE:
            return optimizer
        features = {"spec": observation, "seed": self._seed}
        return {**optimizer, "features_extractor_class": ImageFeatures, "features_extractor_kwargs": features}

    def _count(self, num_steps: int) -> None:
        self.steps_done += num_steps
        self._report(self.steps_done)

    def _save(self, agent: PPO, normaliser: VecNormalize, next_task: int) -> None:
        if self._checkpoint is None:
            return
        self._checkpoint.write(
            SavedTraining(
                tensors=training_tensors(agent, normaliser),
                num_steps=self.steps_done,
                next_task=next_task,
                duration_s=self.duration_s,
                num_resumed=self.num_resumed,
            )
        )
