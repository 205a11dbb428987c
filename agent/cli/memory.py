"""``learnd memory``: shows the content of the episodic memory, lists backups, and restores one."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.console import PlainConsole
from agent.cli.errors import CommandError
from agent.cli.invocation import NO_DATA, Invocation, command, find_family, group
from agent.cli.output import new_table
from agent.output.json_values import to_json_values
from agent.output.quantities import ago, short_count, short_duration, short_size
from agent.reports.memory_values import memory_values
from memory.records import MemoryStats

if TYPE_CHECKING:
    from agent.reports.recognition import Recognition
    from agent.reports.task_recognition import TaskRecognition
    from memory.files.backup_record import Backup

memory_app = typer.Typer(
    help="Show what is stored; export and import trials; list and restore backups.", no_args_is_help=True
)
group(memory_app)


@command(
    memory_app,
    "stats",
    examples=(
        "learnd memory stats",
        "learnd memory stats --json",
    ),
)
def show_stats(invocation: Invocation) -> None:
    """Show the stored trials and episodes of every family, and the space on the disk.

    The trials for rehearsal are a bounded number per family that prune does not remove.
    """
    with invocation.reading_if_any() as store:
        stats = None if store is None else store.stats.memory_stats()
    invocation.answer(memory_values(stats), lambda out: _show(out, stats))


def _show(out: PlainConsole, stats: MemoryStats | None) -> None:
    if stats is None:
        out.print(NO_DATA)
        return
    numbers = ("trials", "rehearsal", "episodes", "size")
    table = new_table("family", *numbers, "oldest", "newest", right=numbers)
    for family in stats.families:
        table.add_row(
            family.family,
            short_count(family.trials),
            short_count(family.rehearsal_trials),
            short_count(family.episodes),
            short_size(family.size_bytes),
            ago(family.oldest_at),
            ago(family.newest_at),
        )
    out.print(table)
    pieces = (
        ("on the disk", stats.size_bytes),
        ("database", stats.database_bytes),
        ("free in the database", stats.free_bytes),
        ("write-ahead log", stats.wal_bytes),
        ("parameters", stats.parameters_bytes),
        ("free on the file system", stats.disk_free_bytes),
    )
    out.print(" · ".join(f"{name} {short_size(size)}" for name, size in pieces))


@command(
    memory_app,
    "recognise",
    examples=(
        "learnd memory recognise cartpole",
        "learnd memory recognise cartpole --steps 30 --json",
    ),
)
def recognise_family(
    invocation: Invocation,
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="Family whose trials are classified.")],
    steps: Annotated[int, typer.Option("--steps", min=1, help="Number of first steps to use of each trial.")] = 60,
    trials: Annotated[int, typer.Option("--trials", min=4, help="Largest number of newest trials per family.")] = 64,
) -> None:
    """Classify a family's trials by family among the families of the same spaces, and recognise its tasks.

    The older half of each family's trials are the examples, the newer half are classified. The command uses two
    classifiers: prototypes and matching attention. Within the family, each trial is matched with earlier ones, which
    gives a calibrated probability that its task was met before.
    """
    from agent.reports.recognition import FEWEST_TRIALS, recognise
    from agent.reports.task_recognition import recognise_tasks

    with invocation.reading() as store:
        find_family(store, family, operation=invocation.name)
        found = recognise(store, family, num_steps=steps, num_trials=trials)
        tasks = recognise_tasks(store, family)
    if found is None and (tasks is None or tasks.num_repeated == 0):
        raise CommandError(
            operation="recognising",
            subject=family,
            found=f"it needs two admitted families of the same spaces with {FEWEST_TRIALS} stored trials each, or one "
            "family in which tasks recur.",
            hint="See `learnd memory stats`, and run learnd until there are enough trials.",
        )

    def show(out: PlainConsole) -> None:
        if found is not None:
            _show_recognition(out, found)
        if tasks is not None:
            _show_tasks(out, tasks)

    families = _NO_FAMILIES | {"family": family} if found is None else to_json_values(found)
    invocation.answer({**families, "tasks": to_json_values(tasks)}, show)


_NO_FAMILIES: dict[str, Any] = {
    "resemblances": [],
    "accuracy_by_prototypes": None,
    "accuracy_by_matching": None,
    "num_trials": 0,
}
"""The values of an answer about a family without another of its spaces."""


def _show_tasks(out: PlainConsole, tasks: TaskRecognition) -> None:
    out.print(
        f"of {tasks.num_trials} trials of the family, {tasks.num_repeated} are of a task that another of them has"
    )
    if tasks.num_repeated == 0:
        return
    table = new_table(
        "task known or new", "right", "Brier", "calibration error", right=("right", "Brier", "calibration error")
    )
    for name, test in (("at the start", tasks.at_start), (f"after {tasks.num_steps} steps", tasks.after_steps)):
        table.add_row(name, f"{test.accuracy:.0%}", f"{test.brier:.3f}", f"{test.calibration_error:.3f}")
    out.print(table)
    newest = ", ".join(f"{trial.trial_id}: {trial.probability:.0%}" for trial in tasks.newest)
    out.print(f"probability that the task of the newest trials was met before: {newest}", soft_wrap=True)


def _show_recognition(out: PlainConsole, found: Recognition) -> None:
    table = new_table("recognised as", "by prototypes", "by matching", right=("by prototypes", "by matching"))
    for row in found.resemblances:
        name = f"{row.family} (itself)" if row.family == found.family else row.family
        table.add_row(name, f"{row.by_prototypes:.0%}", f"{row.by_matching:.0%}")
    out.print(table)
    out.print(
        f"of {found.num_trials} held-out trials of all {len(found.resemblances)} families, prototypes recognise "
        f"{found.accuracy_by_prototypes:.0%} and matching {found.accuracy_by_matching:.0%} "
        f"(by chance {1 / len(found.resemblances):.0%})"
    )


@command(
    memory_app,
    "backups",
    examples=(
        "learnd memory backups",
        "learnd memory backups --json",
    ),
)
def show_backups(invocation: Invocation) -> None:
    """List the backups, newest first. `learnd schedule run-now backup` makes one.

    The order is the order in which the backups were made, even if the clock was wrong.
    """
    from memory.files.backup_record import listed_backups, store_id_of

    backups = [_backup_values(backup) for backup in listed_backups(invocation.folder)]
    own = store_id_of(invocation.folder)
    invocation.answer({"backups": backups}, lambda out: _show_backups(out, backups, own))


def _backup_values(backup: Backup) -> dict[str, Any]:
    return {
        "name": backup.path.name,
        "path": str(backup.path),
        "size_bytes": _size_bytes(backup.path),
        "sequence": backup.sequence,
        "store_id": backup.store_id(),
        "is_clean": backup.is_clean,
        "is_from_future": backup.is_from_future(time.time()),
        "damaged": [{"subject": problem.subject, "found": problem.found} for problem in backup.damaged],
    }


@command(
    memory_app,
    "restore",
    examples=(
        "learnd memory restore newest",
        "learnd memory restore newest --dry-run",
        "learnd memory restore 2026-01-31T03-00-00.000000Z",
        "learnd memory restore /mnt/elsewhere/2026-01-31T03-00-00.000000Z --data-dir ./fresh",
    ),
)
def restore_backup(
    invocation: Invocation,
    backup: Annotated[
        str, typer.Argument(metavar="BACKUP", help="`newest`, a name from `learnd memory backups`, or a folder.")
    ],
    is_drill: Annotated[
        bool,
        typer.Option("--dry-run", help="Restore into a temporary folder, check it and remove it; learnd may run."),
    ] = False,
) -> None:
    """Replace the store by a backup. learnd must be stopped, but for a dry run.

    The copy is verified before the store is changed. The old store is moved to another folder, not deleted. `newest`
    is the backup that was made last, even if the clock was wrong. If the command is killed or the disk is full, either
    the old or the new store is in place: run the command again.
    """
    from memory.files.backup_record import read_backup
    from memory.files.backups import restore

    path = _named_backup(invocation, backup)
    if is_drill:
        _drill(invocation, path)
        return
    with invocation.progress() as progress:
        bar = progress.add_task(f"restoring {path.name}", total=None)
        aside = restore(
            invocation.folder,
            path,
            progress=lambda what, count: progress.update(bar, description=f"checking {what}: {count}"),
        )
    damaged = [f"{problem.subject}: {problem.found}" for problem in read_backup(path).damaged]
    values = {
        "backup": str(path),
        "data_dir": str(invocation.folder.path),
        "set_aside": aside and str(aside),
        "damaged": damaged,
    }
    invocation.answer(values, lambda out: _show_restored(out, path, aside, damaged))


def _drill(invocation: Invocation, path: Path) -> None:
    """Restore a backup into a temporary folder, and show what it would restore."""
    from memory.upkeep.drill import restore_drill

    place = next(folder for folder in (invocation.folder.path, *invocation.folder.path.parents) if folder.is_dir())
    with invocation.progress() as progress:
        bar = progress.add_task(f"trying {path.name}", total=None)
        drill = restore_drill(
            path,
            within=place,
            progress=lambda what, count: progress.update(bar, description=f"checking {what}: {count}"),
        )

    def show(out: PlainConsole) -> None:
        version = "no policy" if drill.policy_version is None else f"policy version {drill.policy_version}"
        out.print(f"{path} can be restored; nothing was changed", soft_wrap=True)
        out.print(
            f"{drill.num_families} families, {drill.num_trials} trials, {version}, {short_size(drill.size_bytes)}"
        )
        out.print(f"it took {short_duration(drill.duration_s)}")
        for text in drill.damaged:
            out.print(f"damaged when it was backed up: {text}", soft_wrap=True)

    invocation.answer({"backup": str(path), "data_dir": str(invocation.folder.path), **asdict(drill)}, show)


def _named_backup(invocation: Invocation, name: str) -> Path:
    """Return the folder of the named backup.

    Raises:
        CommandError: there is no backup of that name.
    """
    from memory.files.backup_record import newest_backup
    from memory.files.backups import finished_backups

    backups = {path.name: path for path in finished_backups(invocation.folder)}
    if name == "newest" and (newest := newest_backup(invocation.folder)) is not None:
        return newest.path
    if name in backups:
        return backups[name]
    if Path(name).is_dir():
        return Path(name)
    hint = f"Known backups: {', '.join(backups)}." if backups else f"No backup is in {invocation.folder.backups_path}."
    found = "there is no such backup."
    if name == "newest" and backups:
        found = "every backup in this folder is of another store than the one that is here."
        hint = f"To restore one of them all the same, name it. {hint}"
    raise CommandError(operation="restoring the backup", subject=name, found=found, hint=hint)


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _show_backups(out: PlainConsole, backups: list[dict[str, Any]], own_store_id: str | None) -> None:
    if not backups:
        out.print("no backup yet (`learnd schedule run-now backup` makes one)")
        return
    table = new_table("backup", "number", "size", "note", right=("number", "size"))
    for backup in backups:
        number = "" if backup["sequence"] is None else str(backup["sequence"])
        table.add_row(backup["name"], number, short_size(backup["size_bytes"]), _note(backup, own_store_id))
    out.print(table)
    if any(backup["is_from_future"] for backup in backups):
        out.print("a time in the future: the clock was ahead when the backup was made, or it is behind now")


def _note(backup: dict[str, Any], own_store_id: str | None) -> str:
    notes = ["from the future"] if backup["is_from_future"] else []
    if not backup["is_clean"]:
        notes.append(f"{len(backup['damaged'])} damaged items")
    if backup["store_id"] is None:
        notes.append("of an unknown store")
    elif own_store_id not in {None, backup["store_id"]}:
        notes.append("of another store")
    return ", ".join(notes)


def _show_restored(out: PlainConsole, backup: Path, aside: Path | None, damaged: list[str]) -> None:
    out.print(f"restored {backup}", soft_wrap=True)
    if aside is not None:
        out.print(f"the old store is now {aside}", soft_wrap=True)
    for text in damaged:
        out.print(f"damaged when it was backed up: {text}", soft_wrap=True)
