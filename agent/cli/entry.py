"""The entry point of the command ``learnd``, with a fast path for `status --json`.

Scripts and dashboards poll `status --json`. Loading the command line (typer, rich, pydantic) takes several times as
long as the answer itself. All other arguments go to the full command line, as does `status --json` with another option
or with a settings file, because that file may name another data folder, and without a store, because a system service
may have one. Both paths use the same function for the answer.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from agent.config.paths import DATA_DIR_VARIABLE, STORE_NAME, default_data_dir, settings_file
from agent.output.streams import ExitCode, finish_streams, prepare_streams, stdout_fault
from envs.user_paths import expanded

INTERRUPTED = 130
"""Exit status of a command that was stopped with Ctrl-C."""


def main() -> None:
    """Run the command line of this process.

    The standard streams are prepared and finished here, so that every command handles them the same way.
    """
    prepare_streams()
    code: ExitCode = 0
    try:
        if not _answers_quickly(sys.argv[1:]):
            from agent.cli.main import main as run_command_line

            run_command_line()
    except KeyboardInterrupt:  # While modules load. After that, the command line handles Ctrl-C with the same status.
        code = INTERRUPTED
    except SystemExit as end:
        code = end.code
    except OSError as error:
        if error is not stdout_fault():
            raise
    sys.exit(finish_streams(code))


def plain_status_folder(arguments: list[str]) -> Path | None:
    """Return the data folder of a plain `status --json [--data-dir FOLDER]`; None for all other arguments."""
    rest = list(arguments)
    named: str | None = os.environ.get(DATA_DIR_VARIABLE) or None
    if "--data-dir" in rest[:-1]:
        position = rest.index("--data-dir")
        named = rest[position + 1]
        del rest[position : position + 2]
    elif settings_file() is not None:
        return None
    if sorted(rest) != ["--json", "status"] or (named or "").startswith("-"):
        return None
    folder = expanded(Path(named) if named else default_data_dir()).absolute()
    if not named and not (folder / STORE_NAME).exists():
        return None
    return folder


def _answers_quickly(arguments: list[str]) -> bool:
    try:
        folder = plain_status_folder(arguments)
    except OSError:
        return False  # The full command line reports the error with a hint.
    if folder is None:
        return False
    from agent.output.json_values import to_json_text
    from agent.reports.status import status_report
    from memory.errors import MemoryStoreError
    from memory.folder import DataFolder

    try:
        text = to_json_text(status_report(DataFolder(folder)))
    except (MemoryStoreError, OSError):
        return False
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    return True


if __name__ == "__main__":
    main()
