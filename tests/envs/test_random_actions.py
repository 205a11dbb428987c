"""Random actions, and actions that a mask allows."""

from __future__ import annotations

import torch

from envs.random_actions import nearest_allowed, random_actions
from envs.spaces import ActionKind, ActionSpec

DISCRETE = ActionSpec(kind=ActionKind.DISCRETE, choices=(4,), start=(0,))
MIXED = ActionSpec(kind=ActionKind.MIXED, choices=(2, 3), low=(-2.0,), high=(2.0,), start=(0, 0))


def test_mixed_actions_are_indices_and_then_numbers() -> None:
    drawn = random_actions(MIXED, 500, torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.float32
    assert [sorted(set(column.tolist())) for column in drawn.T[:2]] == [[0.0, 1.0], [0.0, 1.0, 2.0]]
    assert drawn[:, 2].abs().max() <= 1.0


def test_allowed_choices_are_drawn_equally_often_and_others_never() -> None:
    allowed = torch.tensor([True, False, True, True]).expand(30_000, 4)
    drawn = random_actions(DISCRETE, 30_000, torch.Generator().manual_seed(0), allowed=allowed)
    shares = drawn.bincount(minlength=4) / len(drawn)
    torch.testing.assert_close(shares, torch.tensor([1 / 3, 0.0, 1 / 3, 1 / 3]), rtol=0, atol=0.02)


def test_every_choice_is_drawn_where_none_is_allowed() -> None:
    drawn = random_actions(DISCRETE, 500, torch.Generator().manual_seed(0), allowed=torch.zeros(500, 4) > 0)
    assert set(drawn.tolist()) == {0, 1, 2, 3}


def test_a_choice_that_is_not_allowed_becomes_the_next_allowed_one() -> None:
    allowed = torch.tensor([[True, False, False, True], [False, True, False, False], [False] * 4])
    assert nearest_allowed(DISCRETE, torch.tensor([1, 3, 2]), allowed).tolist() == [3, 1, 2]


def test_each_dimension_is_replaced_by_its_own_mask_and_numbers_are_kept() -> None:
    action = torch.tensor([[1.0, 1.0, -0.5]])
    allowed = torch.tensor([[True, False, True, False, True]])
    assert nearest_allowed(MIXED, action, allowed).tolist() == [[0.0, 2.0, -0.5]]


def test_allowed_actions_are_kept() -> None:
    action = torch.tensor([3, 0])
    assert torch.equal(nearest_allowed(DISCRETE, action, torch.ones(2, 4) > 0), action)
