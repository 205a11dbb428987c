"""Plots of a comparison of learners, in the terminal and as a PNG file: the score of each learner over its budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.experiments.scores import Measure
from agent.output.quantities import short_count
from agent.output.visible_text import visible, visible_line
from agent.reports.plot_style import FAINT, line_colour, page_style, save_png
from agent.reports.terminal_plots import TICK_WIDTH, TerminalStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from agent.experiments.standings import Moment, Standing

PAGE_SIZE_IN = (9.0, 5.0)
PAGE_LEFT_IN = 0.72
LABEL_GAP = 0.052
"""Smallest distance between the labels of two lines, as a share of the axes' height."""

TERMINAL_HEIGHT = 18
MARGIN = 1.15
"""Upper limit of the axis, in units of the largest error."""

RANGE_TO_LOG = 20.0
"""Errors are drawn on a logarithmic scale if the largest is more than this many times the smallest."""


@dataclass(frozen=True, kw_only=True)
class ComparisonPicture:
    """The content of a plot of a comparison.

    Attributes:
        title: what was compared.
        subtitle: a short description of how it was compared.
        measure: the measure of the scores.
        standings: the results of the learners, best first.
        is_over_time: whether the budget was processor time; otherwise it was a number of updates.
    """

    title: str
    subtitle: str
    measure: Measure
    standings: Sequence[Standing]
    is_over_time: bool

    def lines(self) -> dict[str, list[Moment]]:
        """Return the points of each learner that has a curve."""
        found = {standing.learner: standing.curve() for standing in self.standings}
        return {learner: moments for learner, moments in found.items() if moments}

    def place(self, moment: Moment) -> float:
        """Return the position of a point on the horizontal axis."""
        return moment.cpu_s if self.is_over_time else moment.updates

    @property
    def axis_label(self) -> str:
        """The label of the horizontal axis."""
        return "CPU-seconds of learning" if self.is_over_time else "updates"

    def highest_learned(self) -> float | None:
        """Return the largest error after the first score; None if larger is better, or if there are only first scores.

        The error of an untrained network is left out, because it would compress all other errors.
        """
        learned = [moment.highest for moments in self.lines().values() for moment in moments[1:]]
        return max(learned) if learned and not self.measure.is_larger_better else None

    @property
    def is_logarithmic(self) -> bool:
        """Return whether the scale is logarithmic, because a linear one would hide the small errors."""
        means = [moment.score.mean for moments in self.lines().values() for moment in moments]
        is_error = self.measure is Measure.SQUARED_ERROR
        return is_error and bool(means) and min(means) > 0 and max(means) > RANGE_TO_LOG * min(means)


def draw_comparison(picture: ComparisonPicture, file: Path) -> None:
    """Draw a comparison to a PNG file, which is written atomically."""
    from matplotlib import rc_context

    with rc_context(page_style()):
        save_png(_page(picture), file)


def _page(picture: ComparisonPicture) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = PAGE_SIZE_IN
    figure = Figure(figsize=PAGE_SIZE_IN)
    FigureCanvasAgg(figure)
    left = PAGE_LEFT_IN / width
    figure.text(left, 1 - 0.2 / height, visible_line(picture.title), fontsize=15, fontweight="bold", va="top")
    figure.text(
        left, 1 - 0.55 / height, visible(picture.subtitle), fontsize=8.5, color=FAINT, va="top", linespacing=1.4
    )
    axes = figure.add_axes((left, 0.6 / height, 1 - (PAGE_LEFT_IN + 2.05) / width, 1 - 1.7 / height))
    axes.set_xlabel(picture.axis_label)
    axes.set_ylabel(f"{picture.measure.label}, adapted")
    if picture.is_logarithmic:
        axes.set_yscale("log")
    lines = picture.lines()
    for index, moments in enumerate(lines.values()):
        _draw_line(axes, picture, moments, colour=line_colour(index, len(lines)))
    _tick(axes, picture, lines)
    _label_lines(axes, picture, lines)
    return figure


def _draw_line(axes: Axes, picture: ComparisonPicture, moments: Sequence[Moment], *, colour: Any) -> None:
    x = [picture.place(moment) for moment in moments]
    y, low, high = (
        [picture.measure.scale * value for value in values]
        for values in zip(*((m.score.mean, m.lowest, m.highest) for m in moments), strict=True)
    )
    axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(x, y, color=colour, linewidth=1.7, marker="o", markersize=2.6)
    axes.plot(x[-1:], y[-1:], color=colour, marker="o", markersize=5, clip_on=False, zorder=4)


def _tick(axes: Axes, picture: ComparisonPicture, lines: dict[str, list[Moment]]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    furthest = max(picture.place(moments[-1]) for moments in lines.values())
    axes.set_xlim(0, furthest or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))
    if picture.is_logarithmic:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    highest = picture.highest_learned()
    if highest is not None:
        axes.set_ylim(top=MARGIN * picture.measure.scale * highest)


def _label_lines(axes: Axes, picture: ComparisonPicture, lines: dict[str, list[Moment]]) -> None:
    """Label each line next to its end. Labels are moved apart if the ends are close."""
    to_axes = axes.transData + axes.transAxes.inverted()
    x_end = axes.get_xlim()[1]
    ends = [picture.measure.scale * moments[-1].score.mean for moments in lines.values()]
    heights = [float(to_axes.transform((x_end, end))[1]) for end in ends]
    for index, (learner, height) in enumerate(zip(lines, _apart(heights), strict=True)):
        score = lines[learner][-1].score
        colour = line_colour(index, len(lines))
        axes.annotate(
            f"{learner}  {score.text(picture.measure)}",
            (1.0, heights[index]),
            xycoords="axes fraction",
            xytext=(1.025, height),
            textcoords="axes fraction",
            fontsize=8.5,
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 4},
        )


def _apart(heights: Sequence[float]) -> list[float]:
    """Return heights near the given ones, in the same order, at least ``LABEL_GAP`` apart."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    placed: dict[int, float] = {}
    lowest = -1.0
    for index in order:
        placed[index] = max(heights[index], lowest + LABEL_GAP)
        lowest = placed[index]
    overhang = max(0.0, max(placed.values(), default=0.0) - 1.0)
    highest = 2.0
    for index in reversed(order):
        placed[index] = min(placed[index] - (overhang if index == order[-1] else 0.0), highest - LABEL_GAP)
        highest = placed[index]
    return [placed[index] for index in range(len(heights))]


def _height(value: float, picture: ComparisonPicture) -> float:
    """Return the height of a value in the terminal's plot, which supports linear scales only."""
    return math.log10(value) if picture.is_logarithmic else value


def _value(height: float, picture: ComparisonPicture) -> float:
    """Return the value at a height of the terminal's plot."""
    return 10.0**height if picture.is_logarithmic else height


def terminal_comparison(picture: ComparisonPicture, *, width: int, style: TerminalStyle) -> str:
    """Draw a comparison with characters.

    Args:
        picture: what to draw.
        width: columns of the terminal.
        style: what the terminal can show.

    Returns:
        The lines to print.
    """
    import plotext

    figure = plotext.figure
    plotext.terminal.limit(width=False, height=False)
    figure.clear()
    figure.theme("default" if style.is_coloured else "colorless")
    figure.plot_size(min(width, 100), TERMINAL_HEIGHT)
    lines = picture.lines()
    values = {learner: [picture.measure.scale * moment.score.mean for moment in lines[learner]] for learner in lines}
    for learner, moments in lines.items():
        heights = [_height(value, picture) for value in values[learner]]
        signal = figure.signal([picture.place(moment) for moment in moments], heights, marker=style.marker).lines()
        figure.draw(signal.label(learner))
    low, high = min(map(min, values.values())), max(map(max, values.values()))
    top = picture.highest_learned()
    high = high if top is None else min(high, picture.measure.scale * top)
    ends = sorted((_height(low, picture), _height(high, picture)))
    if ends[1] > ends[0]:
        figure.ruler("y").lim(*ends)
        ticks = [ends[0] + (ends[1] - ends[0]) * step / 4 for step in range(5)]
        figure.ruler("y").ticks(ticks, [f"{_value(tick, picture):.3g}".rjust(TICK_WIDTH) for tick in ticks])
    plain = style.finish(figure.build().string())
    heading = f"{picture.measure.label}, adapted, over {picture.axis_label}"
    return f"{heading}\n{plain.rstrip()}"
