"""``learnd curves --matrix``: the scores of all families over a common axis, as a heat map or as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.errors import CommandError
from agent.cli.invocation import NO_DATA, Invocation, find_family
from agent.output.quantities import moment
from agent.reports.family_curves import XAxis
from agent.reports.matrix_plots import draw_matrix_png
from agent.reports.matrix_text import terminal_matrix
from agent.reports.score_matrix import ScoreMatrix, matrix_values, read_matrix
from memory.records import CurveMetric, Family

if TYPE_CHECKING:
    from memory.store import Store


def chosen_families(store: Store, names: Sequence[str]) -> list[Family]:
    """Return the families of these names, or all families if no name is given."""
    if names:
        return [find_family(store, name, operation="showing curves of") for name in names]
    return store.families.all()


def refuse_other_options(*, metric: CurveMetric, axis: XAxis | None, is_csv: bool) -> None:
    """Check that no option was given that the matrix cannot have.

    Raises:
        CommandError: one was given.
    """
    found = ""
    if axis is XAxis.ENV_STEPS:
        found = "the environment steps of a family are no axis that all families share."
    elif metric is not CurveMetric.EVAL_SCORE:
        found = f"it has scores, and --metric is {metric}."
    elif is_csv:
        found = "it is not written as CSV."
    if found:
        hint = "Use --matrix with --over learner_steps or --over time, and --json for numbers."
        raise CommandError(operation="showing the score matrix", subject="--matrix", found=found, hint=hint)


def show_matrix(invocation: Invocation, names: Sequence[str], *, axis: XAxis, png: Path | None) -> None:
    """Answer with the scores of the families over the axis: in the terminal, as a PNG file, or as JSON.

    Raises:
        CommandError: there is no family of a name, or there is no data and a name was given.
    """
    with invocation.reading_if_any() as store:
        if store is None:
            if names:
                raise invocation.no_data_error()
            invocation.answer(matrix_values(ScoreMatrix(axis=axis, rows=())), lambda out: out.print(NO_DATA))
            return
        matrix = read_matrix(store, chosen_families(store, names), axis=axis)
    answer = matrix_values(matrix)
    if png is not None:
        latest = max((cell.point.at for row in matrix.rows for cell in row.cells[-1:]), default=None)
        draw_matrix_png(matrix, png, title=f"learnd · scores over time · {moment(latest)}")
        answer["png"] = str(png.absolute())
        invocation.note(f"drawn: {png}")
    if invocation.is_json:
        invocation.answer(answer, lambda _: None)
    elif png is None:
        _print_matrix(invocation, matrix)


def _print_matrix(invocation: Invocation, matrix: ScoreMatrix) -> None:
    out = invocation.out
    if not matrix.rows:
        out.print("no family yet")
        return
    for line in terminal_matrix(matrix, width=out.width, is_coloured=out.is_terminal):
        out.print(line, soft_wrap=True)
