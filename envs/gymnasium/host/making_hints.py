"""Hints for what could not be made: an unknown id, arguments that do not fit, a result of another kind."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium

from .faults import SpecError
from .providers import installed_providers, well_known_provider
from .rendering import DRAWING_HINT, RENDER_MODE

VERSION_OF_AN_ID = re.compile(r"-v\d+$")

_FITTED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def is_installed(module: str) -> bool:
    """Return whether the package of a module can be imported."""
    return importlib.util.find_spec(module.partition(".")[0]) is not None


def unknown_id_hint(env_id: str) -> str:
    """Say which ids are similar, or which package provides an id."""
    if _is_of_old_gym(env_id):
        return (
            "It is registered with the old package gym, and learnd takes environments of gymnasium. Look for a version"
            " of the package for gymnasium, or write a function that converts it, such as with shimmy's"
            " GymV21Environment-v0 or GymV26Environment-v0."
        )
    newest = _newest_ids()
    wanted = _without_version(env_id)
    if same := [known for name, known in newest.items() if wanted in {name, name.rpartition("/")[2]}]:
        return f"Did you mean {', '.join(sorted(same))}?"
    provider = well_known_provider(env_id)
    if provider is not None and not is_installed(provider.module):
        return (
            f"The package {provider.package} provides it: {sys.executable} -m pip install {provider.package}, "
            f"then add {env_id} or {provider.module}:{env_id}."
        )
    if providers := [] if provider else installed_providers(env_id):
        written = " or ".join(f"{module}:{env_id}" for module in providers[:3])
        return f"An installed package seems to provide it when it is imported: write {written}."
    close = [newest[name] for name in difflib.get_close_matches(wanted, newest, n=3)]
    hint = f"Did you mean {', '.join(close)}? " if close else ""
    return f"{hint}Write module:id for an environment of another package, module:Class or FILE.py:Class for your own."


def _is_of_old_gym(env_id: str) -> bool:
    """Return whether an imported package registered an id with gym instead of gymnasium."""
    registry = getattr(sys.modules.get("gym.envs.registration"), "registry", {})
    return env_id in getattr(registry, "env_specs", registry)


def _without_version(env_id: str) -> str:
    return VERSION_OF_AN_ID.sub("", env_id.strip()).lower()


def _newest_ids() -> dict[str, str]:
    """Return the newest registered version of each id, by the id in small letters and without its version."""
    by_version = sorted(gymnasium.registry.values(), key=lambda spec: -1 if spec.version is None else spec.version)
    return {_without_version(spec.id): spec.id for spec in by_version}


def refuse_arguments(entry: str, make: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Raise if a class or function cannot take the keyword arguments.

    Raises:
        SpecError: it needs one that is not given, or one is given that it does not take.
    """
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # a class of an extension module may have no signature
        return
    fitted = {parameter.name: parameter for parameter in parameters if parameter.kind in _FITTED}
    missing = [name for name, one in fitted.items() if one.default is one.empty and name not in given]
    if missing:
        options = " ".join(f"--kwarg {name}=VALUE" for name in missing)
        raise SpecError(f"{entry!r} needs the argument {', '.join(missing)}.", f"Give it: {options}.")
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    unknown = [] if takes_any else [name for name in given if name not in fitted]
    if unknown:
        close = difflib.get_close_matches(unknown[0], fitted, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"It takes: {', '.join(fitted) or 'none'}."
        if unknown[0] == RENDER_MODE:
            hint = DRAWING_HINT
        raise SpecError(f"{entry!r} takes no argument {unknown[0]!r}.", hint)


def not_an_environment_hint(made: Any) -> str:
    """Say what to name instead of what was made."""
    if made is None:
        return "A function that is named as module:function must return the environment that it makes."
    if isinstance(made, gymnasium.vector.VectorEnv):
        return "Name a single environment: learnd itself makes and steps several copies."
    if isinstance(made, type):
        return f"It is the class {made.__name__}: name the class, or return an instance of it."
    if hasattr(made, "possible_agents"):
        return "It has several agents, and learnd practises one: wrap it in an environment for one of them."
    if any(base.__module__.partition(".")[0] == "gym" for base in type(made).__mro__):
        return "Environments of the old gym package must be ported to gymnasium."
    if hasattr(made, "reset") and hasattr(made, "step"):
        return "Derive its class from gymnasium.Env."
    return "Name a class that derives from gymnasium.Env, or a function that returns an instance of one."
