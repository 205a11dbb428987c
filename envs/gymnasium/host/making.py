"""Making environments from what a user names: an id, a class or a function, and the wrappers around it."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from .faults import SpecError, StartError
from .making_hints import (
    VERSION_OF_AN_ID,
    is_installed,
    not_an_environment_hint,
    refuse_arguments,
    unknown_id_hint,
)
from .providers import declared_registrations, well_known_provider
from .rendering import Rendering
from .user_files import is_file, load_file, module_and_name
from .wrapping import Wrapping

ONLY_CLASS = "*"
"""The name after ``module:`` that stands for the only environment class of the module (``envs.entries``)."""


class Maker:
    """A factory of the family's environments, without the wrappers whose work the host does itself.

    The host counts the time limit and keeps the order of calls, so the wrappers ``TimeLimit`` and ``OrderEnforcing`` do
    not cost a call per step. The wrappers with which an environment is registered remain.
    """

    def __init__(self, configuration: dict[str, Any]) -> None:
        self.entry: str = configuration["entry"]
        self._kwargs: dict[str, Any] = configuration["kwargs"]
        self._folders: list[str] = configuration["import_paths"]
        self.spec_limit: int | None = None
        self.reward_threshold: float | None = None
        self._is_alone: bool = configuration.get("is_alone", False)
        self._open_envs: list[gymnasium.Env[Any, Any]] = []
        self.rendering = Rendering(configuration.get("render_mode"))
        self._make = self._maker()
        self._wrap = Wrapping(configuration.get("wrappers", ()), lambda name: import_user_module(name, self._folders))

    def __call__(self, kwargs: dict[str, Any]) -> gymnasium.Env[Any, Any]:
        """Return a new environment in its wrappers; the task's keyword arguments override the family's.

        Where only one copy may exist in a process, the copy that is open is closed first.
        """
        if self._is_alone:
            self.close_all()
        arguments = {**self._kwargs, **kwargs, **self.rendering.kwargs}
        try:
            env = self._make(**arguments)
        except TypeError:
            refuse_arguments(self.entry, self._make, arguments)
            raise
        if not isinstance(env, gymnasium.Env):
            found = f"{self.entry!r} made a {type(env).__name__}, which is not a gymnasium.Env."
            raise SpecError(found, not_an_environment_hint(env))
        env = self.rendering.kept(self._wrap(env))
        for name in ("observation_space", "action_space"):
            if not hasattr(env, name):
                found = f"{self.entry!r} made a {type(env.unwrapped).__name__} without {name}."
                raise SpecError(found, f"Set self.{name} in its __init__, to a space of gymnasium.spaces.")
        self._open_envs.append(env)
        return env

    def close(self, env: gymnasium.Env[Any, Any]) -> None:
        """Close an environment that this factory made, unless another copy has replaced it."""
        if self._is_alone and not self.is_open(env):
            return
        self._open_envs = [other for other in self._open_envs if other is not env]
        env.close()

    def is_open(self, env: gymnasium.Env[Any, Any]) -> bool:
        """Return whether an environment that this factory made is still open."""
        return any(other is env for other in self._open_envs)

    def close_all(self) -> None:
        """Close every open environment. Errors are ignored, because the process exits afterwards."""
        while self._open_envs:
            with contextlib.suppress(BaseException):
                self._open_envs.pop(0).close()

    def take_registered(self, env: gymnasium.Env[Any, Any]) -> None:
        """Store the registered time limit and reward threshold of an environment that a user's function made."""
        if env.spec is not None:
            self.spec_limit = self.spec_limit or env.spec.max_episode_steps
            self.reward_threshold = self.reward_threshold or env.spec.reward_threshold

    def _maker(self) -> Callable[..., Any]:
        module_name, separator, name = module_and_name(self.entry)
        if separator and module_name.endswith(".py") and not is_file(module_name):
            folder, _, file_name = module_name.rpartition("/")
            found = f"{module_name!r} is a file, but a module is named without '.py'."
            raise SpecError(found, f"Write {file_name.removesuffix('.py')}:{name} --path {folder or 'FOLDER'}.")
        if not separator:
            return self._from_id(self.entry)
        target: Any = import_user_module(module_name, self._folders)
        if name == ONLY_CLASS:
            name = only_class(target)
            self.entry = f"{module_name}:{name}"
        holder = module_name
        for part in name.split("."):
            try:
                target = getattr(target, part)
            except AttributeError as error:
                if holder == module_name:
                    return self._from_id_or_misspelt(name, module_name, target, error)
                raise SpecError(f"{holder} has no {part!r}.", f"Write {module_name}:CLASS.") from error
            holder = f"{holder}.{part}"
        if not callable(target):
            found = f"{self.entry!r} is a {type(target).__name__}, which cannot make environments."
            raise SpecError(found, "Name its class, or a function that returns a new environment.")
        return target  # type: ignore[no-any-return]

    def _from_id_or_misspelt(
        self, name: str, module_name: str, holder: Any, error: AttributeError
    ) -> Callable[..., Any]:
        """Return what makes the id that a module registered, as in ``ale_py:ALE/Breakout-v5``.

        Raises:
            SpecError: there is no such id. A name that does not look like an id is a misspelt class or function.
        """
        try:
            return self._from_id(name)
        except SpecError:
            if "/" in name or VERSION_OF_AN_ID.search(name):
                raise
        public = [key for key, value in vars(holder).items() if callable(value) and not key.startswith("_")]
        close = difflib.get_close_matches(name.rpartition(".")[2], public, n=3)
        hint = f"Did you mean {', '.join(close)}?" if close else f"It has: {', '.join(public)[:300] or 'none'}."
        raise SpecError(f"module {module_name} has no class or function {name!r}.", hint) from error

    def _from_id(self, env_id: str) -> Callable[..., Any]:
        try:
            spec = registered_spec(env_id)
        except gymnasium.error.Error as error:
            raise SpecError(f"Gymnasium knows no {env_id!r} ({error}).", unknown_id_hint(env_id)) from error
        self.spec_limit = spec.max_episode_steps
        self.reward_threshold = spec.reward_threshold
        spec.order_enforce = False

        def make(**kwargs: Any) -> gymnasium.Env[Any, Any]:
            try:
                return gymnasium.make(spec, max_episode_steps=-1, disable_env_checker=True, **kwargs)
            except TypeError:
                point = spec.entry_point
                creator = load_env_creator(point) if isinstance(point, str) else point
                refuse_arguments(env_id, creator, {**spec.kwargs, **kwargs})
                raise

        return make


def registered_spec(env_id: str) -> Any:
    """Return what is registered under an id. If nothing is, have the package that provides it register its ids.

    Such a package is a well-known one, which registers when it is imported, or one that declares a function for it.

    Raises:
        gymnasium.error.Error: nothing is registered under the id.
    """
    for register in (_import_provider, _call_registrations):
        with contextlib.suppress(gymnasium.error.Error):
            return gymnasium.spec(env_id)
        register(env_id)
    return gymnasium.spec(env_id)


def _import_provider(env_id: str) -> None:
    provider = well_known_provider(env_id)
    if provider is not None and is_installed(provider.module):
        importlib.import_module(provider.module)


def _call_registrations(env_id: str) -> None:
    for registration in declared_registrations(env_id):
        registration.load()()


def only_class(module: Any) -> str:
    """Return the name of the only environment class that a module defines.

    Private classes, wrappers and abstract classes do not count, nor do classes that the module imports.

    Raises:
        SpecError: there is none, or several.
    """
    names: list[str] = [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, gymnasium.Env)
        and not issubclass(value, gymnasium.Wrapper)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
        and not name.startswith("_")
    ]
    if len(names) == 1:
        return names[0]
    file_name = os.path.basename(getattr(module, "__file__", None) or module.__name__)  # noqa: PTH119
    if names:
        found = f"{file_name} has {len(names)} environment classes: {', '.join(names)}."
        raise SpecError(found, f"Write {' or '.join(f'{file_name}:{name}' for name in names[:5])}.")
    found = f"{file_name} has no environment class of its own (a public subclass of gymnasium.Env)."
    raise SpecError(found, f"Name a function that returns an environment: {file_name}:FUNCTION.")


def import_user_module(name: str, folders: list[str]) -> Any:
    """Import a module by its name, or load it by the path of its file.

    Raises:
        StartError: there is no such file, or no such module in the folders or among the installed packages.
    """
    if is_file(name):
        return load_file(name)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # The module was found, and imports another one that was not.
        faults = [fault for fault in map(folder_fault, folders) if fault]
        if faults:
            raise StartError(f"no module {error.name!r} was found: {'; '.join(faults)}.") from error
        places = f"in {', '.join(folders)} or " if folders else ""
        hint = "" if folders else " (--path FOLDER names a folder of your own)"
        found = f"there is no module {error.name!r} {places}among the packages of {sys.executable}{hint}."
        raise StartError(found) from error


def folder_fault(folder: str) -> str:
    """Return why nothing can be imported from a folder; empty if it can be read."""
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        return f"the folder {folder} does not exist"
    except NotADirectoryError:
        return f"{folder} is not a folder"
    except OSError as error:
        return f"the folder {folder} cannot be read: {error.strerror}"
    return ""
