"""Compute the reference returns that the default families declare.

- Acrobot: energy pumping, with full torque against the first joint's speed.
- FrozenLake: optimistic search, the shortest way over cells that are not known to be holes.
- Pendulum: value iteration on a grid, with known physics of each task.

Run: ``python benchmarks/reference_returns.py [--tasks N]``.
"""

from __future__ import annotations

import argparse
import math
from collections import deque

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.family import FamilySpec
from envs.gymnasium.task_drawing import Task, draw_task
from envs.registry import default_stream

MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))
"""Left, down, right, up, in FrozenLake's numbering."""


def main() -> None:
    """Print the references with their standard errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=200)
    num_tasks = parser.parse_args().tasks
    families = {spec.name: spec for spec in default_stream()}
    lakes = [
        optimistic_lake_return(families["frozenlake"], draw(families["frozenlake"], i)) for i in range(10 * num_tasks)
    ]
    report("frozenlake", lakes)
    acrobots = [pumped_acrobot_return(families["acrobot"], draw(families["acrobot"], i)) for i in range(10 * num_tasks)]
    report("acrobot", acrobots)
    pendulums = []
    for i in range(num_tasks):
        pendulums.append(known_pendulum_return(families["pendulum"], draw(families["pendulum"], i)))
        print(f"\rpendulum {i + 1}/{num_tasks}", end="", flush=True)
    report("\rpendulum", pendulums)


def pumped_acrobot_return(spec: FamilySpec, task: Task) -> float:
    """Return the trial return of full torque against the first joint's speed."""
    environment = gymnasium.make(spec.entry, max_episode_steps=spec.max_episode_steps, disable_env_checker=True)
    for name, value in task.attributes.items():
        setattr(environment.unwrapped, name, value)
    total = 0.0
    for episode in range(spec.episodes_per_trial):
        observation, _ = environment.reset(seed=task.seed if episode == 0 else None)
        has_ended = False
        while not has_ended:
            observation, reward, terminated, truncated, _ = environment.step(0 if observation[4] > 0 else 2)
            total += float(reward)
            has_ended = terminated or truncated
    return total


def draw(spec: FamilySpec, index: int) -> Task:
    """Draw a task that belongs to no split."""
    return draw_task(spec.variations, entropy=(20_26, index))


def report(name: str, returns: list[float]) -> None:
    """Print one line with the mean and its standard error."""
    print(f"{name}: {np.mean(returns):.3f} ± {np.std(returns) / math.sqrt(len(returns)):.3f} over {len(returns)} tasks")


def optimistic_lake_return(spec: FamilySpec, task: Task) -> float:
    """Return the number of goals reached in one trial on the shortest way over cells that are not known to be holes."""
    lake = task.kwargs["desc"]
    size, holes, reached = len(lake), set[tuple[int, int]](), 0.0
    for _ in range(spec.episodes_per_trial):
        for row, column in shortest_way(size, holes)[1:]:
            if lake[row][column] == "H":
                holes.add((row, column))
                break
        else:
            reached += 1.0
    return reached


def shortest_way(size: int, holes: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the shortest way from the first corner to the last, by breadth-first search."""
    came_from: dict[tuple[int, int], tuple[int, int] | None] = {(0, 0): None}
    queue = deque([(0, 0)])
    while queue:
        cell = queue.popleft()
        for move in MOVES:
            following = (cell[0] + move[0], cell[1] + move[1])
            if min(following) >= 0 and max(following) < size and following not in holes | came_from.keys():
                came_from[following] = cell
                queue.append(following)
    way: list[tuple[int, int]] = []
    step: tuple[int, int] | None = (size - 1, size - 1)
    while step is not None:
        way.append(step)
        step = came_from[step]
    return way[::-1]


def known_pendulum_return(spec: FamilySpec, task: Task, *, points: int = 101, sweeps: int = 200) -> float:
    """Return the trial return of the greedy policy of a value function computed on a grid of angle and speed."""
    torques = np.linspace(-2.0, 2.0, 9)
    angles, speeds = np.linspace(-math.pi, math.pi, points), np.linspace(-8.0, 8.0, points)
    angle, speed = (grid[..., None] for grid in np.meshgrid(angles, speeds, indexing="ij"))
    following_angle, following_speed, cost = pendulum_step(angle, speed, torques, task)
    corners, weights = interpolation(following_angle, following_speed, points)
    values = np.zeros(points * points)
    for _ in range(sweeps):
        values = (-cost + (values[corners] * weights).sum(-1)).max(-1).ravel()
    environment = gymnasium.make(spec.entry, disable_env_checker=True).unwrapped
    for name, value in task.attributes.items():
        setattr(environment, name, value)
    total = 0.0
    for episode in range(spec.episodes_per_trial):
        environment.reset(seed=task.seed if episode == 0 else None)
        for _ in range(spec.max_episode_steps or 200):
            state = environment.get_wrapper_attr("state")
            a, s, c = pendulum_step(state[0], state[1], torques, task)
            following, weight = interpolation(a, s, points)
            best = int(np.argmax(-c + (values[following] * weight).sum(-1)))
            total += float(environment.step(torques[best : best + 1])[1])
    return total


def pendulum_step(
    angle: NDArray[np.float64] | float, speed: NDArray[np.float64] | float, torque: NDArray[np.float64], task: Task
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Compute one step of Pendulum-v1's own equations: θ̈ = 3g/(2l) sin θ + 3/(ml²) u, Euler steps of .05 s."""
    g, m, length = (task.attributes[name] for name in ("g", "m", "l"))
    wrapped = (angle + math.pi) % (2 * math.pi) - math.pi
    cost = wrapped**2 + 0.1 * np.square(speed) + 0.001 * torque**2
    following_speed = np.clip(
        speed + (3 * g / (2 * length) * np.sin(wrapped) + 3.0 / (m * length**2) * torque) * 0.05, -8.0, 8.0
    )
    return wrapped + following_speed * 0.05, following_speed, cost


def interpolation(
    angle: NDArray[np.float64], speed: NDArray[np.float64], points: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the four grid points around each state and their bilinear weights."""
    across = ((angle + math.pi) % (2 * math.pi)) / (2 * math.pi) * (points - 1)
    along = (speed + 8.0) / 16.0 * (points - 1)
    i, j = np.minimum(across.astype(np.int64), points - 2), np.minimum(along.astype(np.int64), points - 2)
    u, v = across - i, along - j
    corners = np.stack([i * points + j, i * points + j + 1, (i + 1) * points + j, (i + 1) * points + j + 1], -1)
    return corners, np.stack([(1 - u) * (1 - v), (1 - u) * v, u * (1 - v), u * v], -1)


if __name__ == "__main__":
    main()
