"""Training shared by the learners that compare features: a module trained by Adam, its averaged weights, its state.

The averaged weights are an exponential moving average of the trained ones (Polyak & Juditsky 1992). They are used for
adapting and are published. Without averaging they equal the trained ones.

Names in the state:

- ``parameters.*`` and ``buffers.*``: the averaged weights and running statistics.
- ``training.parameters.*`` and ``training.buffers.*``: the trained ones, if averaging makes them differ.
- ``optimizer.*``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from agent.learners.adam import Adam
from agent.learners.state import load_optimizer, load_parameters, optimizer_to_tensors, under_prefix, with_prefix
from agent.learners.team import Team

WARM_UP_UPDATES = 100
MAX_GRADIENT_NORM = 5.0

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of the training of a module.

    Attributes:
        learning_rate: Adam's rate.
        planned_updates: updates over which the rate falls along a cosine to a fiftieth, after rising from 0 over the
            first 100 updates; None keeps the rate constant from the start.
        average_decay: share of the average that one update keeps; 0 does not average. At update n the share is
            min(this, 1 - 5 / (n + 5)), so that the first weights are forgotten quickly.
    """

    learning_rate: float = 1e-3
    planned_updates: int | None = None
    average_decay: float = 0.0

    def rate(self, num_updates: int) -> float:
        """Return the learning rate of the next update."""
        if self.planned_updates is None:
            return self.learning_rate
        fraction = min(1.0, num_updates / self.planned_updates)
        warm_up = min(1.0, (num_updates + 1) / WARM_UP_UPDATES)
        return self.learning_rate * warm_up * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * fraction)))


class Training(Generic[ModuleT]):
    """A module in training, and the averaged module that is used.

    Args:
        module: the module, trained in place.
        config: the settings.

    Attributes:
        team: the processes that train it together; at first only this process.
    """

    def __init__(self, module: ModuleT, config: TrainingConfig) -> None:
        self.config = config
        self.trained = module.train()
        self.averaged: ModuleT = copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
        self.num_updates = 0
        self.team = Team()
        self._optimizer = Adam(self.trained.parameters(), lr=config.learning_rate)

    def step(self, loss: Tensor) -> None:
        """Take one step down the gradient of the loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.rate(self.num_updates)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.team.mean_([parameter.grad for parameter in self.trained.parameters() if parameter.grad is not None])
        nn.utils.clip_grad_norm_(self.trained.parameters(), MAX_GRADIENT_NORM)
        self._optimizer.step()
        self.num_updates += 1
        self._average()

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.average_decay, 1.0 - 5.0 / (self.num_updates + 5.0))
        trained = self.trained.state_dict()
        for name, average in self.averaged.state_dict().items():
            if decay > 0.0 and average.is_floating_point():
                average.lerp_(trained[name], 1.0 - decay)
            else:
                average.copy_(trained[name])

    def plan_updates(self, planned_updates: int) -> None:
        """Set the number of updates over which the rate falls, counted from the first update."""
        self.config = replace(self.config, planned_updates=planned_updates)

    def share_statistics(self) -> None:
        """Replace running statistics by their mean over the team. Nothing else differs between its processes."""
        for module in (self.trained, self.averaged):
            self.team.mean_([buffer for buffer in module.buffers() if buffer.is_floating_point()])

    def frozen_copy(self) -> ModuleT:
        """Return a copy of the averaged module that later steps do not change."""
        return copy.deepcopy(self.averaged)

    def initialization(self) -> dict[str, Tensor]:
        """Return the tensors to publish: the averaged weights and running statistics."""
        return _module_to_tensors("", self.averaged)

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the whole state."""
        tensors = self.initialization()
        if self.config.average_decay > 0.0:
            tensors |= _module_to_tensors("training.", self.trained)
        return tensors | optimizer_to_tensors(self._optimizer, self.trained.named_parameters())

    def load_tensors(self, tensors: Mapping[str, Tensor], *, num_updates: int) -> None:
        """Load the state that :meth:`to_tensors` returned, or an initialization alone.

        With an initialization alone, the optimiser starts fresh.
        """
        _load_module("", self.averaged, tensors)
        is_whole = any(name.startswith("training.parameters.") for name in tensors)
        _load_module("training." if is_whole else "", self.trained, tensors)
        if any(name.startswith("optimizer.") for name in tensors):
            load_optimizer(self._optimizer, self.trained.named_parameters(), tensors)
        self.num_updates = num_updates


def _module_to_tensors(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """Return a module's parameters and buffers as ``<prefix>parameters.*`` and ``<prefix>buffers.*``."""
    parameters = with_prefix(f"{prefix}parameters", dict(module.named_parameters()))
    return parameters | with_prefix(f"{prefix}buffers", dict(module.named_buffers()))


def _load_module(prefix: str, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load the tensors that :func:`_module_to_tensors` returned into a module.

    Raises:
        KeyError: a parameter or buffer is missing.
        ValueError: a tensor has another shape.
    """
    load_parameters(module.named_parameters(), under_prefix(f"{prefix}parameters", tensors))
    load_parameters(module.named_buffers(), under_prefix(f"{prefix}buffers", tensors))
