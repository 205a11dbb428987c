"""The steps that make the virtual environment of a service: the locked versions, without what only tests need."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

from agent.service.errors import ServiceError
from agent.service.program import MARK, Program
from agent.service.steps import Step

_PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")
_PIP_TIMEOUT_S = 3600.0
_TOLD_LINES = 12


def environment_steps(program: Program) -> list[Step]:
    """Return the steps that make or upgrade the environment of a program; none if it is used as it is.

    torch comes first and exactly: left to another package's range, pip would take the newest CUDA build.

    Raises:
        ServiceError: the folder holds something else, or an environment of another Python.
    """
    source = program.source
    if source is None:
        return []
    folder = program.environment
    is_there = _is_environment(folder)
    if is_there:
        _require_same_python(folder, program.interpreter)
    python = folder / "bin/python"
    torch = _locked_torch(source)
    lock = source / "requirements.lock"

    def make() -> None:
        try:
            _call([str(program.interpreter), "-m", "venv", str(folder)])
        except BaseException:
            # Without pip, the next installation would take it for a whole one.
            shutil.rmtree(folder, ignore_errors=True)
            raise
        (folder / MARK).touch()

    def install(*arguments: str) -> Step:
        command = [str(python), *_PIP, "install", *arguments]
        what = "learnd" if arguments[-1] == str(source) else "torch" if arguments[-1] == torch else "the other packages"
        detail = str(source) if what == "learnd" else torch if what == "torch" else str(lock)

        def run() -> None:
            _call(command)

        return Step(action="install", subject=what, run=run, detail=detail)

    return [
        Step(action="make the environment", subject=str(folder), run=None if is_there else make),
        install(torch),
        install("--constraint", str(lock), *_dependencies(source)),
        install("--no-deps", "--force-reinstall", str(source)),
    ]


def installed_version(program: Path) -> str | None:
    """Return the version of learnd in the environment of a program, by its metadata; None if it is not there."""
    return next((re.sub(r"^learnd-(.*)\.dist-info$", r"\1", path.name) for path in _metadata_of(program)), None)


def installed_at(program: Path) -> float | None:
    """Return the time at which learnd was installed into the environment of a program; None if it is not there."""
    return max((path.stat().st_mtime for path in _metadata_of(program)), default=None)


def _metadata_of(program: Path) -> Iterator[Path]:
    """Return the folders with the metadata of learnd in the environment of a program."""
    return program.parent.parent.glob("lib/python3*/site-packages/learnd-*.dist-info")


def _is_environment(folder: Path) -> bool:
    """Return whether a folder is a virtual environment; False if it is missing or empty.

    Raises:
        ServiceError: it holds something else.
    """
    if (folder / "bin/python").exists():
        return True
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ServiceError(
            operation="making the environment",
            subject=str(folder),
            found="it exists, and is no virtual environment.",
            hint="Remove it, or name another folder: --venv FOLDER",
        )
    return False


def _require_same_python(folder: Path, interpreter: Path) -> None:
    """Check that an environment has the Python that it would be made with.

    Raises:
        ServiceError: it has another one, or one that does not run.
    """
    asked = ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    has, wanted = (_call([str(python), *asked]).strip() for python in (folder / "bin/python", interpreter))
    if has != wanted:
        raise ServiceError(
            operation="upgrading the environment",
            subject=str(folder),
            found=f"it has Python {has}, and {interpreter} is Python {wanted}.",
            hint=f"Keep its Python: --python FILE. Or make it anew (packages that you added are lost): rm -r {folder}",
        )


def _locked_torch(source: Path) -> str:
    lines = (source / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("torch=="))


def _dependencies(source: Path) -> list[str]:
    """Return what learnd needs to run; the constraints give the versions."""
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [str(dependency) for dependency in project["dependencies"]]


def _call(command: list[str]) -> str:
    """Run a program, whose files every user can read, and return its output.

    Raises:
        ServiceError: it fails.
    """
    subject = " ".join(command)
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            umask=0o022,
            timeout=_PIP_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServiceError(operation="running", subject=subject, found=f"{error}.") from error
    if ended.returncode != 0:
        told = "\n".join((ended.stderr or ended.stdout).strip().splitlines()[-_TOLD_LINES:])
        raise ServiceError(operation="running", subject=subject, found=told or f"exit status {ended.returncode}")
    return ended.stdout
