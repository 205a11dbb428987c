"""Environments that observe images: frames through a worker, bytes in the store, and learning.

- ``frames``: random actions, ``--copies`` side by side. ``plain`` steps them in a loop in this process and does nothing
  with the observations; ``worker`` steps them through ``WorkerTaskBatch``. The ratio is of frames per CPU-second of all
  processes that take part, so that other programs on the machine do not count. Rounds alternate.
- ``store``: bytes of the images of random trials as they travel, over bytes of their compressed episodes.
- ``learn``: RL² with its settings as they are, on one family, one episode per trial; mean return per episode of the
  newest trial batches, by CPU-seconds of the trainer (those of the worker are counted separately).

Run: ``python -m benchmarks.images frames|store|learn [--families NAME …]``; ``--help`` lists the other options.
It needs ``pip install minigrid minatar ale-py gymnasium[box2d]``; a family that is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import psutil
import torch

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.training import EagerTraining
from agent.learners.rl2.trials import num_env_steps, to_records, trial_returns
from benchmarks import picture_environments
from envs.family import FamilySource, FamilySpec, Split
from envs.gymnasium.batch import WorkerTaskBatch
from envs.limits import WorkerLimits
from envs.random_actions import random_actions
from memory.files.episode_codec import pack_episode

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "minatar-breakout": ("minatar", {"game": "breakout"}),
    "minatar-asterix": ("minatar", {"game": "asterix"}),
    "minigrid-empty": ("minigrid", {"name": "MiniGrid-Empty-5x5-v0"}),
    "minigrid-doorkey": ("minigrid", {"name": "MiniGrid-DoorKey-5x5-v0"}),
    "pong": ("atari", {"name": "ALE/Pong-v5"}),
    "car-racing": ("car_racing", {}),
}
ROUNDS = 5
STORED_STEPS = 200
REPORTS = 24


def main() -> None:
    """Measure the wanted part and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("frames", "store", "learn"), nargs="?", default="frames")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--cpu-seconds", type=float, default=120.0, help="of the trainer, for each family that learns")
    parser.add_argument("--copies", type=int, default=32, help="of an environment whose frames are counted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parts: dict[str, Callable[[str], dict[str, Any]]] = {
        "frames": partial(frames, num_copies=arguments.copies),
        "store": stored_bytes,
        "learn": partial(learned, cpu_s=arguments.cpu_seconds, seed=arguments.seed),
    }
    results = [parts[arguments.part](name) for name in installed(arguments.families)]
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def installed(names: Iterable[str]) -> list[str]:
    """Return the families whose packages are there."""
    packages = {"minatar": "minatar", "minigrid": "minigrid", "atari": "ale_py", "car_racing": "Box2D"}
    found = []
    for name in names:
        try:
            importlib.import_module(packages[FAMILIES[name][0]])
        except ImportError as error:
            print(f"{name} is left out: {error}")
        else:
            found.append(name)
    return found


def spec_of(name: str) -> FamilySpec:
    """Return a family of one episode per trial."""
    function, kwargs = FAMILIES[name]
    return FamilySpec(
        name=name,
        source=FamilySource.GYMNASIUM,
        entry=f"benchmarks.picture_environments:{function}",
        kwargs=kwargs,
        episodes_per_trial=1,
        max_episode_steps=1000,
        import_paths=(str(Path(__file__).resolve().parents[1]),),
    )


def opened(name: str, num_copies: int) -> WorkerTaskBatch:
    """Return the tasks of a family in a worker."""
    limits = WorkerLimits(memory_mib=4096, step_timeout_s=60.0, start_timeout_s=120.0, nice=0)
    return WorkerTaskBatch(spec_of(name), num_trials=num_copies, device="cpu", limits=limits)


def frames(name: str, *, num_copies: int) -> dict[str, Any]:
    """Return the rates of plain stepping and of a worker, in frames per CPU-second."""
    tasks = opened(name, num_copies)
    try:
        loops = {"plain": plain_loop(name, num_copies), "worker": worker_loop(tasks)}
        rates: dict[str, list[float]] = {"plain": [], "worker": []}
        for round_ in range(ROUNDS + 1):
            for kind, loop in loops.items():
                rate = loop(0.2 if round_ == 0 else 1.5)
                rates[kind] += [rate] if round_ else []
    finally:
        tasks.close()
    ratio = statistics.median(w / p for p, w in zip(rates["plain"], rates["worker"], strict=True))
    plain, worker = (statistics.median(rates[kind]) for kind in ("plain", "worker"))
    [image] = tasks.spaces.observation.images
    size = f"{image.height}x{image.width}x{image.channels}"
    print(f"{name:18} {size:>9} plain {plain:8.0f}/s worker {worker:8.0f}/s ratio {ratio:.3f}", flush=True)
    return {"family": name, "image": size, "plain": plain, "worker": worker, "ratio": ratio}


def plain_loop(name: str, num_copies: int) -> Callable[[float], float]:
    """Return a loop over copies in this process, which returns frames per CPU-second."""
    function, kwargs = FAMILIES[name]
    make: Callable[..., gymnasium.Env[Any, Any]] = getattr(picture_environments, function)
    envs = [make(**kwargs) for _ in range(num_copies)]
    for index, env in enumerate(envs):
        env.reset(seed=index)
        env.action_space.seed(index)

    def run(seconds: float) -> float:
        actions = [[env.action_space.sample() for env in envs] for _ in range(256)]
        steps, began = 0, time.process_time()
        while time.process_time() - began < seconds:
            for env, action in zip(envs, actions[steps % 256], strict=True):
                _, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    env.reset()
            steps += 1
        return steps * num_copies / (time.process_time() - began)

    return run


def worker_loop(tasks: WorkerTaskBatch) -> Callable[[float], float]:
    """Return a loop through a worker, which returns frames per CPU-second of both processes."""
    worker, generator = psutil.Process(tasks.pid), torch.Generator().manual_seed(0)
    active = torch.ones(tasks.num_trials, dtype=torch.bool)
    tasks.begin(0, split=Split.TRAINING)

    def spent() -> float:
        times = worker.cpu_times()
        return time.process_time() + times.user + times.system

    def run(seconds: float) -> float:
        drawn = [random_actions(tasks.spaces.action, tasks.num_trials, generator) for _ in range(256)]
        steps, began = 0, spent()
        while spent() - began < seconds:
            for _ in range(16):
                tasks.step(drawn[steps % 256], active)
                steps += 1
        return steps * tasks.num_trials / (spent() - began)

    return run


def stored_bytes(name: str) -> dict[str, Any]:
    """Return the bytes of the images of random trials, and those of their compressed episodes."""
    tasks = opened(name, 4)
    try:
        learner = RL2Learner(RL2Config(), device="cpu", seed=0)
        learner.add_family(name, tasks.spaces)
        trials = collect_trials(learner.policy, tasks, first_task=0, split=Split.TRAINING, generator=learner.generator)
    finally:
        tasks.close()
    records = to_records(trials, rows=range(4), tasks=[{}] * 4, decisions=trials.decisions)
    episodes = [episode for record in records for episode in record.episodes]
    plain = sum(episode.observations.nbytes for episode in episodes)
    packed = sum(len(pack_episode(episode)) for episode in episodes)
    num_steps = num_env_steps(trials)
    print(
        f"{name:18} {num_steps:6} steps, {plain / num_steps:7.0f} bytes a step, ratio {plain / packed:6.1f}", flush=True
    )
    return {"family": name, "steps": num_steps, "bytes": plain, "packed": packed}


def learned(name: str, *, cpu_s: float, seed: int) -> dict[str, Any]:
    """Return the curve of a family that learns: CPU-seconds, steps and mean return of the newest batches."""
    config = RL2Config()
    tasks = opened(name, config.num_trials_gymnasium)
    learner = RL2Learner(config, device="cpu", seed=seed)
    learner.add_family(name, tasks.spaces)
    training, worker = EagerTraining(learner, name, tasks), psutil.Process(tasks.pid)
    curve: list[dict[str, float]] = []
    began, first, steps = time.process_time(), 0, 0
    newest: list[float] = []
    while (spent := time.process_time() - began) < cpu_s:
        trials = training.play(first)
        first, steps = first + trials.num_trials, steps + num_env_steps(trials)
        training.learn(trials, num_epochs=config.num_epochs_gymnasium)
        newest.append(float(trial_returns(trials).mean()))
        if spent >= len(curve) * cpu_s / REPORTS:
            used = worker.cpu_times()
            point = {
                "cpu_s": round(time.process_time() - began, 1),
                "worker_cpu_s": used.user + used.system,
                "steps": steps,
                "return": statistics.mean(newest),
            }
            curve.append(point)
            print(f"{name:18} " + "  ".join(f"{key} {value:9.2f}" for key, value in point.items()), flush=True)
            newest = []
    tasks.close()
    return {"family": name, "seed": seed, "curve": curve}


if __name__ == "__main__":
    main()
