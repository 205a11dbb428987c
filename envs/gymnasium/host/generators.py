"""Random generators of all copies, kept apart although copies share a process."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

NOTHING_YET = object()

GENERATORS = (random.Random, np.random.Generator, np.random.RandomState)


class SharedGenerators:
    """The random generators, other than the global ones, that copies of an environment may share.

    These are the generators of spaces that belong to a class, and those that are class attributes or module globals in
    the environment's package.

    Args:
        envs: the copies.
    """

    def __init__(self, envs: list[gymnasium.Env[Any, Any]]) -> None:
        holders: dict[int, Any] = {}
        for env in envs:
            layer: Any = env
            while layer is not None:
                for space in (layer.observation_space, layer.action_space):
                    holders |= {id(part): part for part in parts_of(space)}
                holders |= {id(holder): holder for holder in _holders_of(type(layer))}
                layer = getattr(layer, "env", None) if isinstance(layer, gymnasium.Wrapper) else None
        self._slots = [
            (holder, name, copy.deepcopy(value))
            for holder in holders.values()
            for name, value in list(vars(holder).items())
            if (isinstance(value, GENERATORS) and not isinstance(value, random.SystemRandom))
            or (isinstance(holder, spaces.Space) and name == "_np_random")
        ]

    def originals(self) -> list[Any]:
        """Return copies of the generators in the state in which they were found."""
        return [copy.deepcopy(original) for _, _, original in self._slots]

    def take(self, generators: list[Any]) -> None:
        """Put the given generators in the places of the found ones."""
        for (holder, name, _), generator in zip(self._slots, generators, strict=True):
            setattr(holder, name, generator)

    def keep(self) -> list[Any]:
        """Return the generators that are in these places now, because a reset may have put new ones there."""
        return [getattr(holder, name) for holder, name, _ in self._slots]


def parts_of(space: Any) -> list[Any]:
    """Return a space and all its parts, recursively."""
    inner = getattr(space, "spaces", ())
    return [
        space,
        *(part for inner_space in getattr(inner, "values", lambda: inner)() for part in parts_of(inner_space)),
    ]


def _holders_of(kind: type[Any]) -> list[Any]:
    """Return the modules of a class's package and the classes in them; nothing for a class of Gymnasium or Python."""
    package = kind.__module__.partition(".")[0]
    if package in {"gymnasium", "builtins"}:
        return []
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == package]
    classes = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return [*modules, *(found for found in classes if found.__module__.partition(".")[0] == package)]


class OwnGenerators:
    """One row's own state of all random generators that copies share, global ones and others.

    Args:
        seed: seed of the global generators (``random``, ``numpy.random``, torch's).
        shared: the other generators; they begin in the state in which they were found.
    """

    def __init__(self, seed: int, shared: SharedGenerators) -> None:
        self._torch = sys.modules.get("torch")
        self._shared = shared
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        if self._torch is not None:
            self._torch.manual_seed(seed)
        shared.take(shared.originals())
        self._keep()

    def during(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that calls ``function`` with this state in the shared generators and stores it again."""

        def called(*args: Any, **kwargs: Any) -> Any:
            self._take()
            try:
                return function(*args, **kwargs)
            finally:
                self._keep()

        return called

    def _take(self) -> None:
        random.setstate(self._random)
        np.random.set_state(self._numpy)  # noqa: NPY002
        if self._torch is not None:
            self._torch.set_rng_state(self._torch_state)
        self._shared.take(self._others)

    def _keep(self) -> None:
        self._random = random.getstate()
        self._numpy = np.random.get_state()  # noqa: NPY002
        if self._torch is not None:
            self._torch_state = self._torch.get_rng_state()
        self._others = self._shared.keep()
