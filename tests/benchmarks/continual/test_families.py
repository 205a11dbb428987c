"""The families of the continual benchmark: changed meanings and gridworlds answer as every task batch does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.continual.changed_meanings import ChangedMeaning, Meaning
from benchmarks.continual.gridworlds import EPISODES_PER_TRIAL, MAX_EPISODE_STEPS, MOVES, Gridworld, Gridworlds
from benchmarks.continual.sequences import CARTPOLES, SEQUENCES
from benchmarks.minatar_games import GAMES, MinAtarGame
from envs.family import FamilySource, FamilySpec, Split
from envs.registry import open_tasks
from envs.task_batch import TaskBatch


def cartpole(num_trials: int) -> TaskBatch:
    spec = FamilySpec(name="cartpole", source=FamilySource.TENSOR, entry="varied_cartpole", max_episode_steps=200)
    return open_tasks(spec, None, num_trials=num_trials, device="cpu")


def on(num_trials: int) -> torch.Tensor:
    return torch.ones(num_trials, dtype=torch.bool)


@pytest.mark.parametrize("name", CARTPOLES)
def test_a_changed_cartpole_is_the_original_seen_and_steered_by_its_meaning(name: str) -> None:
    meaning = CARTPOLES[name]
    original, changed = cartpole(8), ChangedMeaning(cartpole(8), meaning, name=name)
    order = list(meaning.observations or range(4))
    signs = torch.tensor(meaning.signs or (1, 1, 1, 1))
    seen = changed.begin(0, split=Split.TRAINING)
    torch.testing.assert_close(seen, original.begin(0, split=Split.TRAINING)[:, order] * signs)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        action = torch.randint(2, (8,), generator=generator)
        performed = torch.tensor(meaning.actions or (0, 1))[action]
        found, expected = changed.step(action, on(8)), original.step(performed, on(8))
        torch.testing.assert_close(found.observation, expected.observation[:, order] * signs)
        torch.testing.assert_close(found.final_observation, expected.final_observation[:, order] * signs)
        assert torch.equal(found.reward, expected.reward)
        assert torch.equal(found.terminated, expected.terminated)


def test_swapped_actions_are_a_reversed_force() -> None:
    plain, swapped = cartpole(4), ChangedMeaning(cartpole(4), Meaning(actions=(1, 0)), name="swapped")
    for tasks in (plain, swapped):
        tasks.begin(0, split=Split.TRAINING)
    left = plain.step(torch.zeros(4, dtype=torch.int64), on(4))
    right = swapped.step(torch.ones(4, dtype=torch.int64), on(4))
    torch.testing.assert_close(left.observation, right.observation)


def test_the_shortest_ways_of_a_gridworld_earn_its_best_return_on_average() -> None:
    world = Gridworld(3)
    tasks = Gridworlds(world, name="gridworld", num_trials=2048)
    nearer = torch.tensor(
        [min(range(len(MOVES)), key=lambda a: world.distances.get(int(cells[a]), 99)) for cells in world.following]
    )
    observation = tasks.begin(0, split=Split.HELD_OUT)
    totals, episodes = torch.zeros(2048), torch.zeros(2048, dtype=torch.int64)
    while (active := episodes < EPISODES_PER_TRIAL).any():
        transition = tasks.step(nearer[observation[:, 0].long()], active)
        totals += transition.reward
        episodes += transition.terminated | transition.truncated
        observation = transition.observation
    assert float(totals.mean()) == pytest.approx(world.best_return, rel=0.01)


def test_a_gridworlds_episode_is_truncated_after_its_limit_without_reward() -> None:
    world = Gridworld(0)
    into_walls = next(
        (cell, action)
        for cell in world.starts
        for action in range(len(MOVES))
        if int(world.following[cell, action]) == cell
    )
    tasks = Gridworlds(world, name="gridworld", num_trials=64)
    observation = tasks.begin(0, split=Split.TRAINING)
    row = next(row for row in range(64) if int(observation[row, 0]) == into_walls[0])
    for step in range(1, MAX_EPISODE_STEPS + 1):
        transition = tasks.step(torch.full((64,), into_walls[1]), on(64))
        assert bool(transition.truncated[row]) == (step == MAX_EPISODE_STEPS)
        assert float(transition.reward[row]) == 0.0


def test_gridworlds_differ_in_walls_goals_or_the_meanings_of_actions() -> None:
    worlds = [Gridworld(seed) for seed in range(50)]
    assert len({(world.goal, world.following.tobytes()) for world in worlds}) == 50


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_families_of_a_sequence_have_different_names(name: str) -> None:
    names = [family.name for family in SEQUENCES[name]().families]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("game", GAMES)
def test_a_game_of_minatar_repeats_itself_from_the_same_seed(game: str) -> None:
    pytest.importorskip("minatar", reason="an extra of one benchmark")
    seen = []
    for env in (MinAtarGame(game), MinAtarGame(game)):
        observation, _ = env.reset(seed=7)
        steps = [env.step(np.int64(action % 6)) for action in range(40)]
        assert all(env.observation_space.contains(found) for found in (observation, *(step[0] for step in steps)))
        seen.append(np.stack([observation, *(step[0] for step in steps)]))
    np.testing.assert_array_equal(seen[0], seen[1])
