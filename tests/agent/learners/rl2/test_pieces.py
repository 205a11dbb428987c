"""The layout of a segment's steps in pieces."""

from __future__ import annotations

import torch

from agent.learners.rl2.pieces import Pieces


def flags(*rows: str) -> torch.Tensor:
    """[T, B] of one text per row, with x at the last step of a trial."""
    return torch.tensor([[step == "x" for step in row] for row in rows]).T


def test_every_part_of_a_trial_is_a_piece() -> None:
    pieces = Pieces.of(flags("..x.x", ".....", "....x"))
    assert pieces.row.tolist() == [0, 1, 2, 0]
    assert pieces.start.tolist() == [0, 0, 0, 3]
    assert pieces.length.tolist() == [3, 5, 5, 2]


def test_steps_keep_their_order_and_padding_repeats_the_last_step() -> None:
    pieces = Pieces.of(flags(".x...", "....."))
    steps = torch.arange(10).view(5, 2)
    assert pieces.lay_out(steps).T.tolist() == [[0, 2, 2, 2, 2], [1, 3, 5, 7, 9], [4, 6, 8, 8, 8]]
    assert pieces.is_valid.T.tolist() == [[True] * 2 + [False] * 3, [True] * 5, [True] * 3 + [False] * 2]


def test_steps_are_found_in_the_layout_by_their_step_and_row() -> None:
    pieces = Pieces.of(flags(".x.x.", "....x", "x...."))
    steps = torch.arange(15).view(5, 3)
    step, row = torch.cartesian_prod(torch.arange(5), torch.arange(3)).unbind(1)
    places = pieces.places(step, row)
    assert pieces.lay_out(steps).flatten()[places].tolist() == list(range(15))
    assert pieces.is_valid.flatten()[places].all()


def test_rows_without_an_end_are_not_copied() -> None:
    steps = torch.arange(6).view(3, 2)
    assert Pieces.of(flags("...", "..x")).lay_out(steps) is steps


def test_pieces_that_begin_within_the_segment_begin_with_a_hidden_state_of_0() -> None:
    pieces = Pieces.of(flags("x.", ".."))
    hidden = torch.tensor([[1.0], [2.0]])
    assert pieces.first_hidden(hidden).tolist() == [[1.0], [2.0], [0.0]]
