"""``learnd learn``: trains one learner on one family, without daemon or store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from agent.cli.console import PlainConsole
from agent.cli.entry import INTERRUPTED
from agent.cli.experiment_families import declared_family
from agent.cli.experiment_options import (
    BudgetOption,
    PointsOption,
    SeedOption,
    TasksOption,
    bars,
    check_folder,
    one_thread,
    open_for,
    plan_of,
    stopping,
)
from agent.cli.family_options import FamilyOptions, with_family_options
from agent.cli.invocation import Invocation, command
from agent.cli.output import styled
from agent.experiments.plan_defaults import FINAL_TASKS
from agent.learners.config_json import config_to_json
from agent.learners.registry import public_names
from agent.output.json_values import to_json_values
from agent.output.quantities import short_size

if TYPE_CHECKING:
    from agent.experiments.run import LearningRun

EXAMPLES = (
    "learnd learn maml --family sinusoids --budget 60s",
    "learnd learn protonet --family ./images --few-shot 5x1 --budget 10m --state run.state --output made.safetensors",
    "learnd learn rl2 --family CartPole-v1 --vary gravity=5:20 --budget 500u --set num_epochs_gymnasium=2",
    "learnd learn rl2 --family ./my_env.py:MyEnv --wrap FlattenObservation --budget 60s",
)


_LEARNERS = " or ".join([", ".join(public_names()[:-1]), public_names()[-1]])


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    command(app, "learn", examples=EXAMPLES)(with_family_options(learn))


def learn(
    invocation: Invocation,
    *,
    learner: Annotated[
        str,
        typer.Argument(metavar="LEARNER", help=f"{_LEARNERS}."),
    ],
    family: Annotated[
        str,
        typer.Option(
            metavar="FAMILY",
            help="A built-in family, a folder of images, a family of the data folder, a family file (FILE.toml), or an "
            "environment as for `learnd env add`.",
        ),
    ],
    budget: BudgetOption,
    options: FamilyOptions,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SETTING=VALUE", help="Setting of the learner; may be repeated."),
    ] = None,
    seed: SeedOption = 0,
    tasks: TasksOption = FINAL_TASKS,
    points: PointsOption = 0,
    state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save the run in this file, and resume the run found there.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the learned parameters to this safetensors file.")
    ] = None,
) -> None:
    """Train one learner on one family for a budget, and score it on held-out tasks.

    Neither daemon nor store is needed. With --state, the run is saved once a minute, at the end and on Ctrl-C. The
    same command resumes the run, and the result is bit-identical to an uninterrupted run.
    """
    from agent.experiments.assignment import assign
    from agent.experiments.given_settings import ignored_among
    from agent.experiments.run import LearningRun

    check_folder(state, operation="saving the run in")
    check_folder(output, operation="writing the parameters to")
    plan = plan_of(budget, points=points, tasks=tasks, state=state)
    opened = open_for(invocation, declared_family(invocation, family, options))
    assignment = assign(learner, opened, given=given or (), seed=seed)
    name = assignment.learner
    for ignored in ignored_among(given or (), learner=name):
        invocation.note(f"warning: {ignored}")
    with one_thread(), stopping() as is_stopped, bars(invocation, [name]) as tell:
        run = LearningRun(assignment, plan, report=lambda state: tell(name, state), is_stopped=is_stopped)
        try:
            run.finish()
            values = _values(run)
            if output is not None and not run.is_interrupted:
                values["output"] = _export(run, output, values)
        finally:
            run.trainee.close()
    invocation.answer(values, lambda out: _show(out, run, values))
    if run.is_interrupted:
        raise typer.Exit(INTERRUPTED)


def _values(run: LearningRun) -> dict[str, Any]:
    ledger, updates = run.ledger, run.trainee.num_updates
    return {
        **run.assignment.describe(),
        "settings": config_to_json(run.assignment.config(ledger.planned_updates)),
        "measure": run.assignment.measure,
        "budget": str(run.plan.budget),
        "is_interrupted": run.is_interrupted,
        "is_resumed": run.is_resumed,
        "updates": updates,
        "planned_updates": ledger.planned_updates,
        "cpu_s": ledger.cpu_s,
        "ms_per_update": 1e3 * ledger.cpu_s / updates if updates else None,
        "bytes_per_update": ledger.step_bytes,
        "score": ledger.last,
        "points": ledger.points,
        "state": None if run.plan.state is None else str(run.plan.state.absolute()),
        "output": None,
    }


def _export(run: LearningRun, file: Path, values: dict[str, Any]) -> dict[str, Any]:
    from agent.policies.version_file import write_version_file

    told = ("family", "seed", "budget", "updates", "cpu_s", "measure", "score")
    content = run.trainee.export({name: to_json_values(values[name]) for name in told})
    sha256 = write_version_file(file, content)
    return {"file": str(file.absolute()), "sha256": sha256, "size_bytes": len(content)}


def _show(out: PlainConsole, run: LearningRun, values: dict[str, Any]) -> None:
    measure, ledger = run.assignment.measure, run.ledger
    name = values["family"]["name"]
    out.print(styled((run.assignment.learner, "bold"), " on ", (name, "bold"), f", seed {values['seed']}"))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    last = ledger.last
    if last is not None:
        note = f"95% interval over {last.adapted.num_tasks:,} held-out tasks"
        table.add_row(f"{measure.label}, adapted", last.adapted.text(measure), note)
        if last.unadapted is not None:
            table.add_row("before adaptation", last.unadapted.text(measure), "")
        for label, estimate in last.beside.items():
            table.add_row(label.replace("_", " "), estimate.text(measure), "")
    table.add_row("updates", f"{values['updates']:,}", f"of {ledger.planned_updates:,} planned")
    table.add_row("CPU-seconds", f"{ledger.cpu_s:.1f}", f"budget {run.plan.budget}, scoring not included")
    if values["updates"]:
        table.add_row("an update", f"{values['ms_per_update']:.3g} ms", f"{short_size(ledger.step_bytes)} at most")
    out.print(table)
    if run.is_interrupted:
        kept = (
            f"the same command resumes from {run.plan.state}" if run.plan.state else "without --state, nothing is saved"
        )
        out.print(styled(("stopped", "yellow"), f" before the end: {kept}"))
    if values["output"] is not None:
        written = values["output"]
        out.print(f"{written['file']} ({short_size(written['size_bytes'])}), sha256 {written['sha256'][:12]}…")
