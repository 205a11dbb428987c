"""``learnd status``: shows the state of the daemon, the running jobs, and the state and scores of every family."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from agent.cli.console import PlainConsole
from agent.cli.invocation import NO_DATA, Invocation, command
from agent.cli.output import in_colour, indented, new_table, progress_text, styled
from agent.output.json_values import to_json_text
from agent.output.quantities import ago, moment, short_count, short_duration, short_score, with_error
from agent.output.visible_text import visible_line
from agent.reports.status import status_report

CLEAR_SCREEN = "\x1b[H\x1b[2J"

LEAST_FORGETTING_SHOWN = 0.005
"""The column is absent while all forgetting, or gain, is smaller."""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    examples = (
        "learnd status",
        "learnd status --watch --every 5",
        "learnd status --json",
        "learnd status --url http://127.0.0.1:9464",
    )
    command(app, "status", examples=examples)(status)


def status(
    invocation: Invocation,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until interrupted.")] = False,
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Time between refreshes of --watch.")] = 2.0,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Ask the service at this address instead of reading the data folder."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="File with the service's token, for --url.")
    ] = None,
) -> None:
    """Show the state of the daemon, the running jobs, and the state and scores of every family.

    The command works whether or not the daemon runs. With --url it asks a running service, also one whose data folder
    you may not read.
    """
    if token_file is not None and url is None:
        raise typer.BadParameter("it goes with --url", param_hint="--token-file")
    if url is None and (error := invocation.no_store_error()) is not None:
        raise error
    if not watch:
        report = _report(invocation, url, token_file)
        invocation.answer(report, lambda out: out.print(_page(report)))
        return
    while True:
        _show_again(invocation, _report(invocation, url, token_file))
        time.sleep(every)


def _report(invocation: Invocation, url: str | None, token_file: Path | None) -> dict[str, Any]:
    """Return the status report of the data folder, or of the service at an address."""
    if url is None:
        return status_report(invocation.folder)
    from agent.cli.remote_status import remote_status

    return remote_status(url, token_file=token_file)


def families_table(families: Sequence[dict[str, Any]]) -> RenderableType:
    """Return a table of families with their states and counts.

    It has held-out returns if a family has no score, and forgetting if a family has forgotten something.
    """
    has_forgetting = any(abs(f["forgetting"] or 0.0) >= LEAST_FORGETTING_SHOWN for f in families)
    has_returns = any(f["eval_score"] is None and f["eval_return"] is not None for f in families)
    held_out = ("held-out return",) if has_returns else ()
    forgetting = ("forgetting",) if has_forgetting else ()
    numbers = ("env steps", "trials", "episodes", "updates", "score", *held_out, *forgetting, "trial return")
    table = new_table("family", "state", *numbers, "evaluated", right=numbers)
    table.caption, table.caption_justify = _legend(has_returns=has_returns), "left"
    for family in families:
        returned = with_error(family["eval_return"], family["eval_return_standard_error"])
        table.add_row(
            family["name"],
            in_colour(str(family["state"])),
            short_count(family["env_steps"]),
            short_count(family["trials"]),
            short_count(family["episodes"]),
            short_count(family["meta_updates"]),
            with_error(family["eval_score"], family["eval_score_standard_error"]),
            *([returned] if has_returns else []),
            *([short_score(family["forgetting"])] if has_forgetting else []),
            with_error(family["trial_return"], None),
            ago(family["evaluated_at"]),
        )
    return table


def _legend(*, has_returns: bool) -> str:
    evaluated = "score, held-out return" if has_returns else "score"
    return (
        "trial return: in the newest slice of practice"
        f" · {evaluated}: in the newest evaluation, on tasks never trained on"
    )


def _page(report: dict[str, Any]) -> Group:
    parts: list[RenderableType] = [_headline(report), *_trainer_lines(report)]
    parts += [styled(("!", "red"), f" {indented(str(reason))}") for reason in report["health"]["reasons"]]
    if report["needs_restart"]:
        keys = ", ".join(report["needs_restart"])
        parts.append(styled(("!", "yellow"), f" restart the service to take over: {keys}"))
    parts += [
        styled(("!", "yellow"), f" {problem['file']}: {indented(str(problem['found']))}")
        for problem in report["family_files"]
    ]
    parts += [_running_line(run) for run in report["running"]]
    if report["families"]:
        parts.append(families_table(report["families"]))
        parts += [
            styled(("!", "yellow"), f" {family['name']}: {indented(family['state_reason'])}")
            for family in report["families"]
            if family["state_reason"] and family["state"] in {"refused", "quarantined"}
        ]
        parts += [_failure_line(family) for family in report["families"] if family["reference_failure"]]
    elif report["state"] == "stopped":
        parts.append(NO_DATA)
    else:
        parts.append("no family yet: learnd env add ENTRY adds one")
    return Group(*parts)


def _headline(report: dict[str, Any]) -> Text:
    from memory.files.backup_record import RECORD_NAME

    version = report["policy_version"]
    is_backup = (Path(report["data_dir"]) / RECORD_NAME).exists()
    pieces = []
    if is_backup:
        pieces.append("a backup")
    elif report["has_ended_in_order"] is False:
        pieces.append(f"without an orderly end, last seen {ago(report['last_seen_at'])}; start it again: learnd run")
    if report["pid"] is not None:
        pieces.append(f"pid {report['pid']}")
    if report["since"] is not None:
        pieces.append(f"since {moment(report['since'])} ({short_duration(time.time() - report['since'])})")
    if report["device"]:
        pieces.append(f"on {report['device']}")
    pieces.append(f"policy version {version}" if version is not None else "no policy published yet")
    places = [report["data_dir"], *([f"http://{report['listen']}/"] if report["listen"] else [])]
    state = in_colour(report["state"])
    separator = " " if report["has_ended_in_order"] is False and not is_backup else " · "
    facts = visible_line(separator + " · ".join(pieces))
    return styled("learnd ", state, facts, "\n", (visible_line(" · ".join(places)), "dim"))


def _trainer_lines(report: dict[str, Any]) -> list[Text]:
    trainer = report["learner"]
    if not isinstance(trainer, dict) or report["state"] == "stopped":
        return []
    pid = f", pid {trainer['pid']}" if trainer.get("pid") is not None else ""
    return [styled(f"trainer {trainer.get('state')}{pid}")]


def _running_line(run: dict[str, Any]) -> Text:
    family = f" {run['family']}" if run["family"] else ""
    reason = f" ({indented(run['reason'])})" if run["reason"] else ""
    took = short_duration(time.time() - run["started_at"])
    return styled(f"now: {run['job']}", (family, "bold"), f"{reason} for {took}{progress_text(run['progress'] or {})}")


def _failure_line(family: dict[str, Any]) -> Text:
    failure = family["reference_failure"]
    found = f"its reference could not be measured ({failure['count']} failed): {indented(failure['error'])}"
    return styled(("!", "yellow"), f" {family['name']}: {found}")


def _show_again(invocation: Invocation, report: dict[str, Any]) -> None:
    """Redraw the page on a terminal; elsewhere, append a page or a JSON line."""
    if invocation.is_json:
        invocation.write(to_json_text(report, is_indented=False))
        return
    out: PlainConsole = invocation.out
    if out.is_terminal:
        out.file.write(CLEAR_SCREEN)
    out.print(_page(report))
    out.file.flush()
