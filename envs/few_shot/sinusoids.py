"""Families of one-dimensional regression: the sinusoids of MAML and Meta-SGD, and tasks that stay ambiguous.

Every number of a task is a hash of its own position (``envs.tensor.counter_random``). The functions do not depend on
the numbers of shots and queries, and a smaller support set is the beginning of a larger one. Scores at several shots
are therefore over the same tasks.

Shapes: M tasks, P points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from envs.family import Split
from envs.few_shot.tasks import FewShotBatch
from envs.tensor.counter_random import normal, stream_key, task_seeds, uniform

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Sinusoids:
    """A family of waves y = A sin(ω x + φ) + ε, with A, ω and φ uniform in their ranges and ε ~ N(0, σ²).

    The defaults are MAML's (Finn et al. 2017, arXiv:1703.03400, section 5.1). Meta-SGD's (Li et al. 2017,
    arXiv:1707.09835, section 4.1) also draw ω from [0.8, 1.2].

    Attributes:
        shots: K, support points per task.
        queries: query points per task.
        amplitude: range of A.
        frequency: range of ω.
        phase: range of φ.
        inputs: range of x.
        noise_std: σ.
    """

    shots: int = 10
    queries: int = 10
    amplitude: Range = (0.1, 5.0)
    frequency: Range = (1.0, 1.0)
    phase: Range = (0.0, math.pi)
    inputs: Range = (-5.0, 5.0)
    noise_std: float = 0.0

    ways: ClassVar[int] = 1
    input_shape: ClassVar[tuple[int, ...]] = (1,)
    output_size: ClassVar[int] = 1
    is_classification: ClassVar[bool] = False

    def sample(
        self, num_tasks: int, *, split: Split, first_task: int, device: torch.device | str = "cpu"
    ) -> FewShotBatch:
        """Return tasks ``first_task …`` of a split."""
        settings = {"ranges": [self.amplitude, self.frequency, self.phase, self.inputs]}
        draw = _Draw("sinusoids", settings, split, first_task, num_tasks, torch.device(device))
        amplitude, frequency, phase = (
            _scaled(unit, bounds)
            for unit, bounds in zip(
                torch.split(draw.uniform("functions", 3), 1, dim=1),
                (self.amplitude, self.frequency, self.phase),
                strict=True,
            )
        )
        support_x = _scaled(draw.uniform("support", self.shots), self.inputs)
        query_x = _scaled(draw.uniform("queries", self.queries), self.inputs)
        return _batch(
            Points(support_x, amplitude * torch.sin(frequency * support_x + phase)),
            Points(query_x, amplitude * torch.sin(frequency * query_x + phase)),
            draw,
            self.noise_std,
        )


def meta_sgd_sinusoids(*, shots: int, queries: int) -> Sinusoids:
    """Return Meta-SGD's setting: amplitude, frequency and phase all vary."""
    return Sinusoids(shots=shots, queries=queries, frequency=(0.8, 1.2))


@dataclass(frozen=True, kw_only=True)
class ForkedSinusoids:
    """A family that is ambiguous by construction: waves that continue or turn back at x = 0, with probability 1/2 each.

    y = A sin(s + φ) + ε, A ~ U[1, 5], φ ~ U[0, π], ε ~ N(0, σ²). s = x if the wave continues; s = -|x| if it turns
    back. The support set lies in [-5, 0], where the two functions are equal, so it contains no information about which
    one the task has. Queries lie in [-5, 5]. (Designed for this project, after PLATIPUS's ambiguous tasks.)

    Attributes:
        shots: K, support points per task.
        queries: query points per task.
        noise_std: σ.
    """

    shots: int = 10
    queries: int = 20
    noise_std: float = 0.3

    ways: ClassVar[int] = 1
    input_shape: ClassVar[tuple[int, ...]] = (1,)
    output_size: ClassVar[int] = 1
    is_classification: ClassVar[bool] = False

    def sample(
        self, num_tasks: int, *, split: Split, first_task: int, device: torch.device | str = "cpu"
    ) -> FewShotBatch:
        """Return tasks ``first_task …`` of a split."""
        draw = self._draw(num_tasks, split, first_task, torch.device(device))
        amplitude, phase, goes_on = self._functions(draw)
        support_x = _scaled(draw.uniform("support", self.shots), (-5.0, 0.0))
        query_x = _scaled(draw.uniform("queries", self.queries), (-5.0, 5.0))
        query_y = torch.where(
            goes_on, amplitude * torch.sin(query_x + phase), amplitude * torch.sin(phase - query_x.abs())
        )
        support_y = amplitude * torch.sin(support_x + phase)
        return _batch(Points(support_x, support_y), Points(query_x, query_y), draw, self.noise_std)

    def explanations(
        self, x: Float[Tensor, "M P"], *, split: Split, first_task: int
    ) -> tuple[Float[Tensor, "M P"], Float[Tensor, "M P"]]:
        """Return the two functions, without noise, that explain each task's support set.

        Args:
            x: the points of evaluation, one row for each of the tasks ``first_task …``.
            split: as in :meth:`sample`.
            first_task: as in :meth:`sample`.

        Returns:
            The values at x of the wave that continues, and of the wave that turns back.
        """
        amplitude, phase, _ = self._functions(self._draw(len(x), split, first_task, x.device))
        return amplitude * torch.sin(x + phase), amplitude * torch.sin(phase - x.abs())

    def _draw(self, num_tasks: int, split: Split, first_task: int, device: torch.device) -> _Draw:
        return _Draw("forked_sinusoids", {}, split, first_task, num_tasks, device)

    def _functions(self, draw: _Draw) -> tuple[Tensor, Tensor, Tensor]:
        amplitude, phase, goes_on = torch.split(draw.uniform("functions", 3), 1, dim=1)
        return _scaled(amplitude, (1.0, 5.0)), _scaled(phase, (0.0, math.pi)), goes_on < 0.5


class Points(NamedTuple):
    """A pair of [M, P] inputs and the noise-free values of each task's function at these inputs."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class _Draw:
    """A source of the random numbers of tasks ``first_task …`` of a family, by purpose."""

    entry: str
    settings: dict[str, Any]
    split: Split
    first_task: int
    num_tasks: int
    device: torch.device

    def uniform(self, purpose: str, count: int) -> Float[Tensor, "M P"]:
        return uniform(self._seeds(purpose), 0, count)

    def normal(self, purpose: str, count: int) -> Float[Tensor, "M P"]:
        return normal(self._seeds(purpose), 0, count)

    def _seeds(self, purpose: str) -> Tensor:
        key = stream_key(self.entry, self.settings, self.split, purpose)
        return task_seeds(key, self.first_task, self.num_tasks, self.device)


def _scaled(unit: Tensor, bounds: Range) -> Tensor:
    """Map numbers in [0, 1) to ``bounds``."""
    return bounds[0] + (bounds[1] - bounds[0]) * unit


def _batch(support: Points, queries: Points, draw: _Draw, noise_std: float) -> FewShotBatch:
    support_y, query_y = support.y, queries.y
    if noise_std > 0.0:
        support_y = support_y + noise_std * draw.normal("support noise", support_y.shape[1])
        query_y = query_y + noise_std * draw.normal("query noise", query_y.shape[1])
    return FewShotBatch(
        support_x=support.x.unsqueeze(2),
        support_y=support_y.unsqueeze(2),
        query_x=queries.x.unsqueeze(2),
        query_y=query_y.unsqueeze(2),
    )
