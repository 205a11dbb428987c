"""The score matrix as a PNG file: one row per family over the common axis, the score as colour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.output.visible_text import visible_line
from agent.reports.curve_plots import label_x
from agent.reports.family_curves import XAxis
from agent.reports.matrix_text import matrix_caption, row_name, row_numbers
from agent.reports.plot_style import FAINT, INK, VERMILION, page_style, save_png
from agent.reports.score_matrix import MatrixCell, MatrixRow, ScoreMatrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

MAP_WIDTH_IN = 6.6
ROW_HEIGHT_IN = 0.36
HEADING_HEIGHT_IN = 0.95
FOOT_HEIGHT_IN = 0.6
NUMBERS_WIDTH_IN = 2.9
"""Width right of the map for the numbers and the colour bar."""

CHARACTER_WIDTH_IN = 0.09

BELOW_RANDOM = "#3A3A3A"
CELL_TOP, CELL_BOTTOM, PRACTICE_LINE = -0.42, 0.30, 0.40
"""Places within a row of height 1, from its centre downwards."""


def draw_matrix_png(matrix: ScoreMatrix, file: Path, *, title: str = "learnd") -> None:
    """Draw a heat map to a PNG file, which is written atomically.

    A cell reaches from an evaluation to the next one. A line under the cells marks practice.
    """
    from matplotlib import rc_context

    with rc_context({**page_style(), "axes.grid": False, "axes.spines.left": False}):
        save_png(_page(matrix, title), file)


def _page(matrix: ScoreMatrix, title: str) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    map_height = ROW_HEIGHT_IN * max(1, len(matrix.rows))
    height = HEADING_HEIGHT_IN + map_height + FOOT_HEIGHT_IN
    left_in = max(1.2, 0.35 + CHARACTER_WIDTH_IN * max((len(row_name(row)) for row in matrix.rows), default=0))
    width = left_in + MAP_WIDTH_IN + NUMBERS_WIDTH_IN
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    caption = f"{matrix_caption(matrix)}. Line under a row: it was practised"
    figure.text(0.26 / width, 1 - 0.2 / height, visible_line(title), fontsize=15, fontweight="bold", va="top")
    figure.text(0.26 / width, 1 - 0.55 / height, caption, fontsize=8.5, color=FAINT, va="top")
    bottom = FOOT_HEIGHT_IN / height
    axes = figure.add_axes((left_in / width, bottom, MAP_WIDTH_IN / width, map_height / height))
    _draw_map(axes, matrix)
    bar = figure.add_axes((1 - 0.75 / width, bottom, 0.13 / width, map_height / height))
    _draw_colour_bar(figure, bar)
    return figure


def _draw_map(axes: Axes, matrix: ScoreMatrix) -> None:
    axes.set_ylim(max(1, len(matrix.rows)) - 0.5, -0.5)
    axes.set_yticks(range(len(matrix.rows)), [row_name(row) for row in matrix.rows])
    axes.tick_params(axis="y", length=0, labelsize=9)
    _draw_numbers(axes, matrix.rows)
    if matrix.limits is None:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "not measured yet", transform=axes.transAxes, ha="center", va="center", color=FAINT)
        return
    first, last = matrix.limits
    end = last + max(0.01 * (last - first), 1.0)
    for index, row in enumerate(matrix.rows):
        _draw_row(axes, row.cells, index, end=end, axis=matrix.axis)
    start = first if matrix.axis is XAxis.TIME else 0.0
    axes.set_xlim(*(_place(x, matrix.axis) for x in (start, end)))
    label_x(axes, matrix.axis)


def _draw_row(axes: Axes, cells: Sequence[MatrixCell], index: int, *, end: float, axis: XAxis) -> None:
    if not cells:
        return
    edges: list[Any] = [_place(x, axis) for x in (*(cell.x for cell in cells), end)]
    axes.pcolormesh(
        edges,
        [index + CELL_TOP, index + CELL_BOTTOM],
        [[cell.score if cell.is_below_random else max(0.0, cell.score) for cell in cells]],
        cmap=_colours(),
        vmin=0.0,
        vmax=1.0,
        shading="flat",
        linewidth=0,
    )
    for before, cell in pairwise(cells):
        if not cell.is_practised:
            continue
        places = [_place(before.x, axis), _place(cell.x, axis)]
        axes.plot(places, [index + PRACTICE_LINE] * 2, color=VERMILION, linewidth=2.2, solid_capstyle="butt")


def _draw_numbers(axes: Axes, rows: Sequence[MatrixRow]) -> None:
    """Write performance, forgetting and forward transfer to the right of each row."""
    columns = {"P": 1.085, "F": 1.185, "FT": 1.285}
    for name, x in columns.items():
        axes.text(x, 1.0, name, transform=axes.transAxes, ha="right", va="bottom", fontsize=8.5, color=FAINT)
    for index, row in enumerate(rows):
        for text, x in zip(row_numbers(row), columns.values(), strict=True):
            axes.text(x, index, text, transform=axes.get_yaxis_transform(), ha="right", va="center", color=INK)


def _draw_colour_bar(figure: Figure, bar: Axes) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colours = figure.colorbar(ScalarMappable(norm=Normalize(0.0, 1.0), cmap=_colours()), cax=bar, extend="min")
    colours.outline.set_visible(False)
    colours.set_ticks([0.0, 0.5, 1.0])
    colours.ax.tick_params(length=0, labelsize=8)


def _colours() -> Colormap:
    from matplotlib import colormaps

    return colormaps["viridis"].with_extremes(under=BELOW_RANDOM)


def _place(x: float, axis: XAxis) -> Any:
    return datetime.fromtimestamp(x).astimezone() if axis is XAxis.TIME else x
