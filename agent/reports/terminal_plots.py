"""Plots of learning curves in the terminal: one panel per family, drawn with characters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.output.quantities import short_count
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
from memory.records import CurveMetric, StoredCurvePoint

TERMINAL_PANEL_HEIGHT = 11
TERMINAL_PANEL_MIN_WIDTH = 56
TICK_WIDTH = 8
ASCII_FRAME = str.maketrans("─│┌┐└┘├┤┬┴┼", "-|+++++++++")


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
    lines = drawable(family.lines, axis)
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
        figure.draw(signal.label(line_label(family, label)) if len(lines) > 1 else signal)
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
    return short_count
