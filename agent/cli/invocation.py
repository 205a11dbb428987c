"""The shared parts of all commands: their common options, access to the store, answers and error reports."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.markup import escape
from typer.core import TyperCommand

from agent.cli.console import PlainConsole
from agent.cli.errors import CommandError, error_report, unknown_name_error
from agent.cli.output import indented, styled
from agent.config.paths import DATA_DIR_VARIABLE
from agent.errors import AgentError, SettingsError
from agent.output.json_values import to_json_text
from agent.output.streams import stdout_fault
from agent.output.visible_text import visible_line
from envs.errors import EnvsError
from memory.errors import MemoryStoreError, StoreMissingError

if TYPE_CHECKING:
    from rich.progress import Progress

    from agent.config.settings import Settings
    from agent.config.system_service import SystemService
    from memory.folder import DataFolder
    from memory.records import Family
    from memory.store import Store

NO_DATA = "no data yet: run learnd run"

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="FOLDER",
        help="Data folder of learnd; default: $LEARND_DATA_DIR, the settings, or ~/.local/state/learnd.",
        rich_help_panel="For every command",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file (TOML).", rich_help_panel="For every command"),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Answer with JSON on stdout.", rich_help_panel="For every command"),
]


class Invocation:
    """A call of the command line, with its shared options, data folder and answer.

    Args:
        is_own_process: whether the process was started for this call only, and exits with it.
    """

    def __init__(self, *, is_own_process: bool = False) -> None:
        self.is_own_process = is_own_process
        self.data_dir: Path | None = None
        self.config: Path | None = None
        self.is_json = False
        self.name = "learnd"

    def take_options(self, *, data_dir: Path | None, config: Path | None, is_json: bool) -> None:
        """Set the shared options given at one level of the command. Inner levels override outer levels."""
        self.data_dir = data_dir or self.data_dir
        self.config = config or self.config
        self.is_json = is_json or self.is_json

    @cached_property
    def settings(self) -> Settings:
        """The settings from file, environment and options; those of the system service if the command works on it."""
        from agent.config.loading import load_settings

        return load_settings(self.config, self.shared_options, service=self.system_service)

    @property
    def shared_options(self) -> dict[str, Any]:
        """The settings that the options of every command give."""
        return {} if self.data_dir is None else {"data_dir": self.data_dir}

    @cached_property
    def system_service(self) -> SystemService | None:
        """The system service that the command works on; None if it works on a folder of its user."""
        from agent.config.system_service import service_for

        return service_for(data_dir=self.data_dir, config=self.config)

    def load_settings(self, overrides: dict[str, Any]) -> Settings:
        """Return the settings of this process, overridden by a command's own options."""
        from agent.config.loading import load_settings

        return load_settings(self.config, {**self.shared_options, **overrides})

    @cached_property
    def folder(self) -> DataFolder:
        """The data folder."""
        from memory.folder import DataFolder

        return DataFolder(self.settings.data_dir)

    @contextmanager
    def reading_if_any(self, *, is_optional: bool = False) -> Iterator[Store | None]:
        """Yield the store, open for reading; None if there is no store yet.

        Args:
            is_optional: the command does its work without a store too.

        Raises:
            CommandError: there is no store yet, and a running learnd has another data folder.
            StoreLostError: the database is lost; other parts of a store are in the data folder.
        """
        from memory.store import Store

        try:
            store = Store.open(self.folder, is_reader=True)
        except StoreMissingError:
            if not is_optional and (error := self.no_store_error()) is not None:
                raise error from None
            yield None
            return
        with store:
            yield store

    @contextmanager
    def reading(self) -> Iterator[Store]:
        """Yield the store, open for reading.

        Raises:
            CommandError: there is no store yet.
        """
        with self.reading_if_any() as store:
            if store is None:
                raise self.no_data_error()
            yield store

    @contextmanager
    def writing(self, *, is_created: bool = False) -> Iterator[Store]:
        """Yield the store, open for writing a user's request.

        Args:
            is_created: create the data folder and the store if they do not exist.

        Raises:
            CommandError: there is no store yet.
            StoreLostError: the database is lost; other parts of a store are in the data folder.
            ForeignStoreError: the database belongs to another store than the data folder.
        """
        from memory.ownership import give_to_owner
        from memory.store import Store

        try:
            store = Store.open(self.folder, must_exist=not is_created)
        except StoreMissingError as error:
            raise self.no_data_error() from error
        try:
            with store:
                yield store
        finally:
            give_to_owner(self.folder.path)

    def no_data_error(self) -> CommandError:
        """Return the error of a command that needs a store when there is none."""
        return self.no_store_error() or CommandError(
            operation=self.name,
            subject=str(self.folder.path),
            found=f"{NO_DATA}.",
            hint="Name another folder with --data-dir.",
        )

    @cached_property
    def out(self) -> PlainConsole:
        """The console for answers, on stdout."""
        return PlainConsole()

    @cached_property
    def err(self) -> PlainConsole:
        """The console for notes, progress and errors, on stderr."""
        return PlainConsole(is_stderr=True)

    @property
    def is_progress_shown(self) -> bool:
        """Return whether progress is shown: stderr is a terminal, and the answer is not JSON."""
        return not self.is_json and sys.stderr.isatty()

    def note(self, text: str) -> None:
        """Print a note on stderr, unless the answer is JSON."""
        if not self.is_json:
            self.err.print(text)

    def write(self, text: str) -> None:
        """Write JSON to stdout, and flush it."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def answer(self, values: Any, show: Callable[[PlainConsole], None]) -> None:
        """Write the answer: ``values`` as JSON, or the text that ``show`` prints."""
        if self.is_json:
            self.write(to_json_text(values))
        else:
            show(self.out)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Yield a progress display on stderr. It is hidden in JSON mode and if stderr is not a terminal."""
        from rich.progress import BarColumn, Progress, SpinnerColumn, TimeElapsedColumn

        from agent.cli.progress import DescriptionColumn

        spinner = SpinnerColumn("dots" if self.err.is_unicode else "line")
        columns = (spinner, DescriptionColumn(), BarColumn(bar_width=24), TimeElapsedColumn())
        with Progress(*columns, console=self.err, transient=True, disable=not self.is_progress_shown) as progress:
            yield progress

    def fail(self, error: BaseException) -> NoReturn:
        """Report an error, and exit with status 1.

        The status is 2 if the settings of `run` are not valid, so that a service manager does not restart it.
        """
        if error is stdout_fault():  # It is reported at the end of the process.
            raise typer.Exit(1)
        report = error_report(self._explained(error), command=self.name)
        if not self.is_json:
            self._show_error(report)
        else:
            with contextlib.suppress(OSError):
                self.write(to_json_text({"error": report}))
        raise typer.Exit(2 if isinstance(error, SettingsError) and self.name.endswith("run") else 1)

    def _explained(self, error: BaseException) -> BaseException:
        """Return an error that names the running service, if this user may not read its data folder."""
        if not isinstance(error, PermissionError) and not isinstance(error.__cause__, PermissionError):
            return error
        if isinstance(error, SettingsError) or "settings" not in self.__dict__:
            return error
        from agent.cli.running_service import running_at, url_of

        running = running_at(self.settings.service.listen)
        if running is None and self.system_service is None:
            return error
        owner = "the system service" if self.system_service else "another user"
        return CommandError(
            operation=self.name,
            subject=str(self.settings.data_dir),
            found=f"this user may not use the data folder of {owner}. {running or ''}".rstrip(),
            hint="Run the command as root (sudo) or as the service's user, or name another folder with --data-dir."
            + (f" Every user may run: learnd status --url {url_of(self.settings.service.listen)}" if running else ""),
        )

    def no_store_error(self) -> CommandError | None:
        """Return an error if the command found no store, and a running learnd has another data folder.

        A folder that the user named is not questioned.
        """
        if self.data_dir is not None or os.environ.get(DATA_DIR_VARIABLE) or self.folder.store_path.exists():
            return None
        from agent.cli.running_service import running_at

        running = running_at(self.settings.service.listen)
        if running is None or self.folder.holder_pid() is not None:
            return None
        return CommandError(
            operation=self.name,
            subject=str(self.folder.path),
            found=f"there is no data in it yet. {running}",
            hint="Its data folder is another one: name it with --data-dir.",
        )

    def _show_error(self, report: dict[str, Any]) -> None:
        subject = f" {visible_line(report['subject'])}" if report["subject"] else ""
        told = f" {report['operation']}{subject}: {indented(report['found'])}"
        self.err.print(styled(("error:", "red"), told), soft_wrap=True)
        if report["hint"]:
            self.err.print(indented(report["hint"]), soft_wrap=True)


def find_family(store: Store, name: str, *, operation: str) -> Family:
    """Return the family of that name.

    Raises:
        CommandError: there is no such family; the hint lists the most similar names.
    """
    families = {family.name: family for family in store.families.all()}
    if name not in families:
        raise unknown_name_error(operation=operation, subject=name, kind="family", known=families)
    return families[name]


def command(
    app: typer.Typer, name: str, *, examples: Sequence[str], cls: type[TyperCommand] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command that also takes the shared options and reports its errors in one form.

    The function's first argument is the :class:`Invocation`. The other arguments are declared as for typer. The
    function's docstring is the help text of the command.

    Args:
        app: the group of the command.
        name: the name of the command.
        examples: command lines for its help.
        cls: a command class; None for the default.
    """
    epilog = "\n\n".join(("Examples:", *(f"  {escape(example)}" for example in examples)))

    def register(function: Callable[..., None]) -> Callable[..., None]:
        app.command(name, help=_unwrapped(function.__doc__ or ""), epilog=epilog, cls=cls)(
            _with_shared_options(function)
        )
        return function

    return register


def _unwrapped(text: str) -> str:
    """Return a docstring with each paragraph on one line, so that it wraps at the terminal's width."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def group(app: typer.Typer) -> None:
    """Let a group of commands take the shared options between the group's name and the command's name."""

    def take_options(invocation: Invocation) -> None:
        del invocation

    root_group(app)(take_options)


def root_group(app: typer.Typer) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function that a group runs before its command. The function also takes the shared options."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        app.callback()(_with_shared_options(function))
        return function

    return register


def _with_shared_options(function: Callable[..., None]) -> Callable[..., None]:
    @wraps(function)
    def run(ctx: typer.Context, **arguments: Any) -> None:
        invocation = ctx.ensure_object(Invocation)
        invocation.take_options(
            data_dir=arguments.pop("data_dir"), config=arguments.pop("config"), is_json=arguments.pop("is_json")
        )
        invocation.name = ctx.command_path
        try:
            function(invocation, **arguments)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except (AgentError, EnvsError, MemoryStoreError, OSError) as error:
            invocation.fail(error)

    _, *own = inspect.signature(function, eval_str=True).parameters.values()
    shared = (("data_dir", DataDirOption, None), ("config", ConfigOption, None), ("is_json", JsonOption, False))
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("ctx", keyword, annotation=typer.Context),
        *(parameter.replace(kind=keyword) for parameter in own),
        *(inspect.Parameter(name, keyword, annotation=kind, default=default) for name, kind, default in shared),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run
