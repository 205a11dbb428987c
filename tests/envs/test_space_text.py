from __future__ import annotations

from dataclasses import replace

import pytest

from envs.space_text import spaces_text
from envs.spaces import SpacePair
from envs.tensor.bandits import bandit_spaces
from envs.tensor.tabular_mdps import mdp_spaces
from tests.agent.learners.rl2.scripted_tasks import CHOICES, CONTINUOUS, MIXED, VECTOR, WIDE


@pytest.mark.parametrize(
    ("spaces", "text"),
    [
        (VECTOR, "3 numbers → 2 choices"),
        (CHOICES, "3 numbers (8 different observations) → 2 choices"),
        (CONTINUOUS, "3 numbers → 2 numbers"),
        (mdp_spaces(10, 5), "one of 10 observations → 5 choices"),
        (bandit_spaces(3), "one of 1 observations → 3 choices"),
        (MIXED, "3 numbers → 3 × 2 choices and 2 numbers"),
    ],
)
def test_spaces_are_described_in_words(spaces: SpacePair, text: str) -> None:
    assert spaces_text(spaces.to_json()) == text


def test_several_choices_are_multiplied() -> None:
    choices = " × ".join(str(count) for count in WIDE.action.choices)
    assert spaces_text(WIDE.to_json()).endswith(f"→ {choices} choices")


def test_many_equal_choices_are_a_power() -> None:
    lamps = replace(WIDE, action=replace(WIDE.action, choices=(2,) * 20, start=(0,) * 20))
    assert spaces_text(lamps.to_json()) == "40 numbers → 2^20 choices"


def test_images_are_named_by_their_sizes() -> None:
    image = {"height": 56, "width": 40, "channels": 3}
    action = {"choices": [7], "low": []}
    seen = {"kind": "image", "size": 0, "images": [image]}
    assert spaces_text({"observation": seen, "action": action}) == "an image of 56 x 40 x 3 → 7 choices"
    seen = {"kind": "image", "size": 1, "images": [image, image]}
    words = "images of 56 x 40 x 3 and 56 x 40 x 3 and 1 number → 7 choices"
    assert spaces_text({"observation": seen, "action": action}) == words
