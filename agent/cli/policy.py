"""``learnd policy``: lists, scores, exports and rolls back published versions."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.console import PlainConsole
from agent.cli.errors import CommandError
from agent.cli.invocation import NO_DATA, Invocation, command, find_family, group
from agent.cli.output import in_colour, indented, new_table, styled
from agent.output.quantities import NOTHING, ago, moment, short_number, short_size, with_error
from agent.output.visible_text import visible_line
from agent.reports.version_values import mean_score, version_values
from memory.files.parameters import ParameterFolder
from memory.records import Family, FamilyScore, FamilyState, Initialization

if TYPE_CHECKING:
    from agent.trainer.version_scores import VersionScore
    from memory.store import Store

policy_app = typer.Typer(help="List, score, watch, export and roll back published versions.", no_args_is_help=True)
group(policy_app)

WEIGHTS = {
    "fast": "current weights",
    "slow": "weights halfway from the published ones to the current ones",
    "published": "published weights",
}
"""The origins of a few-shot family's weights (``agent.trainer.practice.few_shot_candidates``), in words."""

VersionArgument = Annotated[
    str | None, typer.Argument(metavar="[VERSION]", help="Number of a version; default: the version served now.")
]


@command(
    policy_app,
    "list",
    examples=(
        "learnd policy list",
        "learnd policy list --all --json",
    ),
)
def list_versions(
    invocation: Invocation,
    with_rejected: Annotated[bool, typer.Option("--all", help="Include rejected candidates.")] = False,
) -> None:
    """List the published versions, newest first."""
    with invocation.reading_if_any() as store:
        kept = [] if store is None else store.initializations.all()
    has_store = store is not None
    versions = [version for version in kept if with_rejected or version.version is not None]
    invocation.answer(
        {"versions": [version_values(version) for version in versions]},
        lambda out: _show_versions(out, versions, has_store=has_store),
    )


@command(
    policy_app,
    "show",
    examples=(
        "learnd policy show",
        "learnd policy show 3",
    ),
)
def show_version(invocation: Invocation, version: VersionArgument = None) -> None:
    """Show one version: its parent, its scores on every family, and its provenance."""
    with invocation.reading() as store:
        chosen = find_version(store, version, operation="showing")
    invocation.answer(version_values(chosen), lambda out: _show_version(out, chosen))


@command(
    policy_app,
    "rollback",
    examples=(
        "learnd policy rollback",
        'learnd policy rollback 2 --reason "worse on our own tasks"',
    ),
)
def roll_back(
    invocation: Invocation,
    version: Annotated[
        str | None,
        typer.Argument(metavar="[VERSION]", help="Version to serve; default: the parent of the current one."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Reason to record.")] = "rolled back by hand",
) -> None:
    """Serve an earlier version again. The current version is kept and marked as rolled back."""
    with invocation.writing() as store:
        current = find_version(store, None, operation="rolling back")
        target = None if version is None else find_version(store, version, operation="rolling back to").version
        if target is not None and target == current.version:
            raise CommandError(
                operation="rolling back to", subject=f"version {target}", found="it is the one served now."
            )
        served = store.initializations.roll_back(to=target, reason=reason)
    invocation.answer(
        {"rolled_back": current.version, "current": version_values(served)},
        lambda out: out.print(f"version {served.version} is served again; version {current.version} is rolled back"),
    )


@command(
    policy_app,
    "eval",
    examples=(
        "learnd policy eval",
        "learnd policy eval 3 --family cartpole --trials 500",
    ),
)
def evaluate_version(
    invocation: Invocation,
    version: VersionArgument = None,
    families: Annotated[
        list[str] | None,
        typer.Option(
            "--family", metavar="NAME", help="Family to score on; may be repeated. Default: all active families."
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Held-out trials per family, rounded up to whole batches.")
    ] = None,
) -> None:
    """Score a version on held-out tasks of every family that is practised.

    The command records nothing and does not disturb the daemon, but it uses the same processor cores.
    """
    with invocation.reading() as store:
        chosen = find_version(store, version, operation="scoring")
        names = _families_to_score(store, families or [])
        faults: dict[str, str] = {}
        scores = _score(invocation, store, chosen, names, trials, faults=faults)
    left_out = sorted(set(names) - {score.family for score in scores} - faults.keys())
    if left_out:
        invocation.note(f"left out, because the version does not know their spaces: {', '.join(left_out)}")
    invocation.answer(
        {"version": chosen.version, "scores": scores, "left_out": left_out, "faults": faults},
        lambda out: _show_evaluation(out, scores, faults),
    )
    if faults:
        raise typer.Exit(1)


def _show_evaluation(out: PlainConsole, scores: Sequence[VersionScore], faults: Mapping[str, str]) -> None:
    """Print the scores, and the families that could not be scored with the reason."""
    if scores:
        out.print(_evaluation_table(scores))
    for name, found in faults.items():
        out.print(styled((name, "bold"), " could not be scored: ", indented(found)))


@command(
    policy_app,
    "export",
    examples=("learnd policy export 3 policy-3.safetensors",),
)
def export_version(
    invocation: Invocation,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Number of the version.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Safetensors file to write.")],
) -> None:
    """Copy a version's parameters to a safetensors file, and write its checksum to FILE.sha256.

    The parameters are verified first. `sha256sum --check FILE.sha256` verifies the copy.
    """
    from agent.policies.version_file import write_version_file

    with invocation.reading() as store:
        chosen = find_version(store, version, operation="exporting")
    content = ParameterFolder(invocation.folder.parameters_path).read(chosen.file)
    write_version_file(file, content, has_checksum_file=True)
    values = {
        "version": chosen.version,
        "file": str(file.absolute()),
        "sha256": chosen.file.sha256,
        "size_bytes": chosen.file.size_bytes,
    }
    size = short_size(chosen.file.size_bytes)
    invocation.answer(
        values, lambda out: out.print(f"version {chosen.version}: {file} ({size})\nsha256 {chosen.file.sha256}")
    )


def find_version(store: Store, version: str | None, *, operation: str) -> Initialization:
    """Return the published version of that number ("3", "v3"); for None, the version served now.

    Args:
        store: the store.
        version: the number, as the user wrote it.
        operation: what the command does with a version, as a gerund ("showing").

    Raises:
        CommandError: there is no such version; the hint lists the published versions.
    """
    if version is None:
        current = store.initializations.current()
        if current is None:
            raise CommandError(
                operation=operation,
                subject="the version served now",
                found="nothing is published yet.",
                hint="The consolidate job publishes versions; `learnd schedule list` shows when it is due.",
            )
        return current
    known = {str(found.version): found for found in store.initializations.all() if found.version is not None}
    number = version.lower().removeprefix("v")
    if number not in known:
        listed = f"Known versions: {', '.join(sorted(known, key=int))}." if known else "Nothing is published yet."
        raise CommandError(
            operation=f"{operation} version", subject=version, found="there is no such version.", hint=listed
        )
    return store.initializations.get(known[number].version or 0)


def _score(
    invocation: Invocation,
    store: Store,
    version: Initialization,
    families: Sequence[str],
    trials: int | None,
    *,
    faults: dict[str, str],
) -> list[VersionScore]:
    """Score a version in this process. Families that fail are added to ``faults`` with the reason.

    Without a terminal a line per family shows the progress.
    """
    from agent.devices import default_threads, with_threads
    from agent.trainer.version_scores import score_version

    heading = f"scoring version {version.version}"

    def note(family: Family) -> None:
        if not sys.stderr.isatty():
            invocation.note(f"{heading}: {family.name}")

    with invocation.progress() as progress, with_threads(default_threads()):
        task = progress.add_task(heading, total=None)
        return score_version(
            store,
            invocation.settings,
            version=version.version or 0,
            families=families,
            trials=trials,
            progress=lambda what: progress.update(task, description=f"{heading}: {what}"),
            on_family=note,
            on_fault=lambda family, fault: faults.update({family.name: fault.found}),
        )


def _families_to_score(store: Store, names: Sequence[str]) -> list[str]:
    for name in names:
        family = find_family(store, name, operation="scoring on family")
        if family.spaces is None:
            raise CommandError(
                operation="scoring on family",
                subject=name,
                found=f"it is {family.state}: its spaces are not known yet.",
                hint="The daemon tries the family when it runs.",
            )
    return list(names) or [family.name for family in store.families.all() if family.state is FamilyState.ACTIVE]


def _show_versions(out: PlainConsole, versions: Sequence[Initialization], *, has_store: bool) -> None:
    if not versions:
        out.print("nothing is published yet" if has_store else NO_DATA)
        return
    table = new_table("version", "state", "parent", "made", "mean score", "reason", right=("parent", "mean score"))
    for version in versions:
        number = NOTHING if version.version is None else str(version.version)
        table.add_row(
            styled((number, "bold"), " ← served") if version.is_current else number,
            in_colour(str(version.state)),
            NOTHING if version.parent is None else str(version.parent),
            ago(version.created_at),
            short_number(mean_score(version)),
            version.reason,
        )
    out.print(table)


def _show_version(out: PlainConsole, version: Initialization) -> None:
    served = " · served now" if version.is_current else ""
    parent = f" · parent {version.parent}" if version.parent is not None else ""
    state = in_colour(str(version.state))
    out.print(styled((f"version {version.version}", "bold"), " · ", state, served, parent))
    out.print(f"made {moment(version.created_at)}: {indented(version.reason)}")
    out.print(f"{version.file.sha256}.safetensors, {short_size(version.file.size_bytes)}")
    if version.scores:
        out.print(_scores_table(version.scores))
    for key, value in version.provenance.items():
        if key != "few_shot":
            out.print(visible_line(f"{key}: {_value_text(value)}"))
    for family, described in version.provenance.get("few_shot", {}).items():
        out.print(f"few-shot {family}: {_few_shot_text(described)}")


def _value_text(value: Any) -> str:
    """Return a value of a version's provenance as text: an object as its entries."""
    if not isinstance(value, Mapping):
        return str(value)
    return ", ".join(f"{name} {inner}" for name, inner in value.items()) or "nothing"


def _few_shot_text(described: dict[str, Any]) -> str:
    """Return a few-shot family's part of a version as text: ``protonet, 5 ways, 1,240 updates, current weights``."""
    meta, origin = described["meta"], described["origin"]
    ways = f", {meta['shapes']['output_size']} ways" if meta["shapes"]["is_classification"] else ""
    return f"{meta['learner']}{ways}, {meta['num_updates']:,} updates, {WEIGHTS.get(origin, origin)}"


def _scores_table(scores: Sequence[FamilyScore]) -> Any:
    numbers = ("score", "parent's score", "trial return", "parent's return", "trials")
    table = new_table("family", *numbers, right=numbers)
    for score in scores:
        table.add_row(
            score.family,
            with_error(score.score, score.standard_error),
            short_number(score.published_score),
            with_error(score.mean_return, score.return_standard_error),
            short_number(score.published_return),
            str(score.num_trials),
        )
    return table


def _evaluation_table(scores: Sequence[VersionScore]) -> Any:
    numbers = ("score", "trial return", "first episode", "last episode", "trials")
    table = new_table("family", *numbers, right=numbers)
    for score in scores:
        ends = [score.episodes[0], score.episodes[-1]] if score.episodes else []
        table.add_row(
            score.family,
            with_error(score.score, score.standard_error),
            with_error(score.mean_return, score.return_standard_error),
            *([with_error(end.mean_return, end.standard_error) for end in ends] or [NOTHING, NOTHING]),
            str(score.num_trials),
        )
    return table
