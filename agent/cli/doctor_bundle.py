"""``learnd doctor --bundle``: an archive for those who help, without secrets and without data of environments."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.bundle_parts import FAILURES, Part, parts_of
from agent.cli.errors import error_report
from agent.errors import AgentError
from agent.output.files import check_output_file, is_device, write_output_file
from agent.output.json_values import to_json_text, to_json_values
from agent.output.masking import masked_text, masked_values
from agent.output.quantities import short_size
from envs.errors import EnvsError
from envs.user_paths import expanded
from memory.errors import MemoryStoreError

if TYPE_CHECKING:
    from agent.cli.console import PlainConsole
    from agent.cli.invocation import Invocation

MODE = 0o600
ABOUT = """\
A support bundle of learnd, made by `learnd doctor --bundle`. manifest.json lists the parts, and why a part is missing.
It has no observations, actions, trials or declarations of environments. What looks like a secret is masked as ***, but
look through it before you give it away: names of families, paths and error messages of environments are in it.
"""


@dataclass(frozen=True, kw_only=True)
class WrittenPart:
    """A part of a written bundle.

    Attributes:
        name: its file in the bundle.
        size_bytes: its size; 0 if it failed.
        error: why it is missing; empty if it is there.
    """

    name: str
    size_bytes: int
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class WrittenBundle:
    """A written bundle.

    Attributes:
        file: the archive.
        size_bytes: its size.
        parts: its parts, with those that failed.
    """

    file: Path
    size_bytes: int
    parts: Sequence[WrittenPart]


def check_bundle_file(path: Path) -> None:
    """Raise unless a bundle can be written to a path.

    Raises:
        OutputFileError: it is a link, a folder or a device.
    """
    from agent.output.files import OutputFileError

    check_output_file(path, operation="writing the bundle")
    if is_device(path):
        found = "it is a device."
        raise OutputFileError(operation="writing the bundle", subject=str(path), found=found, hint="Name a file.")


def write_bundle(path: Path, invocation: Invocation, report: dict[str, Any]) -> WrittenBundle:
    """Write a bundle, which only this user may read. Parts that cannot be read are named in it.

    Args:
        path: the archive, a gzipped tar file.
        invocation: the call of the command line.
        report: doctor's report.

    Raises:
        OutputFileError: the file cannot be written.
    """
    made_at = time.time()
    folder = f"learnd-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(made_at))}"
    secrets = _secrets(invocation)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:

        def add(name: str, text: str) -> int:
            data = text.encode("utf-8", errors="backslashreplace")
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size, info.mode, info.mtime = len(data), MODE, int(made_at)
            archive.addfile(info, io.BytesIO(data))
            return len(data)

        add("README.txt", ABOUT)
        written = []
        for part in parts_of(invocation, report):
            text, error = _read(part, secrets)
            size = 0 if error else add(part.name, text)
            written.append(WrittenPart(name=part.name, size_bytes=size, error=error))
        add("manifest.json", to_json_text({"made_at": made_at, "parts": written}) + "\n")
    write_output_file(path, content.getvalue(), mode=MODE)
    return WrittenBundle(file=path, size_bytes=len(content.getvalue()), parts=written)


def show_bundle(out: PlainConsole, bundle: WrittenBundle) -> None:
    """Print what was written, and which parts are missing."""
    missing = [part for part in bundle.parts if part.error]
    number = len(bundle.parts) - len(missing)
    out.print(f"\nbundle: {bundle.file} ({short_size(bundle.size_bytes)}, {number} parts, mode 0600)", soft_wrap=True)
    for part in missing:
        out.print(f"    without {part.name}: {part.error}", soft_wrap=True)
    out.print("    Secrets are masked; look through it before you give it away.")


def _read(part: Part, secrets: list[str]) -> tuple[str, str]:
    """Return the masked content of a part, and why it cannot be read; one of them is empty."""
    try:
        content = part.read()
    except (AgentError, EnvsError, MemoryStoreError, *FAILURES) as error:
        told = error_report(error, command="reading")
        text = " ".join(str(told[key]) for key in ("operation", "subject", "found") if told[key])
        return "", masked_text(text, secrets=secrets)
    if isinstance(content, str):
        return masked_text(content, secrets=secrets), ""
    return to_json_text(masked_values(to_json_values(content), secrets=secrets)) + "\n", ""


def _secrets(invocation: Invocation) -> list[str]:
    """Return the token of the service, if it can be read."""
    file = invocation.settings.service.token_file
    if file is None:
        return []
    try:
        lines = expanded(file).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if len(line.strip()) >= 8]
