"""Plots of learning curves as a PNG file.

There is one small plot per family. A score of 0 is the return of random actions, a score of 1 is the family's reference
return. For a family without a reference, the held-out return is drawn. A second plot shows the held-out return by
episode of the trial: a rising line shows a policy that adapts while it acts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.output.visible_text import visible_line
from agent.reports.family_curves import (
    LOWEST_SCORE_SHOWN,
    METRIC_LABELS,
    FamilyCurves,
    XAxis,
    drawable,
    line_label,
    x_values,
)
from agent.reports.plot_style import FAINT, VERMILION, line_colour, page_style, save_png
from memory.records import CurveMetric, StoredCurvePoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


LEVEL_STYLE: Any = {"color": FAINT, "linewidth": 0.9, "linestyle": (0, (4, 3)), "zorder": 1}

CARD_SIZE_IN = (6.4, 2.75)
HEADING_HEIGHT_IN = 0.85
HEADING_LEFT_IN = 0.29
MAX_MARKED_POINTS = 40
FEWEST_STEPS_SHOWN = 1000

FIRST_MARGIN = 4.0
"""Margin around the latest evaluation within which the first is shown, in units of the latest evaluation's range."""


def draw_png(
    curves: Sequence[FamilyCurves],
    file: Path,
    *,
    axis: XAxis = XAxis.ENV_STEPS,
    title: str = "",
) -> None:
    """Draw small multiples to a PNG file: one card per family, with its curve and its adaptation within a trial.

    Args:
        curves: the curves to draw, one card per family, in order.
        file: the PNG file, which is written atomically.
        axis: the horizontal axis.
        title: title above all cards.
    """
    from matplotlib import rc_context

    with rc_context(page_style()):
        save_png(_page(curves, axis=axis, title=title), file)


def _page(curves: Sequence[FamilyCurves], *, axis: XAxis, title: str) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    num_columns = 1 if len(curves) <= 1 else 2 if len(curves) <= 10 else 3
    num_rows = max(1, math.ceil(len(curves) / num_columns))
    width, height = CARD_SIZE_IN[0] * num_columns, HEADING_HEIGHT_IN + CARD_SIZE_IN[1] * num_rows
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    # Subfigures use only the ratios of a grid, so the heading must be a row of the grid.
    heights = [HEADING_HEIGHT_IN, *[CARD_SIZE_IN[1]] * num_rows]
    cells = figure.add_gridspec(num_rows + 1, num_columns, height_ratios=heights, hspace=0, wspace=0)
    left = HEADING_LEFT_IN / width
    figure.text(left, 1 - 0.2 / height, visible_line(title or "learnd"), fontsize=15, fontweight="bold", va="top")
    figure.text(left, 1 - 0.55 / height, _caption(curves), fontsize=8.5, color=FAINT, va="top")
    for index, family in enumerate(curves):
        card = figure.add_subfigure(cells[1 + index // num_columns, index % num_columns])
        _draw_card(card, family, axis=axis)
    return figure


def _caption(curves: Sequence[FamilyCurves]) -> str:
    has_scores = any(family.metric is CurveMetric.EVAL_SCORE for family in curves)
    scale = "score 0: random, 1: reference. " if has_scores else ""
    return f"{scale}Bands and bars: one standard error. Right: held-out return by episode or shots."


def _draw_card(card: SubFigure, family: FamilyCurves, *, axis: XAxis) -> None:
    left = HEADING_LEFT_IN / CARD_SIZE_IN[0]
    card.text(left, 0.96, visible_line(family.family), fontsize=11.5, fontweight="bold", va="top")
    card.text(left, 0.872, visible_line(family.subtitle), fontsize=8.5, color=FAINT, va="top")
    panels = card.add_gridspec(
        1, 2, width_ratios=[1.9, 1.0], left=0.105, right=0.965, bottom=0.19, top=0.76, wspace=0.34
    )
    _draw_curve(card.add_subplot(panels[0]), family, axis=axis)
    _draw_adaptation(card.add_subplot(panels[1]), family)


def _draw_curve(axes: Axes, family: FamilyCurves, *, axis: XAxis) -> None:
    axes.set_ylabel(METRIC_LABELS[family.metric])
    lines = drawable(family.lines, axis)
    if not lines:
        _draw_placeholder(axes, "not measured yet")
        return
    label_x(axes, axis)
    for index, (label, points) in enumerate(lines.items()):
        _draw_line(axes, points, axis=axis, colour=line_colour(index, len(lines)), label=line_label(family, label))
    if family.metric is CurveMetric.EVAL_SCORE:
        _mark_score_scale(axes, highest=max(point.point.value for points in lines.values() for point in points))
    if axis is XAxis.ENV_STEPS:
        furthest = max(point.env_steps for points in lines.values() for point in points)
        axes.set_xlim(0, 1.04 * max(furthest, FEWEST_STEPS_SHOWN))
    if len(lines) > 1:
        axes.legend(loc="best", ncols=2, handlelength=1.2, columnspacing=1.0)


def _draw_line(axes: Axes, points: Sequence[StoredCurvePoint], *, axis: XAxis, colour: Any, label: str) -> None:
    x: list[Any] = x_values(points, axis)
    if axis is XAxis.TIME:
        x = [datetime.fromtimestamp(at).astimezone() for at in x]
    values = [point.point.value for point in points]
    errors = [point.point.standard_error or 0.0 for point in points]
    if any(errors):
        low = [value - error for value, error in zip(values, errors, strict=True)]
        high = [value + error for value, error in zip(values, errors, strict=True)]
        axes.fill_between(x, low, high, color=colour, alpha=0.22, linewidth=0)
    marker = "o" if len(points) <= MAX_MARKED_POINTS else ""
    axes.plot(x, values, color=colour, linewidth=1.6, marker=marker, markersize=2.4, label=label)
    axes.plot(x[-1:], values[-1:], color=colour, marker="o", markersize=4.5, clip_on=False, zorder=4)


def _mark_score_scale(axes: Axes, *, highest: float) -> None:
    """Mark the scores of random actions and of the reference, if the curve is near. A wide band may exceed the axes."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(min(low, -0.13), LOWEST_SCORE_SHOWN), max(min(high, highest + 1.0), 1.13))
    _mark_level(axes, 0.0, "random", is_above=False)
    _mark_level(axes, 1.0, "reference", is_above=True)


def _mark_level(axes: Axes, level: float, name: str, *, is_above: bool) -> None:
    axes.axhline(level, **LEVEL_STYLE)
    axes.annotate(
        name,
        (1.0, level),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2 if is_above else -2),
        textcoords="offset points",
        ha="right",
        va="bottom" if is_above else "top",
        fontsize=7,
        color=FAINT,
    )


def _draw_adaptation(axes: Axes, family: FamilyCurves) -> None:
    axes.set_xlabel("shots" if family.is_by_shots else "episode of the trial")
    axes.set_ylabel("held-out return")
    if not family.latest_episodes:
        _draw_placeholder(axes, "not evaluated yet")
        return
    is_same = not family.first_episodes or family.first_episodes[0].at == family.latest_episodes[0].at
    if not is_same:
        _draw_episodes(axes, family, family.first_episodes, colour=FAINT, label="first", is_hollow=True)
    _draw_episodes(axes, family, family.latest_episodes, colour=VERMILION, label="latest", is_hollow=False)
    _tick_episodes(axes, family)
    _keep_in_view(axes, family)
    if family.random_episode_return is not None:
        axes.axhline(family.random_episode_return, **LEVEL_STYLE, label="random")
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.08, 1.0),
        ncols=3,
        handlelength=1.3,
        columnspacing=0.9,
        handletextpad=0.5,
        borderaxespad=0.1,
    )


def _draw_episodes(
    axes: Axes,
    family: FamilyCurves,
    points: Sequence[StoredCurvePoint],
    *,
    colour: str,
    label: str,
    is_hollow: bool,
) -> None:
    axes.errorbar(
        [_place(family, point) for point in points],
        [point.point.value for point in points],
        yerr=[point.point.standard_error or 0.0 for point in points],
        color=colour,
        linewidth=1.5,
        marker="o",
        markersize=4.5,
        markerfacecolor="white" if is_hollow else colour,
        elinewidth=1.0,
        capsize=2,
        label=label,
    )


def _keep_in_view(axes: Axes, family: FamilyCurves) -> None:
    """Limit the axes to the neighbourhood of the latest evaluation.

    The first evaluation may be far outside, because adaptation can reduce the return of an untrained policy.
    """
    values = [point.point.value for point in family.latest_episodes if math.isfinite(point.point.value)]
    if not values:
        return
    values += [] if family.random_episode_return is None else [family.random_episode_return]
    margin = FIRST_MARGIN * ((max(values) - min(values)) or abs(values[0]) or 1.0)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, min(values) - margin), min(high, max(values) + margin))


def _place(family: FamilyCurves, point: StoredCurvePoint) -> int:
    """Return the position of a point on the axis: episodes are numbered from 1, shots by their number."""
    return int(point.point.label) + (0 if family.is_by_shots else 1)


def _tick_episodes(axes: Axes, family: FamilyCurves) -> None:
    from matplotlib.ticker import MaxNLocator

    last = max(_place(family, point) for point in family.latest_episodes)
    first = 0 if family.is_by_shots else 1
    axes.set_xlim(first - 0.3, max(last, first + 1) + 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def label_x(axes: Axes, axis: XAxis) -> None:
    """Set the ticks and the label of a horizontal axis."""
    if axis is XAxis.TIME:
        from matplotlib import dates

        locator = dates.AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        local = datetime.now().astimezone().tzinfo
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=local))  # type: ignore[no-untyped-call]
        axes.set_xlabel("time")
        return
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("learner steps of the service" if axis is XAxis.LEARNER_STEPS else "environment steps")


def _draw_placeholder(axes: Axes, text: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=FAINT)
