"""``learnd env check``: the whole check of an admission, without adding the family."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import typer

from agent.cli.check_report import check_values, show_check
from agent.cli.env import add_family
from agent.cli.family_declaration import declared_spec, trying
from agent.cli.family_options import with_family_options
from agent.cli.invocation import Invocation, command

UNRELATED = ("invocation", "check")
"""Parameters of ``learnd env add`` that ``learnd env check`` does not have, or has itself."""


def _with_declaration(function: Callable[..., None]) -> Callable[..., None]:
    """Give a function the parameters of ``learnd env add`` in the place of its ``**declaration``."""
    declaration = inspect.signature(inspect.unwrap(add_family), eval_str=True).parameters
    own = inspect.signature(function, eval_str=True).parameters
    parameters = [
        *(parameter for parameter in own.values() if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD),
        *(parameter for name, parameter in declaration.items() if name not in UNRELATED),
        *(parameter for parameter in own.values() if parameter.kind is inspect.Parameter.KEYWORD_ONLY),
    ]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


EXAMPLES = (
    "learnd env check CartPole-v1",
    "learnd env check ./my_env.py --vary force=1:5",
    "learnd env check my_envs:Maze --path ./src --python ./venv --max-time 30m",
    "learnd env check my_envs:Maze --path ./src --json --strict",
)


def register(app: typer.Typer) -> None:
    """Add the command to the group of ``learnd env``."""
    command(app, "check", examples=EXAMPLES)(with_family_options(_with_declaration(check_family)))


def check_family(
    invocation: Invocation,
    *,
    max_time: Annotated[
        str, typer.Option("--max-time", metavar="DURATION", help='The longest time of the check, such as 90 or "10m".')
    ] = "10m",
    strict: Annotated[bool, typer.Option("--strict", help="Exit with status 1 on warnings too.")] = False,
    **declaration: Any,
) -> None:
    """Check an environment as `learnd env add` does, report what was found and measured, and store nothing.

    The command takes the arguments of `learnd env add`, and needs no data folder. It names each fault of the
    environment with the call, the values, and the line of your code. It counts steps and episodes, so that its verdict
    does not depend on the load of the machine. The exit status is 1 if `learnd env add` would refuse the family.
    """
    max_time_s = _seconds(max_time)
    begun = time.monotonic()
    spec = declared_spec(invocation, **declaration)
    values = _examined(invocation, spec, max_time_s=max_time_s)
    values["seconds"] = time.monotonic() - begun
    invocation.answer(values, lambda out: show_check(out, values))
    is_faulty = any(found["severity"] == "warning" for found in values["findings"])
    if values["verdict"] != "admitted" or (strict and is_faulty):
        raise typer.Exit(1)


def _examined(invocation: Invocation, spec: Any, *, max_time_s: float) -> dict[str, Any]:
    """Check a family and return the answer's JSON values.

    Raises:
        EnvsError: the images of a few-shot family cannot be used.
    """
    from envs.admission import probe
    from envs.effort import thorough
    from envs.examination import examine
    from envs.family import FamilySource

    with trying(invocation, spec.name) as (worker, tell):
        if spec.source is FamilySource.FEW_SHOT:
            admission = probe(spec, progress=tell)
            spec = replace(admission.spec, reference_source=admission.reference_source)
            return check_values(
                spec,
                spaces=admission.spaces.to_json(),
                returns=admission,
                report=admission.report,
                findings=admission.findings,
            )
        found = examine(spec, effort=thorough(max_time_s), report=tell, **worker)
    spaces = None if found.spaces is None else found.spaces.to_json()
    spec = replace(found.spec, reference_source=found.reference_source)
    return check_values(spec, spaces=spaces, returns=found, report=found.report(), findings=found.findings)


def _seconds(text: str) -> float:
    from agent.config.units import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not {error}", param_hint="--max-time") from error
    if seconds <= 0:
        raise typer.BadParameter("it must be above 0", param_hint="--max-time")
    return seconds
