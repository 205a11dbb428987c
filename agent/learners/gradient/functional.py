"""Gradient-based adaptation, shared by several learners: functions from parameters to adapted parameters.

M tasks are adapted in parallel. Their parameters are stacked, θ_m for m < M. No task's loss depends on another task's
parameters, so the gradient of the summed losses contains every task's own gradient: ∂(Σ_m L_m)/∂θ_m = ∂L_m/∂θ_m.

Shapes: M tasks, S examples, O outputs, D target width; ``*X`` is one input's own shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's convention)

from agent.learners.gradient.networks import MLP, TaskNetwork, has_explicit_gradient
from agent.learners.gradient.perceptron_descent import descend_perceptron

Parameters = Mapping[str, Tensor]
"""Name → [M, *shape], or [1, *shape] if all tasks share the parameter."""


@runtime_checkable
class TaskLoss(Protocol):
    """A loss of each task's outputs, averaged over the task's examples."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute [M] losses from [M, S, O] outputs and [M, S, …] targets."""
        ...

    def slope(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the derivative of the losses with respect to the outputs, [M, S, O]."""
        ...

    def curvature(self, outputs: Tensor, targets: Tensor, tangent: Tensor) -> Tensor:
        """Return the derivative of the slope with respect to the outputs along a tangent, [M, S, O]."""
        ...


class SquaredError:
    """The squared error L = 1/(S·D) Σ (f(x) - y)²."""

    def __call__(self, outputs: Float[Tensor, "M S D"], targets: Float[Tensor, "M S D"]) -> Float[Tensor, " M"]:
        """Return the [M] losses."""
        return F.mse_loss(outputs, targets, reduction="none").mean((1, 2))

    def slope(self, outputs: Float[Tensor, "M S D"], targets: Float[Tensor, "M S D"]) -> Float[Tensor, "M S D"]:
        """Return 2 (f(x) - y) / (S·D)."""
        return (outputs - targets) * (2.0 / (outputs.shape[1] * outputs.shape[2]))

    def curvature(
        self,
        outputs: Float[Tensor, "M S D"],
        targets: Float[Tensor, "M S D"],  # noqa: ARG002 (the curvature is constant)
        tangent: Float[Tensor, "M S D"],
    ) -> Float[Tensor, "M S D"]:
        """Return 2 v / (S·D)."""
        return tangent * (2.0 / (outputs.shape[1] * outputs.shape[2]))


class CrossEntropy:
    """The cross entropy L = -1/S Σ log softmax(f(x))_y."""

    def __call__(self, outputs: Float[Tensor, "M S N"], targets: Shaped[Tensor, "M S"]) -> Float[Tensor, " M"]:
        """Return the [M] losses."""
        return F.cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(1)

    def slope(self, outputs: Float[Tensor, "M S N"], targets: Shaped[Tensor, "M S"]) -> Float[Tensor, "M S N"]:
        """Return (softmax(f(x)) - onehot(y)) / S."""
        truth = F.one_hot(targets, outputs.shape[2]).to(outputs.dtype)
        return (outputs.softmax(2) - truth) / outputs.shape[1]

    def curvature(
        self,
        outputs: Float[Tensor, "M S N"],
        targets: Shaped[Tensor, "M S"],  # noqa: ARG002 (the curvature does not depend on y)
        tangent: Float[Tensor, "M S N"],
    ) -> Float[Tensor, "M S N"]:
        """Return (p ∘ v - p (p · v)) / S with p = softmax(f(x))."""
        chances = outputs.softmax(2)
        weighed = chances * tangent
        return (weighed - chances * weighed.sum(2, keepdim=True)) / outputs.shape[1]


def task_loss(*, is_classification: bool) -> TaskLoss:
    """Return the cross entropy for classification, the squared error for regression."""
    return CrossEntropy() if is_classification else SquaredError()


def stacked(network: TaskNetwork) -> dict[str, Tensor]:
    """Return a network's own parameters as [1, *shape]: all tasks share them until they are adapted."""
    return {name: parameter.unsqueeze(0) for name, parameter in network.named_parameters()}


def loss_gradient(
    network: TaskNetwork,
    parameters: Parameters,
    x: Float[Tensor, "M S *X"],
    y: Shaped[Tensor, "M S *D"],
    loss: TaskLoss,
    *,
    weight: float = 1.0,
) -> dict[str, Tensor]:
    """Return the gradient w ∂L_m/∂θ_m of every task, [M, *shape] by name, differentiable in the parameters.

    Args:
        network: the function f.
        parameters: θ.
        x: inputs.
        y: targets.
        loss: L.
        weight: w.
    """
    if has_explicit_gradient(network):
        return network.gradient_tasks(parameters, x, lambda outputs: loss.slope(outputs, y) * weight)
    own = {name: parameter.expand(len(x), *parameter.shape[1:]) for name, parameter in parameters.items()}
    gradient: dict[str, Tensor] = torch.func.grad(lambda p: loss(network.forward_tasks(p, x), y).sum() * weight)(own)
    return gradient


def adapt_by_gradient(
    network: TaskNetwork,
    parameters: Parameters,
    x: Float[Tensor, "M S *X"],
    y: Shaped[Tensor, "M S *D"],
    *,
    loss: TaskLoss,
    rates: float | Parameters,
    num_steps: int,
) -> dict[str, Tensor]:
    """Compute φ_m by ``num_steps`` steps θ ← θ - α ∘ ∂L/∂θ on each task's examples.

    The result is differentiable once in ``parameters`` and ``rates``, except under ``torch.no_grad()``.

    Args:
        network: the function f.
        parameters: θ, [1 or M, *shape].
        x: inputs.
        y: targets.
        loss: L.
        rates: α, one number or one tensor per parameter (broadcast against [M, *shape]).
        num_steps: the number of steps.

    Returns:
        Name → [M, *shape].
    """
    adapted = {name: parameter.expand(len(x), *parameter.shape[1:]) for name, parameter in parameters.items()}
    if isinstance(network, MLP) and isinstance(rates, float) and num_steps > 0:
        names = list(adapted)
        descended = descend_perceptron(
            list(adapted.values()), x.flatten(2), y, loss=loss, rate=rates, num_steps=num_steps
        )
        return dict(zip(names, descended, strict=True))
    for _ in range(num_steps):
        if isinstance(rates, float):
            # -α ∂L/∂θ is the gradient of -α L. Scaling L takes one small product, scaling the gradient many large ones.
            step = loss_gradient(network, adapted, x, y, loss, weight=-rates)
            adapted = {name: adapted[name] + step[name] for name in adapted}
        else:
            gradient = loss_gradient(network, adapted, x, y, loss)
            adapted = {name: torch.addcmul(adapted[name], rates[name], gradient[name], value=-1) for name in adapted}
    return adapted


@dataclass(frozen=True, kw_only=True)
class AdaptedNetwork:
    """A predictor that consists of a network and one set of parameters per task.

    Layers that normalise by their batch see one of two batches:

    - transductive (the setting of MAML): all queries of a task at once;
    - otherwise: each query alone with the support set, so that no prediction depends on other queries.

    Attributes:
        network: the function f.
        parameters: φ, detached, [M, *shape] by name.
        support_x: [M, S, …].
        is_transductive: whether all queries of a task are run at once.
    """

    network: TaskNetwork
    parameters: Parameters
    support_x: Tensor
    is_transductive: bool = True

    def each_alone(self) -> AdaptedNetwork:
        """Return a predictor that runs each query alone with the support set."""
        return replace(self, is_transductive=False)

    @torch.no_grad()
    def __call__(self, query_x: Float[Tensor, "M Q *X"]) -> Float[Tensor, "M Q O"]:
        """Return f(x; φ)."""
        if self.is_transductive:
            return self.network.forward_tasks(self.parameters, query_x)
        alone = [torch.cat([self.support_x, query.unsqueeze(1)], 1) for query in query_x.unbind(1)]
        return torch.stack([self.network.forward_tasks(self.parameters, x)[:, -1] for x in alone], 1)


def uniform_like(like: Tensor, bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Draw a tensor of the same shape, uniform in ``bounds``."""
    return (bounds[0] + (bounds[1] - bounds[0]) * torch.rand(like.shape, generator=generator)).to(like)


def linear_decay(start: float, *, final_scale: float, decay_updates: int | None, num_updates: int) -> float:
    """Return a rate that falls linearly from ``start`` to ``start · final_scale`` and then stays constant.

    Args:
        start: rate at update 0.
        final_scale: the final rate as a share of ``start``.
        decay_updates: updates over which the rate falls; None keeps it constant.
        num_updates: updates taken so far.
    """
    if decay_updates is None:
        return start
    return start * (1.0 - (1.0 - final_scale) * min(1.0, num_updates / decay_updates))


@runtime_checkable
class OuterStepConfig(Protocol):
    """The settings of an outer step by Adam."""

    @property
    def final_outer_lr_scale(self) -> float:
        """The rates after ``decay_updates``, as a share of their initial values."""
        ...

    @property
    def decay_updates(self) -> int | None:
        """The updates over which the rates fall; None keeps them constant."""
        ...

    @property
    def max_gradient_norm(self) -> float | None:
        """The norm to which the outer gradient is clipped; None does not clip."""
        ...


def take_outer_step(
    optimizer: torch.optim.Optimizer, loss: Tensor, *, config: OuterStepConfig, num_updates: int
) -> None:
    """Take one step down the gradient of a loss, at the rates of this update.

    Args:
        optimizer: the optimiser of everything that is learned.
        loss: a scalar.
        config: settings of the step.
        num_updates: updates taken so far, from which the rates follow.
    """
    decay_rates(
        optimizer,
        final_scale=config.final_outer_lr_scale,
        decay_updates=config.decay_updates,
        num_updates=num_updates,
    )
    take_step(optimizer, loss, max_norm=config.max_gradient_norm)


def decay_rates(
    optimizer: torch.optim.Optimizer, *, final_scale: float, decay_updates: int | None, num_updates: int
) -> None:
    """Set each group's rate by :func:`linear_decay` from the rate with which the group was built."""
    for group in optimizer.param_groups:
        start = group.setdefault("initial_lr", group["lr"])
        group["lr"] = linear_decay(start, final_scale=final_scale, decay_updates=decay_updates, num_updates=num_updates)


def take_step(optimizer: torch.optim.Optimizer, loss: Tensor, *, max_norm: float | None) -> None:
    """Take one step down the gradient of a loss.

    Args:
        optimizer: the optimiser of everything that is learned.
        loss: a scalar.
        max_norm: norm to which the gradient is clipped; None does not clip.
    """
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if max_norm is not None:
        learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(learned, max_norm)
    optimizer.step()


def accuracy(outputs: Float[Tensor, "M Q N"], targets: Shaped[Tensor, "M Q"]) -> float:
    """Return the share of queries whose largest output is that of the target class."""
    return (outputs.argmax(2) == targets).float().mean().item()


def accuracy_metric(outputs: Tensor, targets: Tensor, *, is_classification: bool) -> dict[str, float]:
    """Return the accuracy as a metric; a regression has none."""
    return {"accuracy": accuracy(outputs, targets)} if is_classification else {}
