"""Default paths of the data folder, the settings file and Omniglot. The module loads quickly.

Why not platformdirs: it ignores XDG variables that are not absolute ("~/state"), so the data folder of such a user
would move; and it adds 6 ms to the 50 ms of processor time of `status --json` (platformdirs 4.14).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

DATA_DIR_VARIABLE = "LEARND_DATA_DIR"
CONFIG_VARIABLE = "LEARND_CONFIG"
OMNIGLOT_VARIABLE = "LEARND_OMNIGLOT"
SYSTEM_ROOT = Path("/")
"""The folder under which a system service is looked for."""
SYSTEM_UNIT = "learnd.service"
_UNIT_FOLDERS = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system")
STORE_NAME = "learnd.db"
OMNIGLOT_HINT = (
    "Download images_background_small1.zip and images_background_small2.zip from the folder python of "
    "https://github.com/brendenlake/omniglot into one folder, and name it with --data or "
    f"${OMNIGLOT_VARIABLE}. Any folder of ALPHABET/CLASS/IMAGE can take its place."
)


def expanded(path: Path) -> Path:
    """Return a path with the home folder in the place of ``~`` or ``~USER``, as ``envs.user_paths.expanded`` does.

    The installation of the service, which imports this module, may not import that package.

    Raises:
        FileNotFoundError: the user has no home folder, or does not exist.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        found = f"there is no home folder for {path.parts[0]}"
        raise FileNotFoundError(errno.ENOENT, found, str(path)) from error


def home_folder() -> Path:
    """Return the user's home folder.

    Raises:
        FileNotFoundError: HOME is not set, and the system knows no home folder of the user.
    """
    return expanded(Path("~"))


def _config_home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or home_folder() / ".config")


def default_data_dir() -> Path:
    """Return the default data folder: the state folder of systemd, else that of the user."""
    if os.environ.get("STATE_DIRECTORY"):
        return Path(os.environ["STATE_DIRECTORY"].split(":")[0])
    state_home = os.environ.get("XDG_STATE_HOME") or str(home_folder() / ".local" / "state")
    return Path(state_home) / "learnd"


def settings_file(named: Path | None = None) -> Path | None:
    """Return the path of the settings file; None if there is none.

    It is ``named``, else LEARND_CONFIG, else a learnd.toml in the configuration folder of systemd or of the user.
    """
    named = named or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    if named is not None:
        return expanded(named).absolute()
    folders = [os.environ.get("CONFIGURATION_DIRECTORY", "").split(":")[0]]
    folders.append(str(_config_home() / "learnd"))
    candidates = (Path(folder) / "learnd.toml" for folder in folders if folder)
    return next((candidate for candidate in candidates if may_exist(candidate)), None)


def new_settings_file() -> Path:
    """Return the path at which a settings file of this process or its user is looked for, and can be made."""
    folder = os.environ.get("CONFIGURATION_DIRECTORY", "").split(":")[0]
    return Path(folder or _config_home() / "learnd") / "learnd.toml"


def may_exist(path: Path) -> bool:
    """Return whether a path exists, or lies in a folder that is closed to this user: then reading it tells why."""
    try:
        return path.exists()
    except PermissionError:
        return True


def system_unit() -> Path | None:
    """Return the unit file of the system service; None if there is none."""
    candidates = (SYSTEM_ROOT / folder / SYSTEM_UNIT for folder in _UNIT_FOLDERS)
    return next((candidate for candidate in candidates if may_exist(candidate)), None)


def has_own_installation() -> bool:
    """Return whether this process or its user has settings or a store: then no system service is looked for."""
    if os.environ.get("STATE_DIRECTORY") or os.environ.get("CONFIGURATION_DIRECTORY"):
        return True
    return settings_file() is not None or may_exist(default_data_dir() / STORE_NAME)


def omniglot_folder(named: Path | None = None) -> Path | None:
    """Return Omniglot's folder, which need not exist: the one named, else that of LEARND_OMNIGLOT, else None."""
    return named or (Path(os.environ[OMNIGLOT_VARIABLE]) if os.environ.get(OMNIGLOT_VARIABLE) else None)
