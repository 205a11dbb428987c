"""The answers of ``learnd service``: steps line by line, and the state of a service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from agent.cli.errors import error_report
from agent.cli.output import Part, indented, styled
from agent.output.quantities import ago, moment

if TYPE_CHECKING:
    from agent.cli.console import PlainConsole
    from agent.cli.invocation import Invocation
    from agent.service.steps import Step, StepReport

STYLES = {"done": "green", "planned": "yellow", "skipped": "yellow", "failed": "red", "unchanged": "dim"}
_WIDTH = max(map(len, STYLES))

UNIT_STATES = {
    "current": "as this version writes it",
    "outdated": "of another version, or with other options. To write it anew: learnd service install",
    "edited": "edited by hand. Move your changes into a drop-in (systemctl edit learnd), then: learnd service install",
    "missing": "missing",
}


def answer_steps(
    invocation: Invocation,
    steps: Sequence[Step],
    values: Mapping[str, Any],
    *,
    is_dry: bool,
    more: Callable[[], Mapping[str, Any]] = dict,
) -> None:
    """Run steps, and answer with them line by line. The exit status is 1 if one fails.

    Args:
        invocation: the call of the command line.
        steps: the steps.
        values: values of the answer.
        is_dry: run none of the steps.
        more: returns further values of the answer when the steps have ended.
    """
    from agent.service.steps import StepError, run_steps

    def tell(report: StepReport) -> None:
        if not invocation.is_json:
            invocation.out.print(_line(report), soft_wrap=True)

    with invocation.progress() as progress:
        task = progress.add_task("", total=len(steps))

        def begin(step: Step) -> None:
            progress.update(task, description=f"{step.action}: {step.subject}")

        def ended(report: StepReport) -> None:
            tell(report)
            progress.advance(task)

        try:
            reports = run_steps(steps, is_dry=is_dry, begin=begin, tell=ended)
        except StepError as error:
            if not invocation.is_json:
                raise
            failure = {"error": error_report(error, command=invocation.name)}
            invocation.answer({**values, "is_dry_run": is_dry, "steps": error.reports, **failure}, lambda _: None)
            raise typer.Exit(1) from error
    answer = {**values, "is_dry_run": is_dry, "steps": reports, **more()}
    invocation.answer(answer, lambda out: _show_rest(out, answer))


def show_standing(out: PlainConsole, values: Mapping[str, Any]) -> None:
    """Print the state of a service."""
    if not values["is_installed"]:
        out.print(f"not installed ({values['unit']} is missing). To install it: learnd service install")
        return
    active = values["active"] or ("unknown" if values["is_systemd_running"] else "systemd does not run")
    since = f", {moment(values['since'])} ({ago(values['since'])})" if values["since"] else ""
    rows: list[tuple[str, Part | str]] = [
        ("state", (f"{active}{since}", "green" if active == "active" else "yellow")),
        ("starts", {"enabled": "with the machine" if values["scope"] == "system" else "with your session"}.get(
            values["enabled"], values["enabled"] or "unknown")),
        ("version", values["version"] or "unknown"),
        ("program", str(values["program"] or "another than learnd")),
        ("unit", f"{values['unit']}, {UNIT_STATES[values['unit_state']]}"),
        ("settings", str(values["settings"])),
        ("data", str(values["data_dir"])),
        ("page", values["url"] or "unknown: the settings cannot be used (learnd config check)"),
    ]  # fmt: skip
    if values["restarts"]:
        rows.insert(1, ("restarts", f"{values['restarts']} by systemd since the last start"))
    for name, text in rows:
        out.print(styled((f"{name:<9}", "bold"), text), soft_wrap=True)
    if values["needs_daemon_reload"]:
        out.print("systemd has read an older unit. To have it read this one: systemctl daemon-reload")


def _line(report: StepReport) -> Any:
    return styled((f"{report.outcome.value:<{_WIDTH}}", STYLES[report.outcome.value]), f"  {indented(str(report))}")


def _show_rest(out: PlainConsole, answer: Mapping[str, Any]) -> None:
    """Print what follows the steps: what is left, the address and notes."""
    for left in answer.get("left", ()):
        listed = ", ".join(map(str, left.paths))
        out.print(f"left: {left.what} in {listed}. To remove it for ever: {left.command}", soft_wrap=True)
    if answer.get("url"):
        out.print(f"The page: {answer['url']}", soft_wrap=True)
    for note in answer.get("notes", ()):
        out.print(note, soft_wrap=True)
    if answer["is_dry_run"]:
        out.print("Nothing was changed (--dry-run).")
