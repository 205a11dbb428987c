"""Vectors of which few are different are matched exactly: what is read is what a table of their numbers reads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.in_trial_memory import met
from agent.learners.rl2.in_trial_memory.met import MAX_MET, MAX_SIZE, MetMemory
from agent.learners.rl2.in_trial_memory.protocol import ReadMeaning, has_table, look_aheads, read_meaning
from agent.learners.rl2.in_trial_memory.table import TableMemory
from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair
from tests.agent.learners.rl2.in_trial_memory.steps import read, write
from tests.agent.learners.rl2.scripted_tasks import CHOICES, CONTINUOUS, VECTOR

DISCOUNTS = (0.5, 0.9)


def memory_of(spaces: SpacePair = CHOICES) -> MetMemory:
    return MetMemory(1, spaces, episodes_per_trial=2, discounts=DISCOUNTS, device="cpu")


def spaces_of(num_distinct: int, *, num_choices: int = 2) -> SpacePair:
    observation = ObservationSpec(kind=ObservationKind.VECTOR, size=3, num_distinct=num_distinct)
    return SpacePair(observation=observation, action=replace(CHOICES.action, choices=(num_choices,)))


def as_vector(number: int) -> list[float]:
    return [float(number >> bit & 1) for bit in range(3)]


def test_it_reads_what_a_table_of_the_numbers_reads() -> None:
    memory = memory_of()
    table = TableMemory(1, 8, CHOICES.action, episodes_per_trial=2, discounts=DISCOUNTS)
    generator = torch.Generator().manual_seed(0)
    at = 5
    for step in range(120):
        torch.testing.assert_close(read(memory, as_vector(at)), read(table, [at]))
        action, following = step % 3 % 2, int(torch.randint(8, (), generator=generator))
        for one, here, there in ((memory, as_vector(at), as_vector(following)), (table, [at], [following])):
            write(one, here, action, float(following == 3), there, terminated=step % 10 == 9)
        at = following


def test_what_was_not_met_and_what_finds_no_room_reads_as_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(met, "MAX_MET", 2)
    memory, unknown = memory_of(), read(memory_of(), as_vector(0))
    write(memory, as_vector(1), 0, 1.0, as_vector(2))
    write(memory, as_vector(2), 0, 1.0, as_vector(4), terminated=True)
    for number in (3, 4):  # there is room for two
        write(memory, as_vector(number), 1, 9.0, as_vector(number), terminated=True)
        assert read(memory, as_vector(number))[:, :3].tolist() == unknown[:, :3].tolist()
    assert read(memory, as_vector(1))[0, 0] == 1.0
    assert read(memory, as_vector(2))[0, 0] == 1.0


def test_it_is_used_where_few_observations_are_different_and_an_action_is_one_choice() -> None:
    config = RL2Config()
    several = ActionSpec(kind=ActionKind.MULTI_DISCRETE, choices=(2, 2), start=(0, 0))
    assert has_table(CHOICES, config)
    assert look_aheads(CHOICES, config) == config.look_ahead_discounts
    assert read_meaning(CHOICES, config) is ReadMeaning.PLANS
    for spaces in (VECTOR, replace(CHOICES, action=CONTINUOUS.action), replace(CHOICES, action=several)):
        assert not has_table(spaces, config)
    assert not has_table(CHOICES, replace(config, look_ahead_discounts=()))


def test_it_is_used_only_where_planning_is_cheap() -> None:
    assert MetMemory.size_of(spaces_of(50_000, num_choices=8)) == 8 * MAX_MET <= MAX_SIZE
    assert has_table(spaces_of(50_000, num_choices=8), RL2Config())
    assert not has_table(spaces_of(50_000, num_choices=9), RL2Config())
    assert has_table(spaces_of(8, num_choices=9), RL2Config())


def test_negative_zero_is_zero_and_values_in_another_order_are_another_observation() -> None:
    memory = memory_of()
    write(memory, [0.0, 1.0, 0.0], 1, 5.0, [0.0, 0.0, 0.0])
    assert read(memory, [-0.0, 1.0, -0.0])[1, 0] == 5.0
    assert read(memory, [1.0, 0.0, 0.0])[1, 0] == 0.0
