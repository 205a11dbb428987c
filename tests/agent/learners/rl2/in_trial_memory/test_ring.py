"""Reads of a similarity memory against the definition, step by step in float64; and memories of fewer trials."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from agent.learners.distributions import num_slots, slots_of
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.in_trial_memory.keys import Keys
from agent.learners.rl2.in_trial_memory.protocol import InTrialMemory, empty_memory
from agent.learners.rl2.in_trial_memory.similarity import BANDWIDTH, SimilarityMemory
from agent.learners.rl2.pair import observed_width
from envs.random_actions import random_actions
from envs.spaces import ActionKind, ActionSpec, ObservationKind, SpacePair
from tests.agent.learners.rl2.scripted_tasks import ALL_SPACES, CONTINUOUS, DISCRETE, VECTOR, WIDE

NUM_TRIALS = 5
DISCOUNT = 0.9


@dataclass(frozen=True, kw_only=True)
class Step:
    """The values that one step of B trials wrote."""

    observation: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    terminated: Tensor
    truncated: Tensor
    active: Tensor

    def rows(self, rows: Tensor) -> Step:
        return Step(**{name: values.index_select(0, rows) for name, values in vars(self).items()})


def add(memory: InTrialMemory, step: Step, **changed: Tensor) -> None:
    """Write a step, and end the episodes that ended with it."""
    written = {name: values for name, values in vars(step).items() if name != "truncated"}
    memory.write(**{**written, **changed})
    memory.end_episodes((step.terminated | step.truncated) & step.active)


def steps_of(spaces: SpacePair, num_steps: int) -> list[Step]:
    generator = torch.Generator().manual_seed(1)

    def observe() -> Tensor:
        if spaces.observation.kind is ObservationKind.DISCRETE:
            return torch.randint(spaces.observation.size, (NUM_TRIALS, 1), generator=generator).float()
        numbers = torch.randn(NUM_TRIALS, observed_width(spaces.observation), generator=generator)
        return (numbers > 0.0).float() if spaces.observation.num_distinct else numbers

    def act() -> Tensor:
        if spaces.action.kind is ActionKind.CONTINUOUS:
            return torch.randn(NUM_TRIALS, spaces.action.width, generator=generator)
        if spaces.action.kind is ActionKind.MIXED:
            return random_actions(spaces.action, NUM_TRIALS, generator)
        chosen = [torch.randint(n, (NUM_TRIALS,), generator=generator) for n in spaces.action.choices]
        return chosen[0] if spaces.action.kind is ActionKind.DISCRETE else torch.stack(chosen, dim=-1)

    ends = torch.rand(num_steps, NUM_TRIALS, generator=generator)
    return [
        Step(
            observation=observe(),
            action=act(),
            reward=torch.randn(NUM_TRIALS, generator=generator) * 3.0,
            next_observation=observe(),
            terminated=ends[index] < 0.1,
            truncated=ends[index] > 0.9,
            # The last trial is over long before the others.
            active=torch.arange(NUM_TRIALS) < (NUM_TRIALS if index < num_steps // 3 else NUM_TRIALS - 1),
        )
        for index in range(num_steps)
    ]


def returns_to_go(steps: list[Step], row: int) -> list[float | None]:
    """Of each step, None where its episode has not ended."""
    found: list[float | None] = [None] * len(steps)
    total: float | None = None
    for index in reversed(range(len(steps))):
        step = steps[index]
        if bool((step.terminated | step.truncated)[row]):
            total = 0.0
        total = None if total is None else float(step.reward[row]) + DISCOUNT * total
        found[index] = total
    return found


def read_by_definition(steps: list[Step], row: int, query: Tensor, action: ActionSpec) -> Tensor:
    """[K, F] of one trial, from the steps that it took and the memory still holds."""
    goes_on = [bool(step.active[row]) for step in steps]
    to_go = [value for value, taken in zip(returns_to_go(steps, row), goes_on, strict=True) if taken]
    taken = [step for step, is_taken in zip(steps, goes_on, strict=True) if is_taken]
    keys = torch.stack([step.observation[row] for step in taken]).double()
    weights = torch.exp(-(keys - query).square().sum(-1) / (2 * len(query) * BANDWIDTH**2))
    finished = torch.tensor([value is not None for value in to_go], dtype=torch.float64)
    returns = torch.tensor([value or 0.0 for value in to_go], dtype=torch.float64)
    usual = (weights * finished * returns).sum() / (weights * finished).sum().clamp(min=1e-3)
    num_finished = finished.sum().clamp(min=1.0)
    mean = (finished * returns).sum() / num_finished
    spread = ((finished * returns.square()).sum() / num_finished - mean.square()).clamp(min=1e-4).sqrt()
    advantages = ((returns - usual) / spread).clamp(-5.0, 5.0)
    usual_read = usual.sign() * usual.abs().log1p()

    def mean_by(counted: Tensor, values: Tensor) -> Tensor:
        return (counted * values).sum() / counted.sum().clamp(min=1e-3)

    features = []
    for slot in range(num_slots(action)):
        if action.kind is ActionKind.CONTINUOUS:
            values = torch.stack([step.action[row, slot] for step in taken]).double().clamp(-1.0, 1.0)
            mean_action = mean_by(weights * finished, values)
            better = mean_by(weights * finished * advantages.exp(), values)
            counts = (weights.sum().log1p(), (weights * finished).sum().log1p())
            features.append(torch.stack([mean_action, better - mean_action, *counts, usual_read]))
            continue
        took = torch.tensor([bool((slots_of(action, step.action)[row] == slot).any()) for step in taken])
        here = weights * took
        rewards = torch.stack([step.reward[row] for step in taken]).double()
        known = (here * finished).sum()
        advantage = ((mean_by(here * finished, returns) - usual) / spread).clamp(-5.0, 5.0) * known / (known + 0.1)
        features.append(torch.stack([mean_by(here, rewards), here.sum().log1p(), known.log1p(), advantage, usual_read]))
    return torch.stack(features)


@pytest.mark.parametrize("spaces", [VECTOR, WIDE, CONTINUOUS], ids=["vector", "multi_discrete", "continuous"])
@pytest.mark.parametrize("num_steps", [7, 20, 29], ids=["filling", "full", "overwritten"])
def test_a_read_is_what_its_definition_says(spaces: SpacePair, num_steps: int) -> None:
    width, held = spaces.observation.width, 20
    memory = SimilarityMemory(
        NUM_TRIALS,
        spaces.action,
        keys=Keys(projection=torch.eye(width)),
        num_steps=held,
        discount=DISCOUNT,
    )
    steps = steps_of(spaces, num_steps)
    for step in steps:
        add(memory, step)
    query = steps[-2].observation + 0.3 * steps[-3].observation
    found = memory.read(query)
    assert found.isfinite().all()
    for row in range(NUM_TRIALS - 1):
        # What was overwritten is forgotten, and nothing else: its returns to go were told by later steps alone.
        expected = read_by_definition(steps[-held:], row, query[row].double(), spaces.action)
        torch.testing.assert_close(found[row].double(), expected, rtol=2e-4, atol=2e-4)


def test_an_observation_met_before_weighs_as_one_step_however_far_from_the_mean_it_lies() -> None:
    keys = Keys(projection=torch.eye(3))
    memory = SimilarityMemory(NUM_TRIALS, VECTOR.action, keys=keys, num_steps=4)
    step = steps_of(VECTOR, 3)[0]
    far = torch.full((NUM_TRIALS, 3), 5.0)
    add(memory, step, observation=far, action=torch.ones(NUM_TRIALS, dtype=torch.int64))
    torch.testing.assert_close(memory.read(far)[:, 1, 1], torch.full((NUM_TRIALS,), math.log(2)), rtol=1e-4, atol=0)


def memory_for(spaces: SpacePair) -> InTrialMemory:
    width = observed_width(spaces.observation)
    memory = empty_memory(
        spaces,
        RL2Config(memory_size=12),
        num_trials=NUM_TRIALS,
        episodes_per_trial=9,
        keys=Keys(projection=torch.eye(width)),
        device=torch.device("cpu"),
    )
    assert memory is not None
    return memory


@pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
def test_a_memory_of_some_trials_goes_on_as_the_memory_of_all(spaces: SpacePair) -> None:
    steps = steps_of(spaces, 24)
    whole, part = memory_for(spaces), memory_for(spaces)
    kept = torch.arange(NUM_TRIALS)
    for index, step in enumerate(steps):
        if index in {5, 15}:
            chosen = torch.tensor([0, 2, 3, 4] if index == 5 else [0, 2])
            part.keep(chosen)
            kept = kept[chosen]
        of_part = step.rows(kept)
        torch.testing.assert_close(part.read(of_part.observation), whole.read(step.observation)[kept])
        add(whole, step)
        add(part, of_part)


def test_planning_goes_on_in_a_memory_of_some_trials() -> None:
    assert len(RL2Config().look_ahead_discounts) > 0
    steps, part = steps_of(DISCRETE, 10), memory_for(DISCRETE)
    for step in steps:
        add(part, step)
    before = part.read(steps[0].observation)
    part.keep(torch.tensor([3, 1]))
    torch.testing.assert_close(part.read(steps[0].observation[[3, 1]]), before[[3, 1]])
