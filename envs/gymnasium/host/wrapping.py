"""Applying the declared wrappers of a family to an environment."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import gymnasium

from .faults import SpecError
from .user_files import module_and_name


class _Step(NamedTuple):
    """One wrapper: its name, the class or function, and its keyword arguments."""

    name: str
    apply: Callable[..., Any]
    kwargs: dict[str, Any]


class Wrapping:
    """The wrappers of a family, applied in their order.

    Args:
        wrappers: ``name`` and ``kwargs`` of each.
        import_module: imports a module of the user.

    Raises:
        SpecError: there is no wrapper of a name.
    """

    def __init__(self, wrappers: Iterable[dict[str, Any]], import_module: Callable[[str], Any]) -> None:
        self._steps = [
            _Step(wrapper["name"], _found(wrapper["name"], import_module), wrapper["kwargs"]) for wrapper in wrappers
        ]

    def __call__(self, env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
        """Return the environment in all wrappers.

        Raises:
            SpecError: a wrapper does not fit the environment, or returns something else than an environment.
        """
        for step in self._steps:
            try:
                wrapped = step.apply(env, **step.kwargs)
            except Exception as error:
                env.close()
                found = f"the wrapper {step.name} cannot be applied to {env}: {type(error).__name__}: {error}."
                raise SpecError(found[:1500], "Check its keyword arguments and the order of the wrappers.") from error
            if not isinstance(wrapped, gymnasium.Env):
                found = f"the wrapper {step.name} returned a {type(wrapped).__name__}, which is not a gymnasium.Env."
                raise SpecError(found, "Name a wrapper of single environments.")
            env = wrapped
        return env


def _found(name: str, import_module: Callable[[str], Any]) -> Callable[..., Any]:
    """Return the class or function of a wrapper's name.

    Raises:
        SpecError: there is none of that name.
    """
    module_name, separator, inner = module_and_name(name)
    holder: Any = import_module(module_name) if separator else gymnasium.wrappers
    target = holder
    for part in (inner if separator else name).split("."):
        target = getattr(target, part, None)
    if callable(target):
        return target  # type: ignore[no-any-return]
    place = f"the module {module_name}" if separator else "gymnasium.wrappers"
    public = [key for key, value in vars(holder).items() if callable(value) and not key.startswith("_")]
    close = difflib.get_close_matches(inner if separator else name, public, n=3, cutoff=0.4)
    hint = f"Did you mean {', '.join(close)}?" if close else f"It has: {', '.join(public)[:300] or 'none'}."
    if not separator:
        hint += " Write module:Wrapper for a wrapper of your own."
    raise SpecError(f"{place} has no wrapper {(inner if separator else name)!r}.", hint)
