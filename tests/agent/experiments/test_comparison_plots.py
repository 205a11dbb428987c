"""Plots of comparisons: which scale is used, where labels go, and what a terminal without Unicode shows."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from agent.experiments.comparison_plots import (
    LABEL_GAP,
    ComparisonPicture,
    _apart,
    draw_comparison,
    terminal_comparison,
)
from agent.experiments.scores import Measure
from agent.experiments.standings import standings
from agent.reports.terminal_plots import TerminalStyle
from tests.agent.experiments.outcomes import outcome, point


def picture(measure: Measure = Measure.SQUARED_ERROR, **means: tuple[float, ...]) -> ComparisonPicture:
    outcomes = [
        outcome(
            learner,
            *(point(mean, updates=5 * index, half_width=0.0) for index, mean in enumerate(along)),
            last=point(end, updates=5 * len(along), half_width=0.0),
        )
        for learner, (*along, end) in means.items()
    ]
    return ComparisonPicture(
        title="sinusoids", subtitle="two learners", measure=measure, standings=standings(outcomes, measure),
        is_over_time=False,
    )  # fmt: skip


def test_errors_that_span_more_than_twenty_times_are_drawn_on_a_logarithmic_scale() -> None:
    assert picture(maml=(4.0, 1.0, 0.1)).is_logarithmic
    assert not picture(maml=(4.0, 1.0, 0.5)).is_logarithmic
    assert not picture(Measure.ACCURACY, maml=(0.01, 0.5, 0.9)).is_logarithmic


def test_the_error_of_an_untrained_network_does_not_stretch_the_axis() -> None:
    assert picture(maml=(40.0, 3.0, 1.0), reptile=(50.0, 2.0, 1.5)).highest_learned() == 3.0
    assert picture(Measure.ACCURACY, maml=(0.2, 0.5, 0.9)).highest_learned() is None


@pytest.mark.parametrize("heights", [[0.5, 0.5, 0.5], [0.99, 0.1, 1.0, 0.98], [0.0, 0.01, 0.02], []])
def test_labels_keep_their_order_and_their_distance_and_stay_in_the_picture(heights: list[float]) -> None:
    placed = _apart(heights)
    by_height = sorted(range(len(heights)), key=lambda index: heights[index])
    gaps = [placed[above] - placed[below] for below, above in pairwise(by_height)]
    assert all(gap >= LABEL_GAP - 1e-9 for gap in gaps)
    assert max(placed, default=1.0) <= 1.0 + 1e-9


def test_labels_that_do_not_meet_stay_where_they_are() -> None:
    assert _apart([0.2, 0.8, 0.5]) == [0.2, 0.8, 0.5]


def test_a_terminal_without_unicode_gets_ascii() -> None:
    style = TerminalStyle(is_coloured=False, is_unicode=False)
    text = terminal_comparison(picture(maml=(4.0, 2.0, 1.0), versa=(4.0, 3.0, 2.0)), width=80, style=style)
    assert text.startswith("squared error, adapted, over updates\n")
    assert text.isascii()
    assert "maml" in text
    assert "versa" in text


def test_the_picture_is_a_png_with_a_line_in_each_colour(tmp_path: Path) -> None:
    file = tmp_path / "comparison.png"
    draw_comparison(picture(maml=(4.0, 2.0, 1.0), versa=(4.0, 3.0, 2.0)), file)
    with Image.open(file) as image:
        colours = {colour for count, colour in image.convert("RGB").getcolors(1 << 24) if count > 100}
    assert len([colour for colour in colours if max(colour) - min(colour) > 60]) >= 2
    assert list(tmp_path.iterdir()) == [file]
