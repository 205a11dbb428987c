"""``learnd config``: shows the settings, and checks settings files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.console import PlainConsole
from agent.cli.invocation import Invocation, command, group
from agent.cli.output import new_table, styled
from agent.errors import SettingsError
from agent.output.json_values import to_json_text

config_app = typer.Typer(help="Show, check and change the settings.", no_args_is_help=True)
group(config_app)


@command(
    config_app,
    "show",
    examples=(
        "learnd config show --changed",
        "LEARND_LEARNER__DEVICE=cpu learnd config show",
    ),
)
def show_settings(
    invocation: Invocation,
    only_changed: Annotated[
        bool, typer.Option("--changed", help="Show only settings that differ from their default.")
    ] = False,
) -> None:
    """Show every setting as `learnd run` would have it if it were started now.

    Values come from options, LEARND_* variables, the settings file and defaults. Options that a running service was
    given, such as --listen, are not shown.
    """
    from agent.config.description import describe_settings

    settings = invocation.settings
    rows = [row for row in describe_settings(settings) if not only_changed or row.value != row.default]
    values = {
        "file": None if settings.file is None else str(settings.file),
        "settings": [
            {"key": row.key, "value": row.value, "default": row.default, "description": row.description} for row in rows
        ],
    }
    invocation.answer(values, lambda out: _show(out, values))


@command(
    config_app,
    "check",
    examples=(
        "learnd config check",
        "learnd config check /etc/learnd/learnd.toml",
    ),
)
def check_settings(
    invocation: Invocation,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="File to check; default: the settings file that `learnd run` would read."
        ),
    ] = None,
) -> None:
    """Check a settings file together with the LEARND_* variables. The exit status is 1 if they are not valid.

    Settings that were removed in this release have no effect and are listed as warnings.
    """
    from agent.config.local_time import check_time_zone

    invocation.config = file or invocation.config
    try:
        settings = invocation.settings
        check_time_zone()
    except SettingsError as error:
        if not invocation.is_json:
            raise
        _answer_problems(invocation, error)
        raise typer.Exit(1) from error
    checked = str(settings.file) if settings.file else None
    warnings = [asdict(ignored) for ignored in settings.ignored]

    def show(out: PlainConsole) -> None:
        for ignored in settings.ignored:
            out.print(styled(("warning", "yellow"), f" {ignored}"))
        out.print(styled(("ok", "green"), f" {checked or 'no settings file: variables and defaults'}"))

    invocation.answer({"file": checked, "is_usable": True, "problems": [], "warnings": warnings}, show)


def _answer_problems(invocation: Invocation, error: SettingsError) -> None:
    problems = [asdict(problem) for problem in error.problems]
    invocation.write(
        to_json_text(
            {
                "file": error.subject,
                "is_usable": False,
                "problems": problems,
                "error": {
                    "operation": error.operation,
                    "subject": error.subject,
                    "found": error.found,
                    "hint": error.hint,
                },
            }
        )
    )


def _show(out: PlainConsole, values: dict[str, Any]) -> None:
    out.print(f"file: {values['file'] or 'none'}")
    table = new_table("setting", "value", "what it does")
    for row in values["settings"]:
        value = styled(_written(row["value"]))
        if row["value"] != row["default"]:
            value = styled((_written(row["value"]), "bold"), f" (default {_written(row['default'])})")
        table.add_row(row["key"], value, row["description"])
    out.print(table)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
