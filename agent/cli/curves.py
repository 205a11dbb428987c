"""``learnd curves``: shows learning curves in the terminal, as a PNG file, or as numbers."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from agent.cli.experiment_options import check_folder
from agent.cli.invocation import NO_DATA, Invocation, command
from agent.cli.score_matrix import chosen_families, refuse_other_options, show_matrix
from agent.output.files import check_output_file, write_output_file
from agent.output.quantities import moment
from agent.reports.curve_plots import draw_png
from agent.reports.curve_values import curve_values, point_values, read_curves
from agent.reports.family_curves import FamilyCurves, XAxis
from agent.reports.terminal_plots import TerminalStyle, terminal_plots
from memory.records import CurveMetric

if TYPE_CHECKING:
    pass

COLUMNS = ("family", "metric", "label", "env_steps", "meta_updates", "at", "value", "standard_error", "learner_steps")
STDOUT = "-"


class CurvesCommand(TyperCommand):
    """A command whose ``--csv`` option may have no value: the numbers then go to stdout."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert ``-`` after a ``--csv`` without a value. An argument with a dot or a slash is a FILE, not a family."""
        written_out: list[str] = []
        for index, argument in enumerate(args):
            written_out.append(argument)
            following = args[index + 1] if index + 1 < len(args) else ""
            if argument == "--csv" and following != STDOUT and not _looks_like_file(following):
                written_out.append(STDOUT)
        return super().parse_args(ctx, written_out)


def _looks_like_file(argument: str) -> bool:
    return not argument.startswith("-") and ("." in argument or "/" in argument)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    examples = (
        "learnd curves",
        "learnd curves cartpole --metric trial_return --over time",
        "learnd curves --png curves.png",
        "learnd curves --matrix -o matrix.png",
        "learnd curves --csv points.csv",
    )
    command(app, "curves", cls=CurvesCommand, examples=examples)(show_curves)


def show_curves(
    invocation: Invocation,
    *,
    families: Annotated[
        list[str] | None, typer.Argument(metavar="[FAMILY]...", help="Families to show; default: all.")
    ] = None,
    metric: Annotated[CurveMetric, typer.Option(help="Metric to show.")] = CurveMetric.EVAL_SCORE,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Show the scores of all families over time as a heat map.")
    ] = False,
    axis: Annotated[
        XAxis | None,
        typer.Option("--over", help="Horizontal axis; default: env_steps, with --matrix learner_steps."),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(
            "--png", "-o", metavar="FILE", help="Draw the curves and the adaptation within a trial, or the heat map."
        ),
    ] = None,
    numbers: Annotated[
        str | None, typer.Option("--csv", metavar="[FILE]", help="Write the points as CSV; without FILE, to stdout.")
    ] = None,
) -> None:
    """Show learning curves in the terminal, or write them as a PNG or CSV file.

    A score of 0 is the return of random actions; a score of 1 is the family's reference return. A family without a
    reference has no score; its held-out return is shown. The PNG also shows the held-out return by episode of the
    trial, at the first and at the latest evaluation.
    """
    check_folder(png, operation="drawing curves")
    if matrix:
        refuse_other_options(metric=metric, axis=axis, is_csv=numbers is not None)
        show_matrix(invocation, families or [], axis=axis or XAxis.LEARNER_STEPS, png=png)
        return
    axis = axis or XAxis.ENV_STEPS
    if numbers not in {None, STDOUT}:
        check_output_file(Path(str(numbers)), operation="writing points")
    with invocation.reading_if_any() as store:
        if store is None:
            _answer_without_store(invocation, metric, families or [])
            return
        chosen = chosen_families(store, families or [])
        curves = [read_curves(store, family, metric) for family in chosen]
    answer: dict[str, Any] = {"metric": metric, "families": [curve_values(family) for family in curves]}
    if png is not None:
        draw_png(curves, png, axis=axis, title=f"learnd · {moment(_latest_at(curves))}")
        answer["png"] = str(png.absolute())
        invocation.note(f"drawn: {png}")
    if numbers is not None and not (invocation.is_json and numbers == STDOUT):
        _write_csv(curves, numbers)
        answer["csv"] = None if numbers == STDOUT else str(Path(numbers).absolute())
    if invocation.is_json:
        invocation.answer(answer, lambda _: None)
    elif png is None and numbers is None:
        _print_plots(invocation, curves, axis)


def _latest_at(curves: Sequence[FamilyCurves]) -> float | None:
    return max((point.at for family in curves for line in family.lines.values() for point in line), default=None)


def _write_csv(curves: Sequence[FamilyCurves], target: str) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for family in curves:
        for line in family.lines.values():
            writer.writerows({"family": family.family, "metric": family.metric.value, **point_values(p)} for p in line)
    if target == STDOUT:
        sys.stdout.write(text.getvalue())
    else:
        write_output_file(Path(target), text.getvalue().encode())


def _print_plots(invocation: Invocation, curves: Sequence[FamilyCurves], axis: XAxis) -> None:
    out = invocation.out
    if not curves:
        out.print("no family yet")
        return
    style = TerminalStyle(is_coloured=out.is_terminal, is_unicode=out.is_unicode)
    text = terminal_plots(curves, axis=axis, width=out.width, style=style)
    out.file.write(text + "\n")


def _answer_without_store(invocation: Invocation, metric: CurveMetric, families: Sequence[str]) -> None:
    if families:
        raise invocation.no_data_error()
    invocation.answer({"metric": metric, "families": []}, lambda out: out.print(NO_DATA))
