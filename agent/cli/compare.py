"""``learnd compare``: trains several learners on one family with equal budgets, and compares their scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from agent.cli.console import PlainConsole
from agent.cli.entry import INTERRUPTED
from agent.cli.errors import CommandError
from agent.cli.experiment_families import declared_family
from agent.cli.experiment_options import (
    LARGEST_SEED,
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
from agent.cli.family_options import (
    CopiesOption,
    EpisodesOption,
    FamilyOptions,
    FewShotOption,
    ImageSizeOption,
    KwargOption,
    MaxStepsOption,
    NetworkOption,
    PathOption,
    PresetOption,
    PythonOption,
    QueriesOption,
    ShotsOption,
    VaryOption,
    WrapOption,
)
from agent.cli.invocation import Invocation, command
from agent.cli.output import indented, new_table, styled
from agent.experiments.comparison_plots import ComparisonPicture, draw_comparison, terminal_comparison
from agent.experiments.plan_defaults import FINAL_TASKS
from agent.experiments.standings import Standing, standings
from agent.output.quantities import NOTHING, short_number, short_size
from agent.reports.terminal_plots import TerminalStyle

if TYPE_CHECKING:
    from agent.experiments.assignment import OpenFamily
    from agent.experiments.comparison import Comparison, Outcome
    from agent.experiments.run import Plan
    from agent.experiments.scores import Measure

EXAMPLES = (
    "learnd compare sinusoids --budget 60s --png sinusoids.png",
    "learnd compare glyphs --few-shot 5x1 --learners maml,reptile,protonet --budget 2m --seeds 3 --jobs 2",
)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    command(app, "compare", examples=EXAMPLES)(compare)


def compare(
    invocation: Invocation,
    *,
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="The family, as for --family of `learnd learn`.")],
    budget: BudgetOption,
    learners: Annotated[
        str | None, typer.Option(metavar="NAME,NAME…", help="Learners to compare; default: all that fit the family.")
    ] = None,
    few_shot: FewShotOption = None,
    shots: ShotsOption = None,
    queries: QueriesOption = None,
    vary: VaryOption = None,
    kwarg: KwargOption = None,
    episodes: EpisodesOption = None,
    max_steps: MaxStepsOption = None,
    python: PythonOption = None,
    path: PathOption = None,
    wrap: WrapOption = None,
    preset: PresetOption = None,
    image_size: ImageSizeOption = None,
    network: NetworkOption = False,
    copies: CopiesOption = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each learner, with consecutive seeds from --seed.")] = 1,
    seed: SeedOption = 0,
    tasks: TasksOption = FINAL_TASKS,
    points: PointsOption = 8,
    jobs: Annotated[int, typer.Option(min=1, help="Number of processes that run at once, each with one thread.")] = 1,
    state: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Save every run in this folder, and resume runs found there.")
    ] = None,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the curves to a PNG file.")] = None,
) -> None:
    """Train several learners on one family, each with the same budget, and compare their scores.

    All learners are scored on the same held-out tasks, several times during the run and at the end. If a learner
    fails, the others continue.
    """
    from agent.experiments.comparison import compare as run_comparison

    check_folder(png, operation="drawing the comparison to")
    _check_state(state)
    _check_seeds(seed, seeds)
    plan = plan_of(budget, points=points, tasks=tasks, state=state)
    options = FamilyOptions(
        few_shot,
        shots,
        queries,
        vary or (),
        kwarg or (),
        episodes,
        max_steps,
        wrap or (),
        preset,
        python,
        path or (),
        image_size=image_size,
        network=network,
        copies=copies,
    )
    opened = open_for(invocation, declared_family(invocation, family, options))
    comparison = _comparison(opened, learners, plan, range(seed, seed + seeds))
    labels = [entry.label for entry in comparison.entries]
    with one_thread(), stopping() as is_stopped, bars(invocation, labels) as tell:
        outcomes = run_comparison(
            comparison,
            opened,
            jobs=jobs,
            report=lambda entry, progress: tell(entry.label, progress),
            is_stopped=is_stopped,
        )
        is_interrupted = is_stopped()
    found = standings(outcomes, opened.measure)
    picture = _picture(comparison, found, opened.measure)
    values = _values(comparison, found, outcomes, opened.measure)
    values |= {"is_interrupted": is_interrupted, "png": None if png is None else str(png.absolute())}
    if png is not None and picture.lines():
        draw_comparison(picture, png)
        invocation.note(f"drawn: {png}")
    invocation.answer(values, lambda out: _show(out, picture, is_drawn=png is not None))
    if is_interrupted:
        raise typer.Exit(INTERRUPTED)
    if not any(standing.ledgers for standing in found):
        raise typer.Exit(1)


def _check_state(state: Path | None) -> None:
    if state is not None and state.exists() and not state.is_dir():
        raise CommandError(
            operation="saving the runs in",
            subject=str(state),
            found="it is a file.",
            hint="Name a folder: each learner and seed gets a file in it.",
        )


def _check_seeds(first: int, count: int) -> None:
    if first + count - 1 > LARGEST_SEED:
        raise CommandError(
            operation="counting seeds from",
            subject=str(first),
            found=f"the last of {count} seeds would be {first + count - 1:,}; the largest seed is {LARGEST_SEED:,}.",
            hint="Choose a smaller --seed.",
        )


def _comparison(family: OpenFamily, learners: str | None, plan: Plan, seeds: Sequence[int]) -> Comparison:
    """Return the requested comparison.

    Every learner is assigned to the family once, so that a learner that cannot learn the family is rejected before
    any run starts.
    """
    from agent.experiments.assignment import assign
    from agent.experiments.comparison import Comparison, Entry

    named = list(family.learners) if learners is None else [name.strip() for name in learners.split(",")]
    names = dict.fromkeys(assign(name, family).learner for name in named)
    entries = tuple(Entry(learner=name, seed=seed) for seed in seeds for name in names)
    return Comparison(spec=family.spec, limits=family.limits, plan=plan, entries=entries)


def _picture(comparison: Comparison, found: Sequence[Standing], measure: Measure) -> ComparisonPicture:
    plan, num_seeds = comparison.plan, len({entry.seed for entry in comparison.entries})
    band = "lowest and highest seed" if num_seeds > 1 else "95% interval over held-out tasks"
    seeds = f"{num_seeds} seeds, bands: {band}" if num_seeds > 1 else f"1 seed, bands: {band}"
    return ComparisonPicture(
        title=comparison.spec.name,
        subtitle=f"Each learner for {plan.budget}, {seeds}.\n"
        f"Scored on the same {plan.tasks_along} held-out tasks during the run and {plan.tasks_at_end:,} at the end.",
        measure=measure,
        standings=found,
        is_over_time=plan.budget.cpu_s is not None,
    )


def _values(comparison: Comparison, found: Sequence[Standing], outcomes: Sequence[Outcome], measure: Measure) -> Any:
    from agent.experiments.trainable import family_as_learned

    return {
        "family": family_as_learned(comparison.spec),
        "measure": measure,
        "is_larger_better": measure.is_larger_better,
        "budget": str(comparison.plan.budget),
        "learners": [_standing_values(standing) for standing in found],
        "runs": [_run_values(outcome) for outcome in outcomes],
    }


def _standing_values(standing: Standing) -> dict[str, Any]:
    last = standing.last
    return {
        "learner": standing.learner,
        "score": None if last is None else last.score,
        "lowest": None if last is None else last.lowest,
        "highest": None if last is None else last.highest,
        "unadapted": standing.unadapted,
        "updates": list(standing.updates),
        "cpu_s": [ledger.cpu_s for ledger in standing.ledgers],
        "ms_per_update": standing.ms_per_update if standing.ledgers else None,
        "bytes_per_update": standing.bytes_per_update if standing.ledgers else None,
        "errors": list(standing.errors),
    }


def _run_values(outcome: Outcome) -> dict[str, Any]:
    ledger = outcome.ledger
    return {
        "learner": outcome.entry.learner,
        "seed": outcome.entry.seed,
        "updates": outcome.updates,
        "cpu_s": None if ledger is None else ledger.cpu_s,
        "planned_updates": None if ledger is None else ledger.planned_updates,
        "score": None if ledger is None else ledger.last,
        "points": [] if ledger is None else ledger.points,
        "error": outcome.error or None,
    }


def _show(out: PlainConsole, picture: ComparisonPicture, *, is_drawn: bool) -> None:
    if not is_drawn and picture.lines():
        style = TerminalStyle(is_coloured=out.is_terminal, is_unicode=out.is_unicode)
        text = terminal_comparison(picture, width=out.width, style=style)
        out.file.write(text + "\n\n")
    out.print(styled((picture.title, "bold"), f": {picture.subtitle}"), soft_wrap=True)
    out.print(_table(picture))
    for standing in picture.standings:
        for error in standing.errors:
            out.print(styled((f"{standing.learner} failed:", "red"), f" {indented(error)}"))


def _table(picture: ComparisonPicture) -> Table:
    has_seeds = any(len(standing.ledgers) > 1 for standing in picture.standings)
    score, seeds = picture.measure.label, "lowest – highest seed"
    numbers = [
        score,
        *([seeds] if has_seeds else []),
        "before adaptation",
        "updates",
        "CPU-s",
        "ms/update",
        "peak/update",
    ]
    table = new_table("learner", *numbers, right=tuple(numbers))
    for standing in picture.standings:
        if standing.ledgers:
            cells = _cells(standing, picture.measure)
            table.add_row(standing.learner, *(cells if has_seeds else [cells[0], *cells[2:]]))
    return table


def _cells(standing: Standing, measure: Measure) -> list[str]:
    last, unadapted = standing.last, standing.unadapted
    spread = NOTHING
    if last is not None and len(standing.ledgers) > 1:
        spread = f"{short_number(measure.scale * last.lowest)} – {short_number(measure.scale * last.highest)}"
    return [
        NOTHING if last is None else last.score.text(measure),
        spread,
        NOTHING if unadapted is None else unadapted.text(measure),
        f"{fmean(standing.updates):,.0f}",
        f"{fmean(ledger.cpu_s for ledger in standing.ledgers):.1f}",
        f"{standing.ms_per_update:.3g}",
        short_size(standing.bytes_per_update),
    ]
