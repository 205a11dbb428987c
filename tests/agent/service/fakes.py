"""Programs in the place of systemctl and of a Python interpreter, which record their calls and keep a state."""

from __future__ import annotations

import shlex
from pathlib import Path

SYSTEMCTL = """\
#!/bin/sh
state={state}
echo "$@" >> "$state/calls"
[ "$1" = --user ] && shift
[ "$1" = --no-pager ] && shift
verb=$1
shift
if [ -e "$state/fails-$verb" ]; then cat "$state/fails-$verb" >&2; exit 1; fi
value() {{ cat "$state/$1" 2>/dev/null || echo "$2"; }}
case $verb in
show)
    echo "ActiveState=$(value active inactive)"
    echo "ActiveEnterTimestamp=$(value since '')"
    echo "StateChangeTimestamp=$(value since '')"
    echo "MainPID=$(value pid 0)"
    echo "NRestarts=$(value restarts 0)"
    echo "NeedDaemonReload=$(value needs-reload no)"
    ;;
start | restart) echo active > "$state/active"; echo "@$(date +%s)" > "$state/since"; echo 4321 > "$state/pid" ;;
stop) echo inactive > "$state/active" ;;
enable) echo enabled > "$state/enabled" ;;
disable) echo disabled > "$state/enabled"; case "$*" in *--now*) echo inactive > "$state/active" ;; esac ;;
is-enabled) value enabled disabled ;;
daemon-reload) rm -f "$state/needs-reload" ;;
esac
"""

PYTHON = """\
#!/bin/sh
echo "$@" >> {log}
case "$1 $2" in
"-c "*) cat {log}.version 2>/dev/null || echo 3.11 ;;
"-m venv")
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    [ ! -e {log}.without-pip ] || {{ echo "ensurepip is not available" >&2; exit 1; }}
    ;;
"-m pip")
    case "$*" in *torch==*) [ ! -e {log}.offline ] || {{ echo "no network" >&2; exit 1; }} ;; esac
    case "$*" in
    *--force-reinstall*)
        prefix=$(dirname "$(dirname "$0")")
        mkdir -p "$prefix/lib/python3.11/site-packages/learnd-9.9.9.dist-info"
        touch "$prefix/lib/python3.11/site-packages/learnd-9.9.9.dist-info"
        echo '#!/bin/sh' > "$prefix/bin/learnd"
        chmod 755 "$prefix/bin/learnd"
        ;;
    esac
    ;;
esac
"""


class FakeSystemctl:
    """A systemctl on PATH.

    Args:
        folder: an existing folder for the program and its state.
    """

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "systemctl-bin"
        self._state = folder / "systemctl-state"
        self.programs.mkdir()
        self._state.mkdir()
        program = self.programs / "systemctl"
        program.write_text(SYSTEMCTL.format(state=shlex.quote(str(self._state))))
        program.chmod(0o755)

    @property
    def changes(self) -> list[str]:
        """The calls that change something, in order."""
        calls = (self._state / "calls").read_text().splitlines() if (self._state / "calls").exists() else []
        plain = [call.replace("--no-pager ", "") for call in calls]
        return [call for call in plain if not {"show", "is-enabled"} & set(call.split())]

    def forget_calls(self) -> None:
        """Forget the calls until now."""
        (self._state / "calls").unlink(missing_ok=True)

    def set(self, name: str, value: str) -> None:
        """Set a value of the state: active, enabled, since, pid, restarts, needs-reload."""
        (self._state / name).write_text(value)

    def get(self, name: str) -> str:
        """Return a value of the state."""
        return (self._state / name).read_text().strip()

    def fail(self, verb: str, message: str) -> None:
        """Have a verb fail from now on."""
        (self._state / f"fails-{verb}").write_text(message)

    def mend(self, verb: str) -> None:
        """Have a verb succeed again."""
        (self._state / f"fails-{verb}").unlink()


class FakePython:
    """An interpreter that makes environments without content, and whose pip installs a learnd of version 9.9.9.

    Args:
        folder: an existing folder for the program and its record.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "python3.11"
        self._log = folder / "python-calls"
        self.path.write_text(PYTHON.format(log=shlex.quote(str(self._log))))
        self.path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """The calls, in order."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    def set_offline(self, *, is_offline: bool) -> None:
        """Have the installation of torch fail, or no longer."""
        mark = self._log.with_name("python-calls.offline")
        if is_offline:
            mark.touch()
        else:
            mark.unlink()

    def set_without_pip(self, *, is_without: bool) -> None:
        """Have environments fail half made, as on a Debian without python3-venv, or no longer."""
        mark = self._log.with_name("python-calls.without-pip")
        if is_without:
            mark.touch()
        else:
            mark.unlink()

    def set_version(self, version: str) -> None:
        """Have interpreters that are asked from now on say this version."""
        self._log.with_name("python-calls.version").write_text(version)
