from __future__ import annotations

import torch

from agent.trainer.practice.few_shot_candidates import slow_weights


def test_slow_weights_are_halfway_to_the_learners_own_where_both_have_them() -> None:
    published = {"w": torch.tensor([1.0]), "counter": torch.tensor([1]), "wider": torch.tensor([1.0])}
    fast = {
        "w": torch.tensor([5.0]),
        "counter": torch.tensor([7]),
        "new": torch.tensor([3.0]),
        "wider": torch.tensor([2.0, 2.0]),
    }
    slow = slow_weights(published, fast)
    assert {name: values.tolist() for name, values in slow.items()} == {
        "w": [3.0],
        "counter": [7],
        "new": [3.0],
        "wider": [2.0, 2.0],
    }
