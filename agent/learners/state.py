"""A learner's state as named tensors, which safetensors can store.

Names are paths: ``parameters.<name>``, ``optimizer.<name>.<moment>``, ``random_state``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agent.learners.config_json import ConfigT, config_from_json, config_to_json
from envs.few_shot.tasks import FewShotShapes
from envs.spaces import SpacePair

RANDOM_STATE = "random_state"


@runtime_checkable
class JsonValue(Protocol):
    """A value that writes itself as JSON values: the shapes or spaces that a learner is for."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        ...


def learner_meta(name: str, config: Any, num_updates: int, **subject: JsonValue) -> dict[str, Any]:
    """Return the part of a learner's state that is not tensors, as JSON values.

    Args:
        name: the learner's name in the registry.
        config: its settings.
        num_updates: outer steps taken.
        subject: what it is for: ``shapes`` or ``spaces``.
    """
    described = {key: value.to_json() for key, value in subject.items()}
    return {"learner": name, **described, "config": config_to_json(config), "num_updates": num_updates}


def shapes_and_config(meta: Mapping[str, Any], config: type[ConfigT]) -> tuple[FewShotShapes, ConfigT]:
    """Return the shapes and the settings that :func:`learner_meta` wrote.

    Args:
        meta: the part of a learner's state that is not tensors.
        config: the class of its settings.
    """
    return FewShotShapes.from_json(meta["shapes"]), config_from_json(config, meta["config"])


def spaces_and_config(meta: Mapping[str, Any], config: type[ConfigT]) -> tuple[SpacePair, ConfigT]:
    """Return the spaces and the settings that :func:`learner_meta` wrote.

    Args:
        meta: the part of a learner's state that is not tensors.
        config: the class of its settings.
    """
    return SpacePair.from_json(meta["spaces"]), config_from_json(config, meta["config"])


def as_arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Convert tensors to numpy arrays on the host, for files and the store."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}


def as_tensors(arrays: Mapping[str, NDArray[Any]], *, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Convert the output of :func:`as_arrays` to tensors on a device."""
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return detached copies under ``prefix.<name>``."""
    return {f"{prefix}.{name}": tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with ``prefix.``, by the rest of their names."""
    start = f"{prefix}."
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}


def load_parameters(parameters: Iterable[tuple[str, Tensor]], tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into the parameters, or buffers, of the same names.

    Raises:
        KeyError: a parameter has no tensor.
        ValueError: a tensor's shape differs from its parameter's.
    """
    with torch.no_grad():
        for name, parameter in parameters:
            if tensors[name].shape != parameter.shape:
                raise ValueError(
                    f"restoring parameter {name!r}: its shape is {tuple(tensors[name].shape)} and not "
                    f"{tuple(parameter.shape)}."
                )
            parameter.copy_(tensors[name])


def optimizer_to_tensors(
    optimizer: torch.optim.Optimizer, parameters: Iterable[tuple[str, nn.Parameter]]
) -> dict[str, Tensor]:
    """Return the optimiser's moments and step counts as ``optimizer.<parameter>.<moment>``."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters:
        for key, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                tensors[f"optimizer.{name}.{key}"] = torch.as_tensor(value).detach().clone()
    return tensors


def load_state(
    tensors: Mapping[str, Tensor],
    parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    optimizer: torch.optim.Optimizer | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """Load a learner's parameters and, where the tensors hold them, Adam's moments and the random state.

    Args:
        tensors: the result of a learner's ``to_tensors()`` or ``initialization()``.
        parameters: its parameters by name.
        optimizer: its optimiser; stays fresh without moments in the tensors.
        generator: its own generator; keeps its state without one in the tensors.

    Raises:
        KeyError: a parameter has no tensor.
        ValueError: a tensor's shape differs from its parameter's.
    """
    named = dict(parameters)
    load_parameters(named.items(), under_prefix("parameters", tensors))
    if optimizer is not None:
        load_optimizer(optimizer, named.items(), tensors)
    if generator is not None and RANDOM_STATE in tensors:
        generator.set_state(tensors[RANDOM_STATE])


def load_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Iterable[tuple[str, nn.Parameter]], tensors: Mapping[str, Tensor]
) -> None:
    """Load the state that :func:`optimizer_to_tensors` wrote; without such tensors the optimiser stays fresh."""
    counts_on_device = bool(optimizer.defaults.get("fused"))
    for name, parameter in parameters:
        state = under_prefix(f"optimizer.{name}", tensors)
        if state:
            optimizer.state[parameter] = {
                key: value.detach().clone().to("cpu" if key == "step" and not counts_on_device else parameter.device)
                for key, value in state.items()
            }
