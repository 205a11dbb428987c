"""What learning costs, measured."""

from __future__ import annotations

import torch

from agent.foreground.costs import peak_bytes

MIB = 1 << 20


def mebibytes(count: int) -> torch.Tensor:
    return torch.zeros(count * MIB // 4)


def test_the_peak_is_of_what_is_held_at_once() -> None:
    def step() -> None:
        first = mebibytes(3)
        del first
        second, third = mebibytes(2), mebibytes(4)
        del second, third

    assert peak_bytes(step) == 6 * MIB


def test_a_view_and_what_was_there_before_do_not_count() -> None:
    before = mebibytes(5)
    assert peak_bytes(lambda: [before.view(-1, 2), before.mul_(2.0)]) == 0
    assert peak_bytes(lambda: before + 1.0) == 5 * MIB


def test_what_a_backward_pass_needs_is_seen() -> None:
    weight = torch.ones(MIB // 4, requires_grad=True)

    def step() -> None:
        weight.exp().exp().sum().backward()  # type: ignore[no-untyped-call]

    assert peak_bytes(step) >= 3 * MIB, "two results that are kept for the way back, and the gradient"
