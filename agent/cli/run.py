"""``learnd run``: runs the daemon in the foreground."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from agent.cli.invocation import Invocation, command
from agent.errors import SettingsError

if TYPE_CHECKING:
    from agent.config.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    examples = (
        "learnd run",
        "learnd run --data-dir /srv/learnd --listen 127.0.0.1:9464",
        "learnd run --for 10m",
        "learnd run --new",
    )
    command(app, "run", examples=examples)(run_service)


def run_service(
    invocation: Invocation,
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Address of the page, /metrics and /healthz; default: 127.0.0.1:9464."),
    ] = None,
    for_s: Annotated[
        str | None, typer.Option("--for", metavar="SECONDS", help='Stop after this time, such as 90 or "10m".')
    ] = None,
    new: Annotated[
        bool,
        typer.Option("--new", help="Move a lost or damaged store to another folder and create a new one."),
    ] = False,
) -> None:
    """Run the daemon in the foreground until it is stopped (Ctrl-C, SIGTERM).

    In an empty data folder, it starts with the embedded families. It writes its log to stderr.

    It does not start if learnd.db is missing or empty but other parts of a store exist. Restore a backup, or use --new
    to start with a new store. --new is rejected if the store is intact.
    """

    def load_settings() -> Settings:
        return invocation.load_settings({"service": {"listen": listen}})

    try:
        settings = load_settings()
    except SettingsError as error:
        _log_refusal(error)
        raise
    from agent.config.local_time import check_time_zone
    from agent.daemon.entry_point import run

    check_time_zone()
    exit_code = run(settings, stop_after_s=_seconds(for_s), is_new=new, load_settings=load_settings)
    if invocation.is_json:
        invocation.answer({"state": "stopped", "exit_code": exit_code, "data_dir": settings.data_dir}, lambda _: None)
    if invocation.is_own_process:
        _end_process(exit_code)
    if exit_code:
        raise typer.Exit(exit_code)


def _log_refusal(error: SettingsError) -> None:
    """Log wrong settings as an event of level error, if stderr is the journal. Its lines have no level otherwise."""
    import structlog

    from agent.config.settings import Settings
    from agent.journal import is_journal
    from agent.logs import configure_logs

    if is_journal(sys.stderr):
        configure_logs(Settings(), process="control")
        problems = [str(problem) for problem in error.problems]
        structlog.get_logger(__name__).error("not started: settings are wrong", file=error.subject, problems=problems)
        raise typer.Exit(2) from error


def _end_process(exit_code: int) -> NoReturn:
    """Exit at once. Everything is closed, and the interpreter's teardown would take a second on a busy machine."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    from agent.config.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not {error}", param_hint="--for") from error
