"""The score matrix in the terminal."""

from __future__ import annotations

from agent.reports.family_curves import XAxis
from agent.reports.matrix_text import SHADES, matrix_caption, row_numbers, terminal_matrix
from agent.reports.score_matrix import ScoreMatrix
from tests.agent.reports.matrices import matrix


def test_every_cell_is_the_tenths_of_the_score() -> None:
    lines = [line.plain for line in terminal_matrix(matrix(), width=12 + 40 + 21, is_coloured=False)]
    forgotten, kept, unscaled, new = (line[12:52] for line in lines[2:6])
    assert forgotten == "." * 9 + "3" * 10 + "9" * 10 + "0" * 10 + "-"
    assert kept == "." * 19 + "1" * 10 + "5" * 10 + "9"
    assert unscaled == "." * 39 + "9"
    assert new == "." * 40
    assert lines[-1].split() == ["0", "40", "learner", "steps"]


def test_the_numbers_are_right_of_the_cells() -> None:
    lines = [line.plain for line in terminal_matrix(matrix(), width=80, is_coloured=False)]
    assert lines[1].split() == ["P", "F", "FT"]
    assert [line.split()[-3:] for line in lines[2:4]][1] == ["1.30", "0.00", "0.12"]
    assert lines[2].split()[-2:] == ["-0.40", "1.37"]
    assert len({len(line) for line in lines[1:-1]}) == 1


def test_a_small_negative_number_is_no_negative_zero() -> None:
    row = matrix().rows[1]
    assert row_numbers(row)[1] == "0.00"


def test_a_family_without_a_reference_is_marked_and_explained() -> None:
    assert any(line.plain.startswith("unscaled *") for line in terminal_matrix(matrix(), width=80))
    assert "* no reference: 1 is what the family had reached" in matrix_caption(matrix())
    without = ScoreMatrix(axis=XAxis.TIME, rows=matrix().rows[:2])
    assert "*" not in matrix_caption(without)
    assert "Average performance 0.45" in matrix_caption(without)


def test_on_a_terminal_with_colours_a_cell_has_that_of_its_score_and_practice_is_underlined() -> None:
    kept = terminal_matrix(matrix(), width=12 + 40 + 21)[3]
    styles = {kept.plain[span.start]: str(span.style) for span in kept.spans if span.end - span.start == 1}
    assert styles["1"].endswith(SHADES[1])
    underlined = [span.start - 12 for span in kept.spans if "underline" in str(span.style)]
    assert underlined == [29, 39]  # the cells of the two evaluations after which it had been practised


def test_a_narrow_terminal_still_has_cells() -> None:
    assert len(terminal_matrix(matrix(), width=20, is_coloured=False)[2].plain) == 12 + 10 + 21


def test_a_matrix_over_time_has_its_first_and_last_time_below() -> None:
    last = terminal_matrix(matrix(XAxis.TIME), width=120, is_coloured=False)[-1].plain
    assert last.count(":") >= 2
    assert "steps" not in last


def test_a_matrix_without_evaluations_has_rows_without_scores() -> None:
    empty = ScoreMatrix(axis=XAxis.LEARNER_STEPS, rows=matrix().rows[3:])
    assert set(terminal_matrix(empty, width=60, is_coloured=False)[2].plain.split()) == {"new", "." * (60 - 5 - 21)}
