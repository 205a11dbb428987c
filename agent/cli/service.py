"""``learnd service``: installs learnd as a service of systemd, removes it, and says how it stands."""

from __future__ import annotations

import getpass
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.errors import CommandError
from agent.cli.invocation import Invocation, command, group
from agent.cli.service_answers import answer_steps, show_standing
from agent.config import paths
from agent.errors import SettingsError
from envs.user_paths import expanded

if TYPE_CHECKING:
    from agent.config.settings import Settings
    from agent.service.places import Places

service_app = typer.Typer(help="Install learnd as a service of systemd.", no_args_is_help=True)
group(service_app)

ScopeOption = Annotated[
    bool | None,
    typer.Option(
        "--system/--user",
        help="A service of the machine, or of this user; default: of the machine for root, else of the user.",
        show_default=False,
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@command(
    service_app,
    "install",
    examples=("learnd service install", "learnd service install --user --here", "learnd service install --dry-run"),
)
def install(
    invocation: Invocation,
    *,
    is_system: ScopeOption = None,
    is_here: Annotated[
        bool, typer.Option("--here", help="Run learnd from the interpreter at hand instead of a new environment.")
    ] = False,
    environment: Annotated[
        Path | None,
        typer.Option("--venv", metavar="FOLDER", help="Virtual environment to make; default for root: /opt/learnd."),
    ] = None,
    interpreter: Annotated[
        Path | None, typer.Option("--python", metavar="FILE", help="Interpreter of that environment.")
    ] = None,
    has_gpu: Annotated[bool, typer.Option("--gpu", help="Give a system service access to NVIDIA GPUs.")] = False,
    is_not_started: Annotated[
        bool, typer.Option("--no-start", help="Install and enable the service, and do not start it.")
    ] = False,
    is_dry: DryRunOption = False,
) -> None:
    """Install learnd as a service of systemd and start it, or upgrade an installed one.

    Makes a virtual environment with the locked versions, unless learnd is already installed where the service can read
    it. Writes the unit, and a settings file if there is none. Data and settings stay as they are.
    """
    from agent.service.installing import InstallOptions, install_steps
    from agent.service.places import require_root
    from agent.service.program import at_hand, chosen_program
    from agent.service.systemctl import Systemctl

    if is_here and (environment or interpreter):
        raise typer.BadParameter("it does not go with --venv and --python", param_hint="--here")
    places = _places(is_system)
    if not is_dry:
        require_root(places, operation="installing the service")
    variables = _variables(invocation, places)
    places = replace(places, settings=Path(variables.get(paths.CONFIG_VARIABLE, places.settings)))
    program = chosen_program(
        places,
        at_hand(),
        is_here=is_here,
        environment=environment,
        interpreter=interpreter,
        root=paths.SYSTEM_ROOT,
    )
    options = InstallOptions(variables=variables, has_gpu=has_gpu, is_started=not is_not_started)
    systemctl = Systemctl(places)
    steps = install_steps(places, program, options, systemctl)
    values = {"scope": places.scope, "unit": places.unit, "program": program.path, "data_dir": _data_dir(places)}

    def more() -> dict[str, Any]:
        return {"url": _url(places), "notes": _notes(places, program.path, is_started=not is_not_started)}

    answer_steps(invocation, steps, values, is_dry=is_dry, more=more)


@command(
    service_app,
    "uninstall",
    examples=("learnd service uninstall", "learnd service uninstall --purge --yes"),
)
def uninstall(
    invocation: Invocation,
    is_system: ScopeOption = None,
    is_purging: Annotated[
        bool, typer.Option("--purge", help="Remove data, settings and drop-ins too, for ever; needs --yes.")
    ] = False,
    has_consent: Annotated[bool, typer.Option("--yes", help="With --purge: remove them without asking.")] = False,
    is_dry: DryRunOption = False,
) -> None:
    """Stop the service and remove what `service install` has made. Data and settings stay, unless --purge is given.

    It says what it leaves, with the commands that remove it.
    """
    from agent.service.places import require_root
    from agent.service.removing import left_behind, removal_steps
    from agent.service.systemctl import Systemctl

    places = _places(is_system)
    if not is_dry:
        require_root(places, operation="removing the service")
    if is_purging and not (has_consent or is_dry):
        raise CommandError(
            operation=invocation.name,
            subject="--purge",
            found=f"it removes {places.data} and {places.settings.parent} for ever.",
            hint="If you mean it, add --yes. To see what would be removed, add --dry-run.",
        )
    if has_consent and not is_purging:
        raise typer.BadParameter("it goes with --purge", param_hint="--yes")
    left = left_behind(places, data_dir=_data_dir(places), is_purging=is_purging)
    steps = removal_steps(places, Systemctl(places), is_purging=is_purging)
    answer_steps(invocation, steps, {"scope": places.scope, "unit": places.unit, "left": left}, is_dry=is_dry)


@command(
    service_app,
    "status",
    examples=("learnd service status", "learnd service status --user --json"),
)
def status(invocation: Invocation, is_system: ScopeOption = None) -> None:
    """Show where the service is installed, which version, whether it runs, and whether its unit is the current one.

    What it does and learns is shown by `learnd status`.
    """
    from agent.service.standing import standing_of
    from agent.service.systemctl import Systemctl

    places = _places(is_system)
    standing = standing_of(places, Systemctl(places))
    values = asdict(standing) | {"data_dir": _data_dir(places), "url": _url(places) if standing.is_installed else None}
    invocation.answer(values, lambda out: show_standing(out, values))


def _places(is_system: bool | None) -> Places:
    """Return the places of the chosen scope, or of the default one."""
    from agent.service.places import Scope, default_scope, places_of

    scope = default_scope() if is_system is None else Scope.SYSTEM if is_system else Scope.USER
    return places_of(scope, root=paths.SYSTEM_ROOT)


def _variables(invocation: Invocation, places: Places) -> dict[str, str]:
    """Return the variables of the unit: the folder and the file that are not where the service looks by itself.

    An upgrade keeps those of the unit, unless others are named.

    Raises:
        CommandError: a folder or file is named for a system service.
    """
    from agent.service.places import Scope
    from agent.service.standing import installed_variables

    if places.scope is Scope.SYSTEM:
        if invocation.data_dir or invocation.config:
            raise CommandError(
                operation=invocation.name,
                subject="--data-dir" if invocation.data_dir else "--config",
                found=f"a system service has its data in {places.data} and its settings in {places.settings}.",
                hint="To have the data on another disk, mount it at /var/lib/private/learnd before the first start.",
            )
        return installed_variables(places)
    home, kept = paths.home_folder(), installed_variables(places)
    data = invocation.data_dir or _path_of(paths.DATA_DIR_VARIABLE)
    config = invocation.config or _path_of(paths.CONFIG_VARIABLE)
    wanted = {
        paths.DATA_DIR_VARIABLE: (data or places.data, home / ".local/state/learnd", data is not None),
        paths.CONFIG_VARIABLE: (config or places.settings, home / ".config/learnd/learnd.toml", config is not None),
    }
    absolute = {name: (expanded(path).absolute(), *rest) for name, (path, *rest) in wanted.items()}
    named = {name: str(path) for name, (path, _, is_named) in absolute.items() if is_named}
    elsewhere = {name: str(path) for name, (path, usual, _) in absolute.items() if path != usual}
    return elsewhere | kept | named


def _path_of(variable: str) -> Path | None:
    return Path(os.environ[variable]) if os.environ.get(variable) else None


def _settings(places: Places) -> Settings | None:
    """Return the settings of the service; None if they cannot be used."""
    from agent.config.loading import load_settings
    from agent.config.system_service import installed_service
    from agent.service.places import Scope
    from agent.service.standing import settings_and_data

    try:
        if places.scope is Scope.SYSTEM:
            service = installed_service()
            return None if service is None else load_settings(service=service)
        file, data = settings_and_data(places)
        named = {"data_dir": data} if data != places.data else {}
        return load_settings(file if file.exists() else None, named)
    except SettingsError:
        return None


def _data_dir(places: Places) -> Path:
    settings = _settings(places)
    return places.data if settings is None else settings.data_dir


def _url(places: Places) -> str | None:
    """Return the address of the page; None if the settings cannot be used."""
    from agent.cli.running_service import url_of

    settings = _settings(places)
    return None if settings is None else url_of(settings.service.listen)


def _notes(places: Places, program: Path, *, is_started: bool) -> list[str]:
    """Return what the user should know after an installation."""
    from agent.service.places import Scope

    notes = ["Backups: the service makes one a day by itself (jobs.backup)."]
    if places.scope is Scope.SYSTEM:
        notes.append(f"It runs as a user that systemd makes for it; its commands need root: sudo {program} status")
    elif not (paths.SYSTEM_ROOT / "var/lib/systemd/linger" / getpass.getuser()).exists():
        notes.append("It ends when you log out of your last session, unless you run: loginctl enable-linger")
    taken = {paths.DATA_DIR_VARIABLE, paths.CONFIG_VARIABLE} if places.scope is Scope.USER else set()
    names = sorted(name for name in os.environ if name.startswith("LEARND_") and name not in taken)
    if names:
        notes.append(f"Variables of this shell that the service does not have: {', '.join(names)}")
    if not is_started:
        option = "--user " if places.scope is Scope.USER else ""
        notes.append(f"To start it: systemctl {option}start learnd")
    return notes
