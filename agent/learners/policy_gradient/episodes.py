"""Episodes of M parallel tasks, played in rounds; the policies may change after each round.

A task batch is begun once, and later rounds continue it. The random parts of a task (starts, outcomes) therefore differ
between rounds. A family that supports R rows per task plays R of a round's episodes in parallel; other families play
them one after another.

Shapes: M tasks, R rows a task, B = M·R rows, T steps of a row, D observation width, W encoded width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from agent.learners.policy_gradient.policy import TaskPolicy
from envs.family import Split
from envs.task_batch import TaskBatch, rows_per_task


@dataclass(frozen=True, kw_only=True)
class EpisodeBatch:
    """One round of M tasks: E/R whole episodes in every row, padded to the longest row.

    Attributes:
        observation: the encoded observations that were acted on.
        action: [M, R, T], or [M, R, T, n].
        log_prob: log π(a | s) of the policy that played.
        reward: r; 0 in padding.
        is_end: whether the step was its episode's last, terminated or truncated.
        is_valid: False in padding.
        episode_step: steps taken in the episode before this one.
    """

    observation: Float[Tensor, "M R T W"]
    action: Shaped[Tensor, "M R T ..."]
    log_prob: Float[Tensor, "M R T"]
    reward: Float[Tensor, "M R T"]
    is_end: Bool[Tensor, "M R T"]
    is_valid: Bool[Tensor, "M R T"]
    episode_step: Int64[Tensor, "M R T"]

    @property
    def mean_return(self) -> Float[Tensor, " M"]:
        """The undiscounted return of an episode, averaged within each task."""
        return self.reward.sum((1, 2)) / self.is_end.sum((1, 2))


class Play:
    """A batch of M tasks that has begun and is played round by round.

    Args:
        tasks: B rows of a family.
        first_task: index of the first task in its split.
        split: training or held-out tasks.
        num_episodes: E, episodes of each task in a round.

    Raises:
        ValueError: E is not a multiple of the number of rows per task.
    """

    def __init__(self, tasks: TaskBatch, *, first_task: int, split: Split, num_episodes: int) -> None:
        self.tasks = tasks
        self.num_rows = rows_per_task(tasks)
        self.num_tasks = tasks.num_trials // self.num_rows
        if num_episodes % self.num_rows:
            raise ValueError(
                f"playing {tasks.spec.name!r}: {num_episodes} episodes a task are no whole number in each of its "
                f"{self.num_rows} rows."
            )
        self.episodes_per_row = num_episodes // self.num_rows
        self._observation = tasks.begin(first_task, split=split)

    @torch.no_grad()
    def round(
        self, policy: TaskPolicy, parameters: Mapping[str, Tensor], *, generator: torch.Generator
    ) -> EpisodeBatch:
        """Play E episodes of each task with the task's own parameters.

        Args:
            policy: π.
            parameters: φ, [M or 1, *shape] by name.
            generator: source of the actions' noise; it lives on the tasks' device.

        Raises:
            WorkerFaultError: the family's worker failed.
        """
        num_ended = torch.zeros(self.tasks.num_trials, dtype=torch.int64, device=self.tasks.device)
        episode_step = torch.zeros_like(num_ended)
        active = torch.ones_like(num_ended, dtype=torch.bool)
        record = RoundRecord()
        while active.any():
            encoded = self._by_task(policy.encode(self._observation))
            distribution = policy.distribution(parameters, encoded)
            action = distribution.sample(generator)
            transition = self.tasks.step(action.flatten(0, 1), active)
            is_end = (transition.terminated | transition.truncated) & active
            record.add(
                observation=encoded,
                action=action,
                log_prob=distribution.log_prob(action),
                reward=self._by_task(transition.reward * active),
                is_end=self._by_task(is_end),
                is_valid=self._by_task(active),
                episode_step=self._by_task(episode_step),
            )
            episode_step = (episode_step + active).masked_fill(is_end, 0)
            num_ended = num_ended + is_end
            active = num_ended < self.episodes_per_row
            self._observation = transition.observation
        return record.batch()

    def _by_task(self, values: Shaped[Tensor, "B ..."]) -> Shaped[Tensor, "M R ..."]:
        return values.view(self.num_tasks, self.num_rows, *values.shape[1:])


class RoundRecord:
    """The steps of a round, collected one by one."""

    def __init__(self) -> None:
        self._steps: dict[str, list[Tensor]] = {}

    def add(self, **values: Tensor) -> None:
        """Add a step: the fields of :class:`EpisodeBatch` without T."""
        for name, value in values.items():
            self._steps.setdefault(name, []).append(value)

    def batch(self) -> EpisodeBatch:
        """Return the round."""
        return EpisodeBatch(**{name: torch.stack(values, dim=2) for name, values in self._steps.items()})
