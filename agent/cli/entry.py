"""Entry of the command ``learnd``: answers `status --json` at once, and hands everything else to the command line.

Scripts and dashboards poll `status --json`; loading the command line (typer, rich, pydantic) would take several times
as long as the answer. Whatever is not plainly that question — another option, a settings file that may name another
data folder — goes the whole way, and gets the same answer from the same function.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from agent.config.paths import DATA_DIR_VARIABLE, default_data_dir, settings_file
from agent.output.streams import ExitCode, finish_streams, prepare_streams, stdout_fault

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended."""


def main() -> None:
    """Run the command line of this process.

    The standard streams are made ready here and finished here, so that holds for every command.
    """
    prepare_streams()
    code: ExitCode = 0
    try:
        if not _answers_quickly(sys.argv[1:]):
            from agent.cli.main import main as run_command_line

            run_command_line()
    except KeyboardInterrupt:  # while it loads; from then on the command line does the same
        code = INTERRUPTED
    except SystemExit as end:
        code = end.code
    except OSError as error:
        if error is not stdout_fault():
            raise
    sys.exit(finish_streams(code))


def plain_status_folder(arguments: list[str]) -> Path | None:
    """The data folder of a plain `status --json [--data-dir FOLDER]`; None where the arguments are anything else."""
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
    return (Path(named) if named else default_data_dir()).expanduser().absolute()


def _answers_quickly(arguments: list[str]) -> bool:
    folder = plain_status_folder(arguments)
    if folder is None:
        return False
    from agent.output.json_values import to_json_text
    from agent.reports.status import status_report
    from memory.errors import MemoryStoreError
    from memory.folder import DataFolder

    try:
        text = to_json_text(status_report(DataFolder(folder)))
    except (MemoryStoreError, OSError):
        return False  # the whole way says what is wrong, and how to mend it
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    return True


if __name__ == "__main__":
    main()
