from __future__ import annotations

import numpy as np
import torch

from envs.family import Split
from envs.seeds import key_of, seed_of
from envs.tensor.counter_random import stream_key


def test_the_key_of_a_text_is_the_beginning_of_its_hash() -> None:
    # The SHA-256 of the empty text begins with e3 b0 c4 42 98 fc 1c 14 (FIPS 180-4).
    assert key_of("") == 0x141CFC9842C4B0E3
    assert key_of("ä") != key_of("a")


def test_a_seed_follows_from_each_value_and_their_order() -> None:
    assert seed_of(7, "bandits@1", 256) == key_of("7/bandits@1/256") >> 1
    assert len({seed_of(7, "a@1"), seed_of(8, "a@1"), seed_of(7, "a@2"), seed_of("a@1", 7), seed_of(7, "a@1", 0)}) == 5


def test_a_generator_takes_every_seed() -> None:
    for number in range(50):
        torch.Generator().manual_seed(seed_of(number))
        assert 0 <= seed_of(number) <= np.iinfo(np.int64).max


def test_the_tasks_of_data_folders_stay_the_same() -> None:
    """The key was computed by learnd 0.1.0."""
    assert stream_key("bernoulli_bandits", {"num_arms": 5}, Split.TRAINING, "tasks") == 11743401209616201163
