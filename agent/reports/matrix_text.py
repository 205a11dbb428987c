"""The score matrix in the terminal, and the texts that every drawing of it shares."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from rich.text import Text

from agent.output.quantities import moment, short_count, short_score
from agent.output.visible_text import visible_line
from agent.reports.continual import ScoreUnit
from agent.reports.family_curves import XAxis
from agent.reports.score_matrix import MatrixCell, MatrixRow, ScoreMatrix

COLUMNS = ("P", "F", "FT")
OTHER_UNIT = "*"
NOT_MEASURED, BELOW_RANDOM = ".", "-"
FEWEST_CELLS = 10

SHADES = (
    "#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"
)  # fmt: skip
"""Colours of the tenths of the score: viridis, as in the picture."""


def row_name(row: MatrixRow) -> str:
    """Return the family's name, marked if its unit is not that of a reference."""
    return visible_line(row.family.name) + (f" {OTHER_UNIT}" if row.unit is ScoreUnit.REACHED else "")


def row_numbers(row: MatrixRow) -> tuple[str, str, str]:
    """Return performance, forgetting and forward transfer as texts, in the order of ``COLUMNS``; empty if unknown."""
    measures = row.measures
    return (
        "" if measures is None else short_score(measures.performance),
        "" if measures is None else short_score(measures.forgetting),
        "" if row.forward_transfer is None else short_score(row.forward_transfer),
    )


def matrix_caption(matrix: ScoreMatrix) -> str:
    """Return a sentence on the scale, and the average performance."""
    text = "score 0: random, 1: reference. P: last scores, F: forgetting, FT: forward transfer"
    if matrix.has_other_units:
        text += f". {OTHER_UNIT} no reference: 1 is what the family had reached"
    if matrix.average_performance is not None:
        text += f". Average performance {matrix.average_performance:.2f}"
    return text


def terminal_matrix(matrix: ScoreMatrix, *, width: int, is_coloured: bool = True) -> list[Text]:
    """Return the lines of a heat map: one character per cell, the tenths of the score, on its colour if there are any.

    Cells in which the family was practised are underlined, on a terminal with colours.

    Args:
        matrix: the scores.
        width: number of columns of the terminal.
        is_coloured: whether the terminal shows colours.
    """
    names = [row_name(row) for row in matrix.rows]
    name_width = max(map(len, names), default=0)
    num_cells = max(FEWEST_CELLS, width - name_width - 2 - 7 * len(COLUMNS))
    heading = Text(" " * (name_width + 2 + num_cells) + "".join(column.rjust(7) for column in COLUMNS))
    lines = [Text(matrix_caption(matrix)), heading]
    for name, row in zip(names, matrix.rows, strict=True):
        line = Text(name.ljust(name_width + 2))
        for cell, is_practised in _cells(row, matrix, num_cells):
            line.append(_character(cell), style=_style(cell, is_practised=is_practised) if is_coloured else "")
        line.append("".join(number.rjust(7) for number in row_numbers(row)))
        lines.append(line)
    return [*lines, Text(" " * (name_width + 2) + _ticks(matrix, num_cells))]


def _cells(row: MatrixRow, matrix: ScoreMatrix, num_cells: int) -> list[tuple[MatrixCell | None, bool]]:
    """Return for each of ``num_cells`` equal parts of the axis the last evaluation until its end, and if practised."""
    parts = []
    for start, end in pairwise(_edges(matrix, num_cells)):
        within = [cell for cell in row.cells if start < cell.x <= end]
        parts.append((row.held(end), any(cell.is_practised for cell in within)))
    return parts


def _edges(matrix: ScoreMatrix, num_cells: int) -> list[float]:
    first, last = matrix.limits or (0.0, 0.0)
    start = first if matrix.axis is XAxis.TIME else 0.0
    return [start + (last - start) * index / num_cells for index in range(num_cells)] + [last]


def _character(cell: MatrixCell | None) -> str:
    if cell is None:
        return NOT_MEASURED
    return BELOW_RANDOM if cell.is_below_random else str(_tenths(cell))


def _tenths(cell: MatrixCell) -> int:
    return max(0, min(9, int(10 * cell.score)))


def _style(cell: MatrixCell | None, *, is_practised: bool) -> str:
    if cell is None:
        return "dim"
    line = "underline " if is_practised else ""
    if cell.is_below_random:
        return f"{line}white on #3a3a3a"
    shade = _tenths(cell)
    return f"{line}{'black' if shade > 5 else 'white'} on {SHADES[shade]}"


def _ticks(matrix: ScoreMatrix, num_cells: int) -> str:
    """Return the labels of the first and the last position, and the name of the axis."""
    if matrix.limits is None:
        return ""
    shown: Callable[[float], str] = moment if matrix.axis is XAxis.TIME else short_count
    edges = _edges(matrix, num_cells)
    last = shown(edges[-1]) + ("" if matrix.axis is XAxis.TIME else " learner steps")
    return shown(edges[0]) + last.rjust(num_cells - len(shown(edges[0])))
