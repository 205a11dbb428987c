"""``learnd config set``: changes a setting in the settings file, and has a running service take it over."""

from __future__ import annotations

import codecs
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.errors import CommandError
from agent.cli.invocation import Invocation, command
from agent.cli.output import styled
from agent.config.paths import CONFIG_VARIABLE

if TYPE_CHECKING:
    from agent.cli.console import PlainConsole


def register(app: typer.Typer) -> None:
    """Add the command to the group ``config``."""
    examples = (
        "learnd config set jobs.evaluate 5m",
        "learnd config set practise.windows 22:00-06:00",
        "learnd config set service.log_level debug --no-reload",
    )
    command(app, "set", examples=examples)(set_setting)


def set_setting(
    invocation: Invocation,
    key: Annotated[str, typer.Argument(help="Dotted name of the setting, such as jobs.evaluate.")],
    value: Annotated[str, typer.Argument(help='The new value, such as 5m, 3, true, "cron: 0 3 * * *" or ["a", "b"].')],
    is_reloading: Annotated[
        bool, typer.Option("--reload/--no-reload", help="Have a running service read its own settings file again.")
    ] = True,
) -> None:
    """Change a setting in the settings file. Everything else in the file stays as it is, with its comments.

    The settings are checked before the file is written. A running service then reads its own settings file again,
    unless it was started in a terminal; what needs a restart is named.
    """
    from agent.config.changes import NEEDS_RESTART
    from agent.config.editing import edited, toml_value
    from agent.config.loading import load_settings
    from agent.output.files import write_output_file

    _require_setting(key)
    file = _file_of(invocation)
    mark, text = _content(file)
    changed = edited(text, key, toml_value(value))
    settings = load_settings(file, invocation.shared_options, service=invocation.system_service, text=changed)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_output_file(file.resolve(), mark + changed.encode())
    needs_restart = key in NEEDS_RESTART
    values = {
        "file": str(file),
        "key": key,
        "value": _value_of(settings.model_dump(mode="json"), key),
        "needs_restart": needs_restart,
        "reloaded_pid": None,
        "note": "",
    }
    if variable := _variable_of(key):
        values["note"] = f"the variable {variable} overrides it"
    elif needs_restart:
        values["note"] = "restart the service to take it over"
    elif is_reloading:
        values |= _reloaded(invocation, file)
    invocation.answer(values, lambda out: _show(out, values))


def _require_setting(key: str) -> None:
    """Raise if there is no such setting; keys of ``rl2`` are checked with its values."""
    from agent.cli.errors import unknown_name_error
    from agent.config.settings import setting_fields

    names = {name for name, _ in setting_fields()} - {"rl2"}
    if key not in names and not key.startswith("rl2."):
        raise unknown_name_error(operation="changing", subject=key, kind="setting", known=names)


def _file_of(invocation: Invocation) -> Path:
    """Return the settings file, which need not exist."""
    from agent.config.paths import new_settings_file, settings_file

    if invocation.system_service is not None:
        return invocation.system_service.new_settings_file
    return settings_file(invocation.config) or new_settings_file()


def _content(file: Path) -> tuple[bytes, str]:
    """Return the byte order mark and the text of a file; both are empty if there is none."""
    from agent.config.toml_text import TomlTextError, decoded

    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return b"", ""
    try:
        text = decoded(content)
    except TomlTextError as error:
        raise CommandError(operation="reading", subject=str(file), found=f"{error.found}.") from error
    return codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b"", text


def _value_of(values: Any, key: str) -> Any:
    for name in key.split("."):
        values = values[name]
    return values


def _variable_of(key: str) -> str:
    """Return the variable of this process that overrides a setting; empty if none does."""
    variable = f"LEARND_{key.replace('.', '__').upper()}"
    return variable if os.environ.get(variable) else ""


def _reloaded(invocation: Invocation, file: Path) -> dict[str, Any]:
    """Have a running service read its settings file again; return its process, or why it was not asked."""
    pid = invocation.folder.holder_pid()
    if pid is None:
        return {}
    if not takes_hang_up(pid):
        return {"note": f"the running service (pid {pid}) was started in a terminal: restart it to take it over"}
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        return {}
    except PermissionError:
        return {"note": f"the running service (pid {pid}) is another user's: sudo systemctl reload learnd"}
    is_named = invocation.config is not None or bool(os.environ.get(CONFIG_VARIABLE))
    which = f", which may not be {file}" if is_named else ""
    return {"reloaded_pid": pid, "note": f"the running service (pid {pid}) reads its own settings file again{which}"}


def takes_hang_up(pid: int, *, processes: Path = Path("/proc")) -> bool:
    """Return whether SIGHUP makes a process reload its settings: it has no terminal and does not ignore the signal.

    A service that was started in a terminal takes the signal for the end of the terminal and stops.
    """
    try:
        fields = (processes / str(pid) / "stat").read_text().rpartition(")")[2].split()
        status = (processes / str(pid) / "status").read_text()
    except OSError:
        return False
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    has_terminal = fields[4] != "0"
    return not has_terminal and not ignored & 1 << (signal.SIGHUP - 1)


def _show(out: PlainConsole, values: dict[str, Any]) -> None:
    import json

    value = values["value"]
    written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    out.print(styled(("ok", "green"), f" {values['key']} = {written} in {values['file']}"))
    if values["note"]:
        out.print(values["note"])
