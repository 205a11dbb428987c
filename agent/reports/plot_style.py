"""The style of every page of plots: palette, fonts, and the writing of a figure to a PNG file."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.output.files import write_output_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# The palette of Okabe & Ito is distinguishable with any colour vision, and dark enough for a white page.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, FAINT, GRID = "#333333", "#8C8C8C", "#E6E6E6"


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


def line_colour(index: int, num_lines: int) -> Any:
    """Return the colour of line ``index`` of ``num_lines``."""
    if num_lines <= len(CYCLE):
        return CYCLE[index]
    from matplotlib import colormaps

    return colormaps["viridis"](0.85 * index / (num_lines - 1))
