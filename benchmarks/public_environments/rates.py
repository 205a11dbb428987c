"""Steps per second of environments through a worker, compared with a plain loop over the same environments.

Each environment is measured in a process of its own with a limit of time, so that a crash costs only its own figures.
Both loops take random actions that were drawn in advance, start a new episode as soon as one ends, and run in turns:

- ``raw`` steps what ``gymnasium.make`` returns, without its checker, in this process;
- ``worker`` steps a batch of tasks in a worker and waits for each step.

A rate is given per second of wall time, and per CPU-second of all processes that take part.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium
import psutil
import torch

from agent.config.settings import Settings
from agent.family_files import declaration_in
from envs.family import FamilySpec, Split
from envs.gymnasium.batch import WorkerTaskBatch
from envs.gymnasium.host.making import registered_spec
from envs.gymnasium.host.wrapping import Wrapping
from envs.limits import WorkerLimits
from envs.random_actions import random_actions

NUM_COPIES = 32
DRAWN = 64
ROUNDS = 3
TICK_S = 0.01
"""The kernel's unit of another process's CPU time."""

Rates = tuple[float, float]
"""Steps per second of wall time, and per CPU-second."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The rates of the two loops.

    Attributes:
        copies: environments side by side.
        raw: steps per second of the plain loop.
        worker: steps per second through the worker.
        ratio: the median over rounds of ``worker`` divided by ``raw``.
        cpu_ratio: the same for steps per CPU-second.
    """

    copies: int
    raw: float
    worker: float
    ratio: float
    cpu_ratio: float


def compared(file: Path, *, seconds: float, limit_s: float) -> Compared | str:
    """Return the rates of the family that a family file declares, or the reason why there are none."""
    context = multiprocessing.get_context("fork")  # torch is imported once
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(file, seconds, sender))
    process.start()
    sender.close()
    answer: Compared | str = f"not measured within {limit_s:.0f} s"
    try:
        if receiver.poll(limit_s):
            answer = receiver.recv()
    except EOFError:
        answer = "the plain loop ended its process"
    process.join(10)
    if process.is_alive():
        process.kill()
        process.join()
    return answer


def _measure(file: Path, seconds: float, sender: Connection) -> None:
    torch.set_num_threads(1)
    try:
        sender.send(_rates(declaration_in(file, Settings()).spec, seconds))
    except Exception as error:  # noqa: BLE001  (an environment may raise anything)
        sender.send(f"{type(error).__name__}: {error}"[:300])


def _rates(spec: FamilySpec, seconds: float) -> Compared:
    limits = WorkerLimits(memory_mib=4096, nice=0)
    tasks = WorkerTaskBatch(spec, num_trials=NUM_COPIES, device="cpu", limits=limits)
    try:
        loops = (_raw_loop(spec, tasks.num_trials), _worker_loop(tasks))
        for loop in loops:
            loop(0.05)
        rounds = [tuple(loop(seconds) for loop in loops) for _ in range(ROUNDS)]
        copies = tasks.num_trials
    finally:
        tasks.close()
    return Compared(
        copies=copies,
        raw=round(statistics.median(raw[0] for raw, _ in rounds), 1),
        worker=round(statistics.median(worker[0] for _, worker in rounds), 1),
        ratio=round(statistics.median(worker[0] / raw[0] for raw, worker in rounds), 3),
        cpu_ratio=round(statistics.median(worker[1] / raw[1] for raw, worker in rounds), 3),
    )


def _raw_loop(spec: FamilySpec, num_copies: int) -> Callable[[float], Rates]:
    envs = [_made(spec) for _ in range(num_copies)]
    for index, env in enumerate(envs):
        env.reset(seed=index)
        env.action_space.seed(index)
    drawn = [[env.action_space.sample() for env in envs] for _ in range(DRAWN)]

    def cycle(number: int) -> None:
        for env, action in zip(envs, drawn[number % DRAWN], strict=True):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return lambda seconds: _timed(cycle, seconds, num_copies, time.process_time)


def _made(spec: FamilySpec) -> gymnasium.Env[Any, Any]:
    """Return the environment of a family as ``gymnasium.make`` makes it, in the family's wrappers."""
    module, _, env_id = spec.entry.rpartition(":")
    if module:
        __import__(module)
    registered = registered_spec(env_id)
    limit = spec.max_episode_steps
    env: gymnasium.Env[Any, Any] = gymnasium.make(
        registered, max_episode_steps=limit, disable_env_checker=True, **spec.kwargs
    )
    return Wrapping([wrapper.to_json() for wrapper in spec.wrappers], _imported)(env)


def _imported(module: str) -> Any:
    import importlib

    return importlib.import_module(module)


def _worker_loop(tasks: WorkerTaskBatch) -> Callable[[float], Rates]:
    worker, generator = psutil.Process(tasks.pid), torch.Generator().manual_seed(0)
    active = torch.ones(tasks.num_trials, dtype=torch.bool)
    drawn = [random_actions(tasks.spaces.action, tasks.num_trials, generator) for _ in range(DRAWN)]
    tasks.begin(0, split=Split.TRAINING)

    def spent() -> float:
        times = worker.cpu_times()
        return time.process_time() + times.user + times.system

    return lambda seconds: _timed(
        lambda number: tasks.step(drawn[number % DRAWN], active), seconds, tasks.num_trials, spent
    )


def _timed(cycle: Callable[[int], object], seconds: float, num_copies: int, spent: Callable[[], float]) -> Rates:
    """Repeat a cycle for some seconds; return the rates of its steps."""
    number, began, cpu = 0, time.perf_counter(), spent()
    for number in _counted_until(began + seconds):
        cycle(number)
    steps = (number + 1) * num_copies
    return steps / (time.perf_counter() - began), steps / max(spent() - cpu, TICK_S)


def _counted_until(end: float) -> Iterator[int]:
    """Yield 0, 1, … until a time is reached, at least 0."""
    number = 0
    yield number
    while time.perf_counter() < end:
        number += 1
        yield number
