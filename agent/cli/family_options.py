"""The options of commands that declare a family, and their parsing."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.errors import CommandError
from envs.user_paths import resolved

if TYPE_CHECKING:
    from envs.family import FamilySpec

VaryOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUES",
        help="Variation between the tasks of an environment; may be repeated. VALUES: LOW:HIGH, log:LOW:HIGH, "
        "int:LOW:HIGH, A|B|C, sum:X+Y, product:X*Y, frozen_lake_map:SIZE:P. NAME is an attribute, kwarg.NAME a "
        "keyword argument, option.NAME a reset option. auto, actions, observations, sticky, rewards and numbers "
        "fit any environment.",
    ),
]
KwargOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Keyword argument of the environment or family; may be repeated."),
]
EpisodesOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Episodes per trial of an environment; default: 3 with --vary, 1 without, 10 for a tensor family.",
    ),
]
MaxStepsOption = Annotated[
    int | None, typer.Option(min=1, help="Steps after which an episode of an environment is truncated.")
]
RecurringOption = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        help="Only for the service: practise N tasks of an environment that come back, with the memory of earlier "
        "trials; 0: all tasks are new.",
    ),
]
WrapOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WRAPPER[:JSON]",
        help="Wrapper of the environment: a name in gymnasium.wrappers, module:Wrapper or FILE.py:Wrapper, with its "
        "keyword arguments as JSON. May be repeated; the first is applied first.",
    ),
]
PresetOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Standard preprocessing, applied before --wrap: atari."),
]
PythonOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PYTHON",
        help="Virtual environment folder, or Python interpreter, that has the environment's packages.",
    ),
]
PathOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="FOLDER", help="Folder to import from; may be repeated. The worker runs in the first."),
]
ImageSizeOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=128,
        help="Largest side in pixels of images that an environment observes, to which larger ones are reduced; "
        "default: 64. 0 flattens images to vectors.",
    ),
]
NetworkOption = Annotated[
    bool,
    typer.Option("--network", help="Let the environment open network connections; without it, its worker has none."),
]
CopiesOption = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        help="Most copies of the environment that may share a process: 1 for a simulator that can run only "
        "once in a process; 0: no bound.",
    ),
]
FewShotOption = Annotated[
    str | None,
    typer.Option("--few-shot", metavar="WAYSxSHOTS", help="Ways and shots of tasks of images by class; default: 5x1."),
]
ShotsOption = Annotated[
    int | None, typer.Option(min=1, help="Support examples of a few-shot task: per class, or per task of sinusoids.")
]
QueriesOption = Annotated[
    int | None, typer.Option(min=1, help="Query examples of a few-shot task: per class, or per task of sinusoids.")
]


@dataclass(frozen=True, kw_only=True)
class FamilyOptions:
    """The options of a command line that describe a family. Options that were not given are None, empty or 0."""

    few_shot: str | None
    shots: int | None
    queries: int | None
    vary: Sequence[str]
    kwarg: Sequence[str]
    episodes: int | None
    max_steps: int | None
    recurring: int
    image_size: int | None
    python: Path | None
    path: Sequence[Path]
    wrap: Sequence[str]
    preset: str | None
    network: bool
    copies: int

    def of_few_shot(self) -> dict[str, Any]:
        """Return the given options that apply to few-shot families only, by name."""
        return _given({"--few-shot": self.few_shot, "--shots": self.shots, "--queries": self.queries})

    def of_environments(self) -> dict[str, Any]:
        """Return the given options that apply to families of environments only, by name."""
        given = _given(
            {
                "--vary": self.vary,
                "--episodes": self.episodes,
                "--max-steps": self.max_steps,
                "--wrap": self.wrap,
                "--preset": self.preset,
                "--python": self.python,
                "--path": self.path,
                "--recurring": self.recurring,
                "--network": self.network,
                "--copies": self.copies,
            }
        )
        return given if self.image_size is None else {**given, "--image-size": str(self.image_size)}

    def of_any(self) -> dict[str, Any]:
        """Return all given options, by name."""
        return {**self.of_few_shot(), **self.of_environments(), **_given({"--kwarg": self.kwarg})}


def family_options(
    *,
    vary: VaryOption = None,
    kwarg: KwargOption = None,
    episodes: EpisodesOption = None,
    max_steps: MaxStepsOption = None,
    recurring: RecurringOption = 0,
    image_size: ImageSizeOption = None,
    python: PythonOption = None,
    path: PathOption = None,
    wrap: WrapOption = None,
    preset: PresetOption = None,
    network: NetworkOption = False,
    copies: CopiesOption = 0,
    few_shot: FewShotOption = None,
    shots: ShotsOption = None,
    queries: QueriesOption = None,
) -> FamilyOptions:
    """Return the options that a command line gives. The parameters are the options of every command with a family."""
    return FamilyOptions(
        few_shot=few_shot,
        shots=shots,
        queries=queries,
        vary=vary or (),
        kwarg=kwarg or (),
        episodes=episodes,
        max_steps=max_steps,
        recurring=recurring,
        image_size=image_size,
        python=python,
        path=path or (),
        wrap=wrap or (),
        preset=preset,
        network=network,
        copies=copies,
    )


def with_family_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the parameters of :func:`family_options` in the place of its parameter ``options``."""
    given = inspect.signature(family_options, eval_str=True).parameters
    own = inspect.signature(function, eval_str=True)

    @wraps(function)
    def run(*positional: Any, **named: Any) -> None:
        options = family_options(**{name: named.pop(name) for name in given if name in named})
        function(*positional, **named, options=options)

    parameters = [
        replacement
        for parameter in own.parameters.values()
        for replacement in (given.values() if parameter.name == "options" else (parameter,))
    ]
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value}


def parse_kwargs(texts: Sequence[str]) -> dict[str, Any]:
    """Parse KEY=VALUE texts. VALUE is a word, a number, true, false, none, or a JSON list or object."""
    return dict(_parse_kwarg(text) for text in texts)


def _parse_kwarg(text: str) -> tuple[str, Any]:
    from envs.declared_values import parse_setting
    from envs.foreign_text import parse_json

    key, value = parse_setting(text)
    if isinstance(value, str) and value[:1] in {"[", "{"}:
        try:
            return key, parse_json(value)
        except json.JSONDecodeError as error:
            raise typer.BadParameter(f"{value!r} is not JSON: {error}", param_hint="--kwarg") from error
    return key, value


def refuse_options(entry: str, options: Mapping[str, Any], why: str) -> None:
    """Reject options that were given and do not apply to the family.

    Args:
        entry: the family's entry.
        options: values of the options, by name; None or empty for an option that was not given.
        why: the reason why they do not apply.

    Raises:
        CommandError: at least one of the options was given.
    """
    given = [name for name, value in options.items() if value]
    if given:
        raise CommandError(
            operation="describing family",
            subject=entry,
            found=f"{', '.join(given)} does not apply: {why}.",
            hint="Omit it.",
        )


def declared_environments(entry: str, options: FamilyOptions, **more: Any) -> FamilySpec:
    """Return the family of environments that an entry and the options declare.

    Args:
        entry: the family's entry.
        options: the options.
        **more: further arguments of ``envs.declaration.family_from_declaration``.

    Raises:
        FamilySpecError: the declaration contradicts itself or names something unknown.
    """
    from envs.declaration import family_from_declaration
    from envs.entries import interpreter_of

    for path in options.path:
        if not path.is_dir():
            found = "it is no folder." if path.exists() else "there is no such folder."
            hint = "Name the folder from which your module is imported."
            raise CommandError(operation="reading --path", subject=str(path), found=found, hint=hint)
    if not options.path and options.python is None:
        _refuse_file_at_hand(entry)
    return family_from_declaration(
        entry,
        variations=options.vary,
        kwargs=parse_kwargs(options.kwarg),
        wrappers=options.wrap,
        preset=options.preset,
        episodes_per_trial=options.episodes,
        max_episode_steps=options.max_steps,
        python=None if options.python is None else str(interpreter_of(options.python)),
        import_paths=[str(resolved(path)) for path in options.path],
        recurring=options.recurring,
        image_size=options.image_size,
        network=options.network,
        copies=options.copies,
        **more,
    )


def _refuse_file_at_hand(entry: str) -> None:
    """Reject a module that is not installed, but is a file of the working folder, which a worker does not search.

    Raises:
        CommandError: it is.
    """
    module, separator, name = entry.partition(":")
    file = Path(*module.split(".")).with_suffix(".py") if separator and module.strip(".") else Path()
    if not file.is_file() or file.suffixes != [".py"] or entry.startswith(str(file)):
        return
    found = PathFinder.find_spec(module.partition(".")[0])
    if found is None or Path(found.origin or "").is_relative_to(Path.cwd()):
        raise CommandError(
            operation="describing family",
            subject=entry,
            found=f"no installed package has a module {module!r}, but the working folder has the file {file}.",
            hint=f"Write {file}:{name}.",
        )


def few_shot_kwargs(entry: str, options: FamilyOptions) -> dict[str, Any]:
    """Return the keyword arguments of a few-shot family. The options take precedence over ``--kwarg``.

    Raises:
        CommandError: ``--few-shot`` was given for a regression family, whose tasks have no ways.
        FamilySpecError: ``--few-shot`` is not WAYSxSHOTS.
    """
    from envs.declared_values import parse_few_shot
    from envs.few_shot.options import is_regression

    said = parse_kwargs(options.kwarg)
    if options.few_shot is not None:
        if is_regression(entry):
            why = "its tasks have no ways; use --shots for the number of points"
            refuse_options(entry, {"--few-shot": options.few_shot}, why)
        said["ways"], said["shots"] = parse_few_shot(options.few_shot)
    given = {"shots": options.shots, "queries": options.queries}
    return said | {key: value for key, value in given.items() if value is not None}
