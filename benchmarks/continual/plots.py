"""The picture of the benchmark ``continual``: p_i(t) as a heat map by arm, and the curves of the windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agent.reports.plot_style import CYCLE, FAINT, page_style, save_png
from benchmarks.continual.measures import CurvePoint
from benchmarks.continual.runs import Course

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

MAX_NAMED = 12
"""Most families whose names are written at the axes."""


def draw(
    families: Sequence[str],
    courses: Mapping[str, Sequence[Course]],
    alone: Mapping[str, Sequence[Sequence[CurvePoint]]],
    path: Path,
) -> None:
    """Draw means over seeds.

    Args:
        families: the families in their order.
        courses: the runs of each arm, one per seed.
        alone: the curves of families learned alone, one per seed.
        path: the PNG file.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(page_style()):
        figure = Figure(figsize=(4.6 * max(2, len(courses)), 7.2), layout="constrained")
        parts = figure.subfigures(2, 1, squeeze=False, height_ratios=(3, 2))[:, 0]
        _draw_maps(parts[0], families, courses)
        _draw_curves(parts[1].subplots(), families, courses, alone)
        save_png(figure, path)


def _draw_maps(figure: SubFigure, families: Sequence[str], courses: Mapping[str, Sequence[Course]]) -> None:
    panels = figure.subplots(1, len(courses), squeeze=False, sharey=True)[0]
    for panel, (arm, runs) in zip(panels, courses.items(), strict=True):
        image = panel.imshow(mean_matrix(families, runs), vmin=0.0, vmax=1.0, cmap="viridis", aspect="auto")
        panel.set(title=arm, xlabel="after the window of family")
        panel.grid(visible=False)
        if len(families) <= MAX_NAMED:
            panel.set_xticks(range(len(families)), range(1, len(families) + 1))
            panel.set_yticks(range(len(families)), families)
    figure.colorbar(image, ax=panels, label="score p_i(t), mean over seeds")


def mean_matrix(families: Sequence[str], runs: Sequence[Course]) -> NDArray[np.float64]:
    """Return p_i(t), the mean over seeds, by family (row) and window (column); NaN where it was not scored."""
    found = np.full((len(families), len(families)), np.nan)
    for row, name in enumerate(families):
        for column in range(len(families)):
            scores = [run.matrix[column][name] for run in runs if name in run.matrix[column]]
            found[row, column] = np.mean(scores) if scores else np.nan
    return found


def _draw_curves(
    panel: Axes,
    families: Sequence[str],
    courses: Mapping[str, Sequence[Course]],
    alone: Mapping[str, Sequence[Sequence[CurvePoint]]],
) -> None:
    for index, name in enumerate(families):
        label = "single" if name == next(iter(alone), None) else None
        for curve in alone.get(name, ()):
            panel.plot(*_placed(curve, index), color=FAINT, linewidth=1.0, label=label)
            label = None
        for colour, (arm, runs) in zip(CYCLE, courses.items(), strict=False):
            label = arm if index == 0 else None
            for run in runs:
                panel.plot(*_placed(run.curve(name), index), color=colour, linewidth=1.2, label=label)
                label = None
    if len(families) <= MAX_NAMED:
        panel.set_xticks(range(len(families) + 1))
    panel.set(
        xlabel="finished windows", ylabel="score of the window's family", xlim=(0, len(families)), ylim=(-0.02, 1.02)
    )
    panel.legend(loc="lower right")


def _placed(curve: Sequence[CurvePoint], index: int) -> tuple[list[float], list[float]]:
    """Return the points of a curve within window ``index``, whose width is 1."""
    end = curve[-1].elapsed_s or 1.0
    return [index + point.elapsed_s / end for point in curve], [point.score for point in curve]
