"""CartPole with different physics in every task: a batched version of Gymnasium's CartPole-v1.

Rules: the equations, thresholds, initial states and rewards are those of CartPole-v1 (Barto, Sutton & Anderson 1983;
Euler's method, 0.02 s a step, reward 1 a step including the last one). The half length of the pole, both masses, the
force and gravity are uniform in the ranges of the default stream's ``cartpole`` family. An episode terminates when the
pole leans by more than 12° or the cart is more than 2.4 m from the centre. It is truncated after ``max_episode_steps``.
The physics are not observed.

Shapes: B trials, M tasks, P = 5 parameters.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from envs.family import FamilySpec, Split
from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair
from envs.task_batch import Transition
from envs.tensor.counter_random import noise_seeds, stream_key, task_seeds, uniform, uniform_at
from envs.tensor.options import RANGES, cartpole_ranges

STEP_S = 0.02
MAX_POSITION_M = 2.4
MAX_ANGLE_RAD = 12 * 2 * math.pi / 360
MAX_START = 0.05
"""Every number of the initial state is uniform in ± this value."""
MAX_EPISODE_STEPS = 500
"""CartPole-v1's own limit, used if the family sets none."""

STARTS_AHEAD = 16
"""Episodes whose initial states are drawn in advance at first; drawing one costs as much as the rest of a step."""

CARTPOLE_SPACES = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.VECTOR, size=4),
    action=ActionSpec(kind=ActionKind.DISCRETE, choices=(2,), start=(0,)),
)
"""The spaces of CartPole-v1: a policy for one can act in the other."""


class VariedCartPoles:
    """A batch of B parallel carts with poles.

    Args:
        spec: the family. ``kwargs`` may contain names of ``RANGES``, each with a number (the same in every task) or
            with bounds ``[low, high]``. ``max_episode_steps`` is the limit; None takes CartPole-v1's 500.
        num_trials: B.
        device: device of the tensors.
        rows_per_task: R consecutive rows are the same task with independent initial states.

    Raises:
        FamilySpecError: ``kwargs`` contains a name that does not vary, or bounds without physical meaning.
    """

    def __init__(
        self, spec: FamilySpec, *, num_trials: int, device: torch.device | str, rows_per_task: int = 1
    ) -> None:
        self.spec = spec
        self.spaces = CARTPOLE_SPACES
        self.num_trials = num_trials
        self.may_truncate = True
        self.rows_per_task = rows_per_task
        self.device = torch.device(device)
        self.max_episode_steps = spec.max_episode_steps or MAX_EPISODE_STEPS
        self._bounds = torch.tensor(list(cartpole_ranges(spec.kwargs, subject=spec.name).values()), device=self.device)
        self._limits = torch.tensor([MAX_POSITION_M, MAX_ANGLE_RAD], device=self.device)
        self._row = torch.arange(num_trials, device=self.device)

    def begin(self, first_task: int | Tensor, *, split: Split) -> Float[Tensor, "B 4"]:
        """Begin tasks ``first_task … first_task + M - 1`` of a split, R rows each."""
        num_tasks = self.num_trials // self.rows_per_task
        parameter_seeds, start_seeds = (
            task_seeds(
                stream_key(self.spec.entry, self.spec.kwargs, split, purpose), first_task, num_tasks, self.device
            )
            for purpose in ("tasks", "starts")
        )
        self._first_task, self._split = first_task, split
        self._start_seeds = noise_seeds(start_seeds, self.rows_per_task)
        self._draw_tasks(parameter_seeds.repeat_interleave(self.rows_per_task))
        self._episode = torch.zeros(self.num_trials, dtype=torch.int64, device=self.device)
        self._episode_step = torch.zeros_like(self._episode)
        self._drawn_starts = torch.empty(self.num_trials, 0, 4, device=self.device)
        self._state = self._starts(self._episode, most_episodes=0 if self.device.type == "cpu" else None)
        return self._state

    def step(self, action: Int64[Tensor, "B"], active: Bool[Tensor, "B"]) -> Transition:
        """Push the cart left (0) or right (1) in every active row."""
        final = torch.where(active.unsqueeze(1), self._moved(action), self._state)
        self._episode_step += active
        terminated = (final[:, 0::2].abs() > self._limits).any(1).logical_and_(active)
        truncated = (self._episode_step >= self.max_episode_steps).logical_and_(active) & ~terminated
        self._enter(final, terminated | truncated)
        return Transition(
            observation=self._state,
            reward=active.to(torch.float32),
            terminated=terminated,
            truncated=truncated,
            final_observation=final,
        )

    def task_parameters(self) -> Float[Tensor, "B P"]:
        """Return the numbers named in ``RANGES``, in their order."""
        return self._parameters

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return the tasks in the given rows as JSON values, for the stored trials."""
        parameters = self._parameters[rows].tolist()
        return [
            {
                "split": self._split.value,
                "index": int(self._first_task) + row // self.rows_per_task,
                **dict(zip(RANGES, row_parameters, strict=True)),
            }
            for row, row_parameters in zip(rows, parameters, strict=True)
        ]

    def close(self) -> None:
        """Release nothing; safe to call twice."""

    def _draw_tasks(self, seeds: Int64[Tensor, "B"]) -> None:
        low, high = self._bounds.unbind(1)
        self._parameters = low + (high - low) * uniform(seeds, 0, len(RANGES))
        length, masspole, masscart, force_mag, self._gravity = self._parameters.unbind(1)
        # Constants of the equations of motion, divided by the total mass.
        self._thrust = force_mag / (masspole + masscart)
        self._pole_share = masspole * length / (masspole + masscart)
        self._inertia = 4.0 / 3.0 * length

    def _moved(self, action: Int64[Tensor, "B"]) -> Float[Tensor, "B 4"]:
        """Return the states after one step, by the equations of Florian 2007 as in CartPole-v1."""
        _, velocity, angle, angular_velocity = self._state.unbind(1)
        cos, sin = angle.cos(), angle.sin()
        thrust = torch.where(action > 0, self._thrust, -self._thrust)
        push = torch.addcmul(thrust, angular_velocity.square().mul_(sin), self._pole_share)
        inertia = torch.addcmul(self._inertia, cos.square(), self._pole_share, value=-1.0)
        angular_acceleration = torch.addcmul(self._gravity * sin, cos, push, value=-1.0).div_(inertia)
        acceleration = torch.addcmul(push, angular_acceleration * cos, self._pole_share, value=-1.0)
        slopes = torch.stack([velocity, acceleration, angular_velocity, angular_acceleration], dim=1)
        return torch.add(self._state, slopes, alpha=STEP_S)

    def _enter(self, final: Float[Tensor, "B 4"], has_ended: Bool[Tensor, "B"]) -> None:
        """Start the next episode where one ended."""
        # On an accelerator, checking whether any episode ended costs more than computing the initial states.
        if self.device.type == "cpu" and not has_ended.any():
            self._state = final
            return
        self._episode = self._episode + has_ended
        self._episode_step = self._episode_step.masked_fill(has_ended, 0)
        most_episodes = None if self.device.type != "cpu" else int(self._episode.max())
        starts = self._starts(self._episode, most_episodes=most_episodes)
        self._state = torch.where(has_ended.unsqueeze(1), starts, final)

    def _starts(self, episode: Int64[Tensor, "B"], *, most_episodes: int | None) -> Float[Tensor, "B 4"]:
        """Return the initial state of each row's episode, from the states drawn in advance if possible, else drawn now.

        Args:
            episode: index of each row's episode.
            most_episodes: the largest index; None if it is not fetched from the device.
        """
        if most_episodes is None:
            return self._scaled(uniform_at(self._start_seeds, episode, 4))
        while most_episodes >= self._drawn_starts.shape[1]:
            num_drawn = self._drawn_starts.shape[1]
            num_more = max(num_drawn, min(self.spec.episodes_per_trial, STARTS_AHEAD))
            more = self._scaled(uniform(self._start_seeds, 4 * num_drawn, 4 * num_more))
            self._drawn_starts = torch.cat([self._drawn_starts, more.view(self.num_trials, num_more, 4)], dim=1)
        return self._drawn_starts[self._row, episode]

    @staticmethod
    def _scaled(uniform_numbers: Tensor) -> Tensor:
        return uniform_numbers.mul_(2.0).sub_(1.0).mul_(MAX_START)
