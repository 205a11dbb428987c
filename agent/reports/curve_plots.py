"""Plots of learning curves, in the terminal and as a PNG file.

There is one small plot per family. A score of 0 is the return of random actions, a score of 1 is the family's reference
return. For a family without a reference, the held-out return is drawn. A second plot, in the PNG only, shows the
held-out return by episode of the trial: a rising line shows a policy that adapts while it acts.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.output.files import write_output_file
from agent.output.visible_text import visible_line
from memory.records import CurveMetric, StoredCurvePoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# The palette of Okabe & Ito is distinguishable with any colour vision, and dark enough for a white page.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, FAINT, GRID = "#333333", "#8C8C8C", "#E6E6E6"

LEVEL_STYLE: Any = {"color": FAINT, "linewidth": 0.9, "linestyle": (0, (4, 3)), "zorder": 1}

CARD_SIZE_IN = (6.4, 2.75)
HEADING_HEIGHT_IN = 0.85
HEADING_LEFT_IN = 0.29
MAX_MARKED_POINTS = 40
FEWEST_STEPS_SHOWN = 1000
LOWEST_SCORE_SHOWN = -1.0
"""Lower scores are outside the plot: in an untrained regression, a step of adaptation can cause very large errors."""

FIRST_MARGIN = 4.0
"""Margin around the latest evaluation within which the first is shown, in units of the latest evaluation's range."""

TERMINAL_PANEL_HEIGHT = 11
TERMINAL_PANEL_MIN_WIDTH = 56
TICK_WIDTH = 8
ASCII_FRAME = str.maketrans("─│┌┐└┘├┤┬┴┼", "-|+++++++++")

METRIC_LABELS = {
    CurveMetric.EVAL_SCORE: "score",
    CurveMetric.EVAL_RETURN: "held-out trial return",
    CurveMetric.TRIAL_RETURN: "trial return in practice",
    CurveMetric.EPISODE_RETURN: "held-out episode return",
    CurveMetric.LOSS: "loss",
    CurveMetric.LENT_SCORE: "score by another family's learner",
    CurveMetric.UNCERTAINTY: "uncertainty about held-out tasks",
}


class XAxis(StrEnum):
    """The horizontal axis of a curve."""

    ENV_STEPS = "env_steps"
    TIME = "time"


@dataclass(frozen=True, kw_only=True)
class TerminalStyle:
    """The capabilities of a terminal.

    Attributes:
        is_coloured: whether it shows colours.
        is_unicode: whether its encoding has every character; otherwise plots are drawn in ASCII.
    """

    is_coloured: bool = True
    is_unicode: bool = True

    @property
    def marker(self) -> str:
        """The marker that lines are drawn with."""
        return "braille" if self.is_unicode else "*"

    def finish(self, text: str) -> str:
        """Return plotext's drawing without the colours and characters that the terminal cannot show."""
        import plotext

        plain: str = text if self.is_coloured else plotext.uncolorize(text)
        return plain if self.is_unicode else plain.translate(ASCII_FRAME)


FULL_STYLE = TerminalStyle()


@dataclass(frozen=True, kw_only=True)
class FamilyCurves:
    """The curves of one family.

    Attributes:
        family: name of the family.
        metric: the metric of the curve; for a family without a scale, returns instead of scores.
        subtitle: a short description of the family's state.
        lines: points of the metric by label (empty label: one line), oldest first.
        first_episodes: held-out return by episode of the trial, at the first evaluation.
        latest_episodes: the same, at the latest evaluation.
        is_by_shots: whether the family is a few-shot family, whose returns are by number of shots instead of episode.
            The labels of the points are the numbers of shots.
        random_episode_return: mean return of an episode with random actions; None if unknown.
    """

    family: str
    metric: CurveMetric = CurveMetric.EVAL_SCORE
    subtitle: str = ""
    lines: Mapping[str, Sequence[StoredCurvePoint]] = field(default_factory=dict)
    first_episodes: Sequence[StoredCurvePoint] = ()
    latest_episodes: Sequence[StoredCurvePoint] = ()
    is_by_shots: bool = False
    random_episode_return: float | None = None


def x_values(points: Sequence[StoredCurvePoint], axis: XAxis) -> list[float]:
    """Return the positions of the points on the axis: environment steps, or seconds since the epoch."""
    return [point.at if axis is XAxis.TIME else float(point.env_steps) for point in points]


def drawable(lines: Mapping[str, Sequence[StoredCurvePoint]]) -> dict[str, list[StoredCurvePoint]]:
    """Return the lines without non-finite points. Lines without a finite point are left out."""
    finite = {label: [p for p in points if math.isfinite(p.point.value)] for label, points in lines.items()}
    return {label: points for label, points in finite.items() if points}


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


def save_png(figure: Figure, file: Path) -> None:
    """Write a figure to a PNG file atomically."""
    drawn = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # Matplotlib draws a box.
        figure.savefig(drawn, format="png", dpi=130, facecolor="white")
    write_output_file(file, drawn.getvalue())


def page_style() -> Any:
    """Return Matplotlib's settings for every page of curves. They disable formulas in text."""
    return {
        "text.parse_math": False,
        "text.usetex": False,
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "text.color": INK,
        "axes.edgecolor": "#BFBFBF",
        "axes.labelcolor": INK,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "lines.solid_capstyle": "round",
    }


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
    lines = drawable(family.lines)
    if not lines:
        _draw_placeholder(axes, "not measured yet")
        return
    _label_x(axes, axis)
    for index, (label, points) in enumerate(lines.items()):
        _draw_line(axes, points, axis=axis, colour=line_colour(index, len(lines)), label=_line_label(family, label))
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


def _label_x(axes: Axes, axis: XAxis) -> None:
    if axis is XAxis.TIME:
        from matplotlib import dates

        locator = dates.AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        local = datetime.now().astimezone().tzinfo
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=local))  # type: ignore[no-untyped-call]
        axes.set_xlabel("time")
        return
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_tick(value)))
    axes.set_xlabel("environment steps")


def short_tick(value: float) -> str:
    """Return a tick's number in few characters: 500, 25k, 1.5M."""
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:g}{suffix}"
    return f"{value:g}"


def _draw_placeholder(axes: Axes, text: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=FAINT)


def line_colour(index: int, num_lines: int) -> Any:
    """Return the colour of line ``index`` of ``num_lines``."""
    if num_lines <= len(CYCLE):
        return CYCLE[index]
    from matplotlib import colormaps

    return colormaps["viridis"](0.85 * index / (num_lines - 1))


def _line_label(family: FamilyCurves, label: str) -> str:
    if label.isdigit() and (family.is_by_shots or family.metric is CurveMetric.UNCERTAINTY):
        return f"{label} shots"
    if family.metric is CurveMetric.EPISODE_RETURN and label.isdigit():
        return f"episode {int(label) + 1}"
    return visible_line(label)


def terminal_plots(
    curves: Sequence[FamilyCurves],
    *,
    axis: XAxis = XAxis.ENV_STEPS,
    width: int = 80,
    style: TerminalStyle = FULL_STYLE,
) -> str:
    """Draw one panel per family with characters, with as many panels per row as fit.

    Args:
        curves: the curves to draw.
        axis: the horizontal axis.
        width: number of columns of the terminal.
        style: capabilities of the terminal.

    Returns:
        The lines to print.
    """
    num_columns = max(1, min(len(curves), width // TERMINAL_PANEL_MIN_WIDTH, 3))
    panel_width = min(width // num_columns, 100) - 1
    panels = [_terminal_panel(family, axis=axis, width=panel_width, style=style) for family in curves]
    rows = []
    for start in range(0, len(panels), num_columns):
        row = panels[start : start + num_columns]
        rows += ["  ".join(line).rstrip() for line in zip(*row, strict=True)]
    return "\n".join(rows)


def _terminal_panel(family: FamilyCurves, *, axis: XAxis, width: int, style: TerminalStyle) -> list[str]:
    heading = f"{visible_line(family.family)}: {METRIC_LABELS[family.metric]}"[:width].ljust(width)
    subtitle = visible_line(family.subtitle)[:width].ljust(width)
    lines = drawable(family.lines)
    if not lines:
        body = ["not measured yet".center(width), *[" " * width] * (TERMINAL_PANEL_HEIGHT - 1)]
    else:
        body = _plotext_lines(family, lines, axis=axis, width=width, style=style)
    return [heading, subtitle, *body, " " * width]


def _plotext_lines(
    family: FamilyCurves,
    lines: Mapping[str, Sequence[StoredCurvePoint]],
    *,
    axis: XAxis,
    width: int,
    style: TerminalStyle,
) -> list[str]:
    import plotext

    figure = plotext.figure
    plotext.terminal.limit(width=False, height=False)
    figure.clear()
    figure.theme("default" if style.is_coloured else "colorless")
    figure.plot_size(width, TERMINAL_PANEL_HEIGHT)
    for label, points in lines.items():
        signal = figure.signal(x_values(points, axis), [p.point.value for p in points], marker=style.marker).lines()
        figure.draw(signal.label(_line_label(family, label)) if len(lines) > 1 else signal)
    ticks = _spread([x for points in lines.values() for x in x_values(points, axis)])
    figure.ruler("x").ticks(ticks, [_terminal_tick(axis)(tick) for tick in ticks])
    low, high = _value_range([p.point.value for points in lines.values() for p in points], family.metric)
    heights = [low, 0.5, high] if family.metric is CurveMetric.EVAL_SCORE else _spread([low, high])
    figure.ruler("y").lim(low, high)
    figure.ruler("y").ticks(heights, [f"{height:.3g}".rjust(TICK_WIDTH) for height in heights])
    return style.finish(figure.build().string()).rstrip("\n").split("\n")


def _value_range(values: Sequence[float], metric: CurveMetric) -> tuple[float, float]:
    low, high = min(values), max(values)
    if metric is CurveMetric.EVAL_SCORE:
        low = 0.0 if low > -0.05 else max(math.floor(low * 10) / 10, LOWEST_SCORE_SHOWN)
        high = max(math.ceil(high * 10) / 10, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _spread(values: Sequence[float], num_ticks: int = 3) -> list[float]:
    low, high = min(values), max(values)
    if high == low:
        return [low]
    return [low + (high - low) * index / (num_ticks - 1) for index in range(num_ticks)]


def _terminal_tick(axis: XAxis) -> Callable[[float], str]:
    if axis is XAxis.TIME:
        return lambda at: datetime.fromtimestamp(at).astimezone().strftime("%d %H:%M")
    return lambda steps: short_tick(float(f"{steps:.3g}"))
