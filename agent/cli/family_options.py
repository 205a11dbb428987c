"""What command lines that declare a family share: their options, and what these say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from agent.cli.errors import CommandError

VaryOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUES",
        help="What differs from task to task of an environment; may be repeated. VALUES: LOW:HIGH, log:LOW:HIGH, "
        "int:LOW:HIGH, A|B|C, sum:X+Y, product:X*Y, frozen_lake_map:SIZE:P. NAME is an attribute; kwarg.NAME and "
        "option.NAME vary those.",
    ),
]
KwargOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Keyword argument of the environment or family; may be repeated."),
]
EpisodesOption = Annotated[
    int | None, typer.Option(min=1, help="Episodes of a trial in an environment: 3, or 10 for a built-in family.")
]
MaxStepsOption = Annotated[
    int | None, typer.Option(min=1, help="Steps after which an episode of an environment is cut off.")
]
FewShotOption = Annotated[
    str | None, typer.Option("--few-shot", metavar="WAYSxSHOTS", help="Tasks of images by class: 5x1 unless given.")
]
ShotsOption = Annotated[
    int | None, typer.Option(min=1, help="Support examples of a few-shot task: a class, or a task of sinusoids.")
]
QueriesOption = Annotated[
    int | None, typer.Option(min=1, help="Query examples of a few-shot task: a class, or a task of sinusoids.")
]


@dataclass(frozen=True)
class FamilyOptions:
    """What a command line says of a family beside its name; None and nothing where it says nothing."""

    few_shot: str | None
    shots: int | None
    queries: int | None
    vary: Sequence[str]
    kwarg: Sequence[str]
    episodes: int | None
    max_steps: int | None

    def of_few_shot(self) -> dict[str, Any]:
        """The options given that only few-shot families have, by name."""
        return _given({"--few-shot": self.few_shot, "--shots": self.shots, "--queries": self.queries})

    def of_environments(self) -> dict[str, Any]:
        """The options given that only families of environments have, by name."""
        return _given({"--vary": self.vary, "--episodes": self.episodes, "--max-steps": self.max_steps})

    def of_any(self) -> dict[str, Any]:
        """All options given, by name."""
        return {**self.of_few_shot(), **self.of_environments(), **_given({"--kwarg": self.kwarg})}


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value}


def parse_kwargs(texts: Sequence[str]) -> dict[str, Any]:
    """Read KEY=VALUE; VALUE is a word, a number, true, false, none, or a JSON list or object."""
    return dict(_parse_kwarg(text) for text in texts)


def _parse_kwarg(text: str) -> tuple[str, Any]:
    from envs.declaration import parse_setting

    key, value = parse_setting(text)
    if isinstance(value, str) and value[:1] in {"[", "{"}:
        try:
            return key, json.loads(value)
        except json.JSONDecodeError as error:
            raise typer.BadParameter(f"{value!r} is not JSON: {error}", param_hint="--kwarg") from error
    return key, value


def refuse_options(entry: str, options: Mapping[str, Any], why: str) -> None:
    """Refuse options that were given and do not apply.

    Args:
        entry: the family's entry.
        options: by name, with what was given; None and nothing where nothing was.
        why: why they do not apply.

    Raises:
        CommandError: at least one was given.
    """
    given = [name for name, value in options.items() if value]
    if given:
        raise CommandError(
            operation="describing family",
            subject=entry,
            found=f"{', '.join(given)} does not apply: {why}.",
            hint="Leave it out.",
        )


def few_shot_kwargs(entry: str, options: FamilyOptions) -> dict[str, Any]:
    """Keyword arguments of a few-shot family, with what the options say of its tasks laid over them.

    Raises:
        CommandError: ways are given of a regression.
        FamilySpecError: ``--few-shot`` is not WAYSxSHOTS.
    """
    from envs.declaration import parse_few_shot
    from envs.few_shot.options import is_regression

    said = parse_kwargs(options.kwarg)
    if options.few_shot is not None:
        if is_regression(entry):
            why = "its tasks have no ways; --shots says how many points"
            refuse_options(entry, {"--few-shot": options.few_shot}, why)
        said["ways"], said["shots"] = parse_few_shot(options.few_shot)
    given = {"shots": options.shots, "queries": options.queries}
    return said | {key: value for key, value in given.items() if value is not None}
