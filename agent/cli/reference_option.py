"""The option ``--reference`` of `learnd env add`, and texts about the reference of a family."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.errors import CommandError
from agent.cli.output import indented
from agent.output.quantities import ago, short_count, short_number, with_error
from envs.reference import ReferenceChoice, read_reference
from memory.records import Family, FamilyState, UnreadableSpec

if TYPE_CHECKING:
    from agent.config.settings import ReferenceSettings

ReferenceOption = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="RETURN|ppo[:STEPS]|none",
        help="Trial return of score 1; or ppo: measure it in the background with a PPO agent; or none: no scores. "
        "Default: Gymnasium's threshold, else the setting `reference.default`.",
    ),
]


def parse_reference(text: str | None, settings: ReferenceSettings) -> ReferenceChoice:
    """Return the choice that the value of ``--reference`` describes; None takes the settings.

    Raises:
        BadParameter: the text is not a return, ``ppo[:STEPS]`` or ``none``.
    """
    if text is None:
        return ReferenceChoice(steps=settings.steps if settings.default == "ppo" else 0)
    try:
        return read_reference(text, steps=settings.steps)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--reference") from error


def parse_return(text: str, *, option: str) -> float:
    """Return a finite return.

    Raises:
        BadParameter: the text is not a finite number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise typer.BadParameter(f"{text!r} is not a number", param_hint=option)
    return value


def refuse_measurement(entry: str, choice: ReferenceChoice, *, why: str) -> None:
    """Reject a measurement that the user asked for and that is not possible.

    Args:
        entry: the family's entry.
        choice: the user's choice.
        why: why it is not possible; empty if it is.

    Raises:
        CommandError: the user asked for a measurement.
    """
    if why and choice.is_asked_for:
        raise CommandError(
            operation="describing family",
            subject=entry,
            found=f"its reference cannot be measured: {why}.",
            hint="Omit --reference ppo, or declare a return: --reference RETURN.",
        )


def reference_text(family: Family) -> str:
    """Describe the return of score 1 and its source, or why there is none."""
    from agent.reference_requests import is_to_be_measured

    spec = family.spec
    if isinstance(spec, UnreadableSpec):
        return "its reference is not known, because its spec cannot be read"
    if family.has_scale:
        source = spec.reference_source
        return f"return that scores 1: {short_number(family.reference_return)}" + (f" ({source})" if source else "")
    if measured := spec.measured_reference:
        earned = with_error(measured.mean_return, measured.standard_error)
        return (
            f"{measured.agent} of {measured.library} earned {earned} after {short_count(measured.steps)} steps, which "
            "is not reliably above the return of random actions, so returns are shown and no scores. "
            + declaring(family.name)
        )
    if is_to_be_measured(family):
        waits = " once the family is active" if family.state is not FamilyState.ACTIVE else ""
        steps = short_count(spec.reference_steps)
        how = f"{steps} steps of PPO in the background{waits}"
        text = f"return that scores 1: not measured yet ({how}); until then, returns are shown and no scores"
        varied = ", ".join(variation.name for variation in spec.variations)
        return f"{text}. {without_memory(varied)} {declaring(family.name)}" if varied else text
    absent = "no reference (a return that scores 1) is declared, so returns are shown instead of scores"
    return f"{absent}. {declaring(family.name)}"


def declaring(name: str) -> str:
    """Say how the reference of a family without one is declared."""
    return f"To declare one: learnd env reference {name} --return RETURN."


def without_memory(varied: str) -> str:
    """Say when a measurement is of little use: the agent has no memory, so it cannot find out what varies."""
    return f"PPO has no memory: if the observations do not show {varied}, its return is a low reference or none."


def failure_text(failure: Mapping[str, Any]) -> str:
    """Describe the failures of a family's measurement and the next attempt."""
    times = f"{failure['count']} times in a row" if failure["count"] > 1 else "once"
    return (
        f"the reference could not be measured, {times}: {indented(failure['error'])} "
        f"(next attempt: {ago(failure['retry_at'])})"
    )
