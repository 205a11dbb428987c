"""The optimiser of RL²: Adam over groups of parameters, each with a share of the learning rate.

Parameters are added when the learner meets new families. A step fetches nothing from an accelerator, so that it can be
captured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agent.learners.adam import Adam

ADAM_EPSILON = 1e-5
"""Adam's ε: the usual value of PPO; 1e-8 makes large steps of small gradients. It was never varied."""


class ScaledAdam:
    """Adam with parameter groups that have shares of one learning rate.

    Args:
        learning_rate: the rate of parameters that are added, until :meth:`set_rate`.
        device: the device of all parameters.
    """

    def __init__(self, *, learning_rate: float, device: torch.device) -> None:
        self._learning_rate = learning_rate
        self._device = device
        self._adam = Adam(
            [self._group((), scale=1.0)],  # Adam refuses to begin without a group.
            eps=ADAM_EPSILON,
            fused=True,
            capturable=device.type == "cuda",
        )

    def add(self, parameters: Iterable[nn.Parameter], *, scale: float = 1.0) -> int:
        """Add parameters with their share of the learning rate; return the number of their group."""
        self._adam.add_param_group(self._group(parameters, scale=scale))
        return len(self._adam.param_groups) - 1

    def set_scale(self, group: int, scale: float) -> None:
        """Set the share of the learning rate of a group of parameters."""
        self._adam.param_groups[group]["scale"] = scale

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next steps."""
        for group in self._adam.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * group["scale"])
            else:
                group["lr"] = rate * group["scale"]

    def descend(self, loss: Float[Tensor, ""], *, max_norm: float) -> Float[Tensor, ""]:
        """Take one step down a loss, and return the norm of its gradient before it is clipped to ``max_norm``."""
        self._adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        touched = [p for group in self._adam.param_groups for p in group["params"] if p.grad is not None]
        gradient_norm = nn.utils.clip_grad_norm_(touched, max_norm, foreach=True)
        self._adam.step()
        return gradient_norm

    def forget_gradients(self) -> None:
        """Release the gradients of the last step and their memory."""
        self._adam.zero_grad(set_to_none=True)

    def moments(self, parameter: nn.Parameter) -> Mapping[str, Tensor]:
        """Return the running moments of a parameter and its number of steps; nothing before its first step."""
        found: Mapping[str, Tensor] = self._adam.state.get(parameter, {})
        return found

    def set_moments(self, parameter: nn.Parameter, moments: Mapping[str, Tensor]) -> None:
        """Set what :meth:`moments` returned."""
        self._adam.state[parameter] = dict(moments)

    def forget_moments(self, parameter: nn.Parameter) -> None:
        """Let a parameter begin as one that took no step."""
        self._adam.state.pop(parameter, None)

    def _group(self, parameters: Iterable[nn.Parameter], *, scale: float) -> dict[str, Any]:
        """Return a parameter group. On CUDA its rate is a tensor, which a captured step reads."""
        rate: float | Tensor = self._learning_rate * scale
        if self._device.type == "cuda":
            rate = torch.full((), self._learning_rate * scale, device=self._device)
        return {"params": list(parameters), "scale": scale, "lr": rate}


def moments_by_parameter(tensors: Mapping[str, Tensor], *, device: torch.device) -> dict[str, dict[str, Tensor]]:
    """Return copies of moments that are named PARAMETER/PART, by parameter and part.

    Args:
        tensors: the moments.
        device: the device of the copies.
    """
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, moment in tensors.items():
        parameter, _, part = name.rpartition("/")
        found[parameter][part] = moment.clone().to(device)
    return dict(found)
