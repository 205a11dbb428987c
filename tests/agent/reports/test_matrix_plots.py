"""The picture of the score matrix: its colours, and the marks of practice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps, image
from numpy.typing import NDArray

from agent.reports.family_curves import XAxis
from agent.reports.matrix_plots import BELOW_RANDOM, draw_matrix_png
from agent.reports.plot_style import VERMILION
from agent.reports.score_matrix import MatrixRow, ScoreMatrix
from tests.agent.reports.matrices import family, matrix


def pixels_of(file: Path) -> NDArray[np.int64]:
    return (image.imread(file)[:, :, :3] * 255).round().astype(np.int64)


def share(pixels: NDArray[np.int64], colour: tuple[int, int, int]) -> float:
    return float((np.abs(pixels - np.array(colour)).sum(axis=2) < 9).mean())


def from_hex(text: str) -> tuple[int, int, int]:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def of_score(score: float) -> tuple[int, int, int]:
    red, green, blue, _ = (round(255 * part) for part in colormaps["viridis"](score))
    return red, green, blue


@pytest.mark.parametrize("axis", [XAxis.LEARNER_STEPS, XAxis.TIME])
def test_the_picture_has_the_colours_of_the_scores_and_marks_practice(axis: XAxis, tmp_path: Path) -> None:
    file = tmp_path / "matrix.png"
    draw_matrix_png(matrix(axis), file)
    pixels = pixels_of(file)
    assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    for score in (0.35, 0.97, 0.02, 0.1, 0.5):
        assert share(pixels, of_score(score)) > 0.002, score
    assert share(pixels, from_hex(BELOW_RANDOM)) > 0.0003
    assert share(pixels, from_hex(VERMILION)) > 0.0005


def test_without_practice_there_is_no_mark_of_it(tmp_path: Path) -> None:
    row = matrix().rows[0]
    idle = replace(row, cells=tuple(replace(cell, is_practised=False) for cell in row.cells))
    draw_matrix_png(ScoreMatrix(axis=XAxis.LEARNER_STEPS, rows=(idle,)), tmp_path / "matrix.png")
    assert share(pixels_of(tmp_path / "matrix.png"), from_hex(VERMILION)) == 0.0


@pytest.mark.parametrize("rows", [(), (MatrixRow(family=family("new"), unit=None),)])
def test_a_matrix_without_scores_says_so(rows: tuple[MatrixRow, ...], tmp_path: Path) -> None:
    draw_matrix_png(ScoreMatrix(axis=XAxis.TIME, rows=rows), tmp_path / "matrix.png", title="$\\frac{$ \x1b[31m")
    assert share(pixels_of(tmp_path / "matrix.png"), (0x8C, 0x8C, 0x8C)) > 0.0001
