"""Trials that are played side by side do not depend on each other."""

from __future__ import annotations

import numpy as np

from benchmarks.recurrence.recurring_bandits import _blocks


def test_blocks_keep_each_epochs_order_and_hold_no_context_twice() -> None:
    orders = [np.array(order) for order in ([0, 1, 1, 2, 0, 2], [2, 2, 1, 0], [1])]
    blocks = list(_blocks(orders))
    assert all(len(set(block)) == len(block) for block in blocks)
    for epoch, order in enumerate(orders):
        played = [context for block in blocks for played_in, context in block if played_in == epoch]
        assert played == order.tolist()
    assert blocks[0] == [(0, 0), (0, 1), (1, 2), (2, 1)]
