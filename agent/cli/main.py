"""The command ``learnd``, assembled from the groups of commands."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, Any, Protocol, runtime_checkable

import typer
from typer.core import TyperGroup

from agent.cli import compare, config_set, curves, doctor, env_check, learn, memory_exchange, policy_watch, run, status
from agent.cli.config import config_app
from agent.cli.env import env_app
from agent.cli.few_shot import few_shot_app
from agent.cli.invocation import Invocation, root_group
from agent.cli.memory import memory_app
from agent.cli.policy import policy_app
from agent.cli.schedule import schedule_app
from agent.cli.service import service_app
from agent.output.json_values import to_json_text
from agent.output.visible_text import visible

HELP = """A service that keeps learning: RL² over a stream of Gymnasium environments.

Every command works on the data folder, whether or not the daemon runs. With --json, it answers with JSON.
"""

HELP_HINT = "Add --help after the command to see its arguments and options."
FAULT_HINT = "This is a fault in learnd; its traceback is on stderr."


@runtime_checkable
class UsageFault(Protocol):
    """A usage error of the command line: an unknown command or option, a missing or wrong argument."""

    exit_code: int

    def format_message(self) -> str:
        """Return the message of the error."""
        ...


class RootGroup(TyperGroup):
    """The root group of the command line. Usage errors quote the arguments as visible text."""

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """Parse the options before the command."""
        with _visible_faults():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Parse the command and its options, and run it."""
        with _visible_faults():
            return super().invoke(ctx)


@contextmanager
def _visible_faults() -> Iterator[None]:
    """Escape control characters in the message of a usage error that is raised inside the block."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UsageFault):
            message = visible(error.format_message())
            error.format_message = lambda: message  # type: ignore[method-assign]
        raise


app = typer.Typer(
    cls=RootGroup,
    name="learnd",
    help=HELP,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"learnd {version('learnd')}")
        raise typer.Exit


@root_group(app)
def learnd(
    invocation: Invocation,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that are given before the command."""
    del invocation, _version


run.register(app)
status.register(app)
doctor.register(app)
app.add_typer(service_app, name="service")
env_check.register(env_app)
app.add_typer(env_app, name="env")
curves.register(app)
policy_watch.register(policy_app)
app.add_typer(policy_app, name="policy")
memory_exchange.register(memory_app)
app.add_typer(memory_app, name="memory")
app.add_typer(few_shot_app, name="few-shot")
learn.register(app)
compare.register(app)
app.add_typer(schedule_app, name="schedule")
config_set.register(config_app)
app.add_typer(config_app, name="config")


def main() -> None:
    """Run the command line of this process."""
    if "--json" in sys.argv[1:]:
        sys.exit(_answer_in_json())
    app(prog_name="learnd", obj=Invocation(is_own_process=True))


def _answer_in_json() -> int:
    """Run the command line, report usage errors as JSON like all other errors, and return the exit status."""
    try:
        status = app(prog_name="learnd", standalone_mode=False, obj=Invocation(is_own_process=True))
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001  (the boundary of the process: whoever asked for JSON gets JSON)
        if not isinstance(error, UsageFault):
            return _answer_fault(error)
        asked = " ".join(["learnd", *sys.argv[1:]])
        report = {"operation": "reading", "subject": asked, "found": error.format_message(), "hint": HELP_HINT}
        sys.stdout.write(to_json_text({"error": report}) + "\n")
        return error.exit_code
    return status if isinstance(status, int) else 0


def _answer_fault(error: Exception) -> int:
    """Write the traceback of a fault in learnd to stderr and the fault as JSON to stdout; return the exit status."""
    traceback.print_exception(error)
    report = {"operation": "learnd", "subject": "", "found": f"{type(error).__name__}: {error}", "hint": FAULT_HINT}
    sys.stdout.write(to_json_text({"error": report}) + "\n")
    return 1


if __name__ == "__main__":
    main()
