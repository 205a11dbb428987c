"""``learnd memory export`` and ``import``: trials in a file, from one store to another."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.errors import CommandError
from agent.cli.invocation import Invocation, command, find_family
from agent.output.files import check_output_file, is_device
from agent.output.json_values import to_json_values
from agent.output.quantities import short_size
from memory.exchange.archive import ArchiveForm

if TYPE_CHECKING:
    from memory.exchange.exporting import ExportReport


def register(app: typer.Typer) -> None:
    """Add the commands to the group ``memory``."""
    exports = (
        "learnd memory export trials.learnd",
        "learnd memory export trials.learnd --family bandits --family cartpole",
        "learnd memory export datasets --format minari",
    )
    imports = (
        "learnd memory import trials.learnd",
        "learnd memory import trials.learnd --json",
    )
    command(app, "export", examples=exports)(export_memory)
    command(app, "import", examples=imports)(import_memory)


def export_memory(
    invocation: Invocation,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.")],
    family: Annotated[
        list[str] | None, typer.Option("--family", metavar="NAME", help="Family to export; may be repeated.")
    ] = None,
    form: Annotated[ArchiveForm, typer.Option("--format", help="`learnd`: one file; `minari`: a folder.")] = (
        ArchiveForm.LEARND
    ),
) -> None:
    """Write the stored trials of families to one file, with their tasks and context keys.

    The default is all admitted families of environments. Every part of the file has a checksum. `--format minari`
    writes a new folder with one Minari data set per family instead; it needs the extra `minari` of learnd.
    """
    from memory.exchange.exporting import export_trials

    with invocation.reading() as store:
        for name in family or ():
            find_family(store, name, operation=invocation.name)
        if form is ArchiveForm.LEARND:
            check_output_file(file)
        if is_device(file):
            hint = "Name a file in a folder."
            raise CommandError(operation="exporting trials", subject=str(file), found="it is a device.", hint=hint)
        with invocation.progress() as progress:
            bar = progress.add_task("exporting", total=None)
            report = export_trials(
                store,
                file,
                names=family or (),
                now=time.time(),
                form=form,
                progress=lambda what, count: progress.update(bar, description=f"exporting {what}: {count}"),
            )
    values = {"file": str(file.absolute()), **to_json_values(report)}
    invocation.answer(values, lambda out: out.print(_exported(file, report), soft_wrap=True))


def import_memory(
    invocation: Invocation,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File or folder that `learnd memory export` wrote.")],
) -> None:
    """Add the trials of a file that the store does not have yet. learnd may run.

    The families of the file must be in the store, admitted, with the same spaces. If their environment or variations
    differ, a note says so: the memory may then take different tasks for one. The whole file is verified before the
    first trial is added. Imported trials change no total and no learning curve.
    """
    from memory.exchange.importing import import_trials

    with invocation.writing() as store, invocation.progress() as progress:
        bar = progress.add_task("importing", total=None)
        report = import_trials(
            store, file, progress=lambda what, count: progress.update(bar, description=f"trials {what}: {count}")
        )
    if report.declared_otherwise:
        names = ", ".join(report.declared_otherwise)
        invocation.note(f"declared with another environment or other variations where the file was written: {names}")
    new, old = (sum(counts.values()) for counts in (report.imported, report.already_present))
    values = {"file": str(file.absolute()), **to_json_values(report)}
    invocation.answer(values, lambda out: out.print(f"{new} trials imported, {old} were there already"))


def _exported(file: Path, report: ExportReport) -> str:
    families = ", ".join(f"{name} {count}" for name, count in report.families.items())
    return f"{file} ({short_size(report.size_bytes)}): {families or 'no family'}"
