"""``learnd memory``: how much is remembered."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console

from agent.cli.invocation import NO_DATA, Invocation, command, group
from agent.cli.output import ago, new_table, short_count, short_size
from agent.json_values import to_json_values
from memory.records import MemoryStats

memory_app = typer.Typer(help="See how much is remembered, and what it takes.", no_args_is_help=True)
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
    """Show what episodic memory holds of every family, and what is on the disk."""
    with invocation.reading_if_any() as store:
        stats = None if store is None else store.memory_stats()
    invocation.answer(_values(stats), lambda out: _show(out, stats))


def _values(stats: MemoryStats | None) -> dict[str, Any]:
    if stats is None:
        return {"families": [], "trials": 0, "episodes": 0, "size_bytes": 0}
    values: dict[str, Any] = to_json_values(stats)
    return {**values, "trials": stats.trials, "episodes": stats.episodes, "size_bytes": stats.size_bytes}


def _show(out: Console, stats: MemoryStats | None) -> None:
    if stats is None:
        out.print(NO_DATA)
        return
    numbers = ("trials", "episodes", "size")
    table = new_table("family", *numbers, "oldest", "newest", right=numbers)
    for family in stats.families:
        table.add_row(
            family.family,
            short_count(family.trials),
            short_count(family.episodes),
            short_size(family.size_bytes),
            ago(family.oldest_at),
            ago(family.newest_at),
        )
    out.print(table)
    pieces = (
        ("on the disk", stats.size_bytes),
        ("database", stats.database_bytes),
        ("of it free for reuse", stats.free_bytes),
        ("write-ahead log", stats.wal_bytes),
        ("parameters", stats.parameters_bytes),
        ("left on the file system", stats.disk_free_bytes),
    )
    out.print(" · ".join(f"{name} {short_size(size)}" for name, size in pieces))
