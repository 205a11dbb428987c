"""Training speed of RL²: environment steps a second, for rollout and update, and as a ratio to a peer in the same run.

- `bandits`: learnd on 5-arm bandits (tensor-native) by hidden size and trial length, with the shipped settings.
- `cartpole`: sb3-contrib's RecurrentPPO on CartPole, and learnd on varied CartPoles with trials of 3 episodes of at
  most 200 steps. RecurrentPPO has an LSTM shared by actor and critic, 16 environments, 128 steps each and four
  minibatches an epoch; its own `learn` collects the steps and trains on them. It steps Gymnasium environments one by
  one. learnd uses 256 parallel tensor trials with four minibatches, without reads (only a recurrent core, like the
  peer) and with reads; and 64 Gymnasium environments stepped by a worker, with the shipped settings.
- `jax`: the same training in compiled JAX (`benchmarks.jax_bandits`) on 5-arm bandits, and learnd with equally many
  trials and minibatches, without reads (the same algorithm) and with reads.
- `cores`: one process of two threads, and two processes of one thread, in wall time; only useful on an idle machine.

Steps per CPU-second of one core come first (one thread; the worker's CPU time is included), because wall time on shared
machines depends on other programs. Without sb3-contrib (`pip install learnd[bench]`) or JAX (`learnd[jax]`, or
`--jax-python` with an interpreter that has it), that peer is omitted with a message.

Run: ``python -m benchmarks.throughput [PART …] [--hidden 64 128 256] [--lengths 10 100 1000] [--seconds 10]
[--json FILE]``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Column, Table

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.trials import num_env_steps
from benchmarks.jax_bandits.peer import JAX_HINT, Peer, jax_rate
from envs.default_families import VARIED_CARTPOLE, default_stream
from envs.family import FamilySource, FamilySpec, Split
from envs.registry import open_tasks

STEPS_PER_BATCH = 25_600
PEER_ENVIRONMENTS = 16
PEER_STEPS = 128
MINIBATCHES = 4
TENSOR_TRIALS = 256
WORKER_TRIALS = 64
EPOCHS = (2, 4)
PARTS = ("bandits", "cartpole", "jax", "cores")


@dataclass(frozen=True, kw_only=True)
class Rate:
    """The speed of one training.

    Attributes:
        name: learner, family and size.
        hidden_size: H.
        num_epochs: passes over each batch.
        steps: environment steps, each collected once and trained on in every epoch.
        rollout_cpu_s: CPU time of collecting them, including the environments.
        update_cpu_s: CPU time of training on them.
        wall_s: wall time.
    """

    name: str
    hidden_size: int
    num_epochs: int
    steps: int
    rollout_cpu_s: float
    update_cpu_s: float
    wall_s: float

    @property
    def per_cpu_s(self) -> float:
        """Trained steps per CPU-second."""
        return self.steps / (self.rollout_cpu_s + self.update_cpu_s)


class ProcessorClock:
    """A clock of the CPU time of this process and its living children, in seconds."""

    def __init__(self) -> None:
        self._process = psutil.Process()

    def __call__(self) -> float:
        """Return the CPU time used so far."""
        children = (child.cpu_times() for child in self._process.children(recursive=True))
        return time.process_time() + sum(times.user + times.system for times in children)


def learnd_rate(spec: FamilySpec, config: RL2Config, *, num_trials: int, seconds: float, label: str) -> Rate:
    """Train on a family for about this many CPU-seconds, after one batch of warm-up."""
    tasks = open_tasks(spec, None, num_trials=num_trials, device="cpu")
    clock = ProcessorClock()
    try:
        learner = RL2Learner(config, device="cpu", seed=0)
        learner.add_family(spec.name, tasks.spaces)
        rollout = update = wall = 0.0
        steps = first_task = 0
        while first_task == 0 or rollout + update < seconds:
            began, began_wall = clock(), time.perf_counter()
            batch = collect_trials(
                learner.policy, tasks, first_task=first_task, split=Split.TRAINING, generator=learner.generator
            )
            collected = clock()
            learner.update(spec.name, batch)
            if first_task:
                rollout += collected - began
                update += clock() - collected
                wall += time.perf_counter() - began_wall
                steps += num_env_steps(batch)
            first_task += num_trials
    finally:
        tasks.close()
    return Rate(
        name=f"learnd {label}",
        hidden_size=config.hidden_size,
        num_epochs=config.num_epochs,
        steps=steps,
        rollout_cpu_s=rollout,
        update_cpu_s=update,
        wall_s=wall,
    )


def peer_rate(*, hidden_size: int, num_epochs: int, seconds: float) -> Rate:
    """Train RecurrentPPO on CartPole for about this many CPU-seconds, after one batch of warm-up."""
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    class Stopwatch(BaseCallback):
        """A callback that times rollout and update separately, and ends training when the time is used."""

        def __init__(self) -> None:
            super().__init__()
            self.rollout = self.update = 0.0
            self.began = self.collected = time.process_time()
            self.batches = 0
            self.first_wall = time.perf_counter()

        def _on_rollout_start(self) -> None:
            now = time.process_time()
            if self.batches > 1:
                self.update += now - self.collected
            if self.batches == 1:
                self.first_wall = time.perf_counter()
            self.began = now

        def _on_rollout_end(self) -> None:
            self.collected = time.process_time()
            if self.batches:
                self.rollout += self.collected - self.began
            self.batches += 1

        def _on_step(self) -> bool:
            return self.batches < 3 or self.rollout + self.update < seconds

    model = RecurrentPPO(
        "MlpLstmPolicy",
        make_vec_env("CartPole-v1", n_envs=PEER_ENVIRONMENTS),
        n_steps=PEER_STEPS,
        n_epochs=num_epochs,
        batch_size=PEER_ENVIRONMENTS * PEER_STEPS // MINIBATCHES,
        policy_kwargs={
            "lstm_hidden_size": hidden_size,
            "shared_lstm": True,
            "enable_critic_lstm": False,
        },
        device="cpu",
        seed=0,
    )
    stopwatch = Stopwatch()
    model.learn(10**9, callback=stopwatch)
    whole_batches = stopwatch.batches - 1
    return Rate(
        name=f"RecurrentPPO CartPole, {num_epochs} epochs",
        hidden_size=hidden_size,
        num_epochs=num_epochs,
        steps=whole_batches * PEER_ENVIRONMENTS * PEER_STEPS,
        rollout_cpu_s=stopwatch.rollout,
        update_cpu_s=stopwatch.update,
        wall_s=time.perf_counter() - stopwatch.first_wall,
    )


def bandits_beside_jax(hidden_size: int, num_pulls: int, *, seconds: float, jax_python: str) -> list[Rate]:
    """Measure the compiled peer, then learnd without reads (the same algorithm) and with reads; empty without JAX."""
    peer = Peer.of_size(hidden_size, num_pulls)
    found = jax_rate(peer, seconds=seconds, python=jax_python)
    if found is None:
        return []
    label = f"bandits, {num_pulls} pulls, {peer.num_trials} trials"
    jax = Rate(
        name=f"JAX {label}",
        hidden_size=hidden_size,
        num_epochs=peer.num_epochs,
        steps=found.steps,
        rollout_cpu_s=found.rollout_cpu_s,
        update_cpu_s=found.cpu_s - found.rollout_cpu_s,
        wall_s=found.wall_s,
    )
    config = RL2Config(
        hidden_size=hidden_size,
        input_size=hidden_size,
        critic_size=hidden_size,
        num_epochs=peer.num_epochs,
        minibatch_steps=num_pulls * peer.num_trials // peer.num_minibatches,
    )
    spec = next(spec for spec in default_stream() if spec.name == "bandits")
    spec = replace(spec, episodes_per_trial=num_pulls)
    own = (
        learnd_rate(
            spec,
            replace(config, reads=reads),
            num_trials=peer.num_trials,
            seconds=seconds,
            label=label if reads else f"{label}, no reads",
        )
        for reads in (False, True)
    )
    return [jax, *own]


def jax_ratios(rates: list[Rate]) -> dict[str, float]:
    """Return trained steps per CPU-second, learnd to JAX of the same size, pulls and trials."""
    found = {}
    for peer in (rate for rate in rates if rate.name.startswith("JAX")):
        label = peer.name.removeprefix("JAX ")
        for own in (rate for rate in rates if rate.name.startswith(f"learnd {label}")):
            if own.hidden_size == peer.hidden_size:
                key = f"hidden size {own.hidden_size}, {own.name.removeprefix('learnd ')}"
                found[key] = round(own.per_cpu_s / peer.per_cpu_s, 2)
    return found


def bandit_rates(hidden_size: int, lengths: list[int], *, seconds: float) -> list[Rate]:
    """Measure bandits of these many pulls, with the shipped settings."""
    config = RL2Config(hidden_size=hidden_size, input_size=hidden_size)
    bandits = _family("bandits")
    return [
        learnd_rate(
            replace(bandits, episodes_per_trial=length),
            config,
            num_trials=max(16, STEPS_PER_BATCH // length),
            seconds=seconds,
            label=f"bandits, {length} pulls",
        )
        for length in lengths
    ]


def cartpole_rates(hidden_size: int, num_epochs: int, *, seconds: float) -> list[Rate]:
    """Measure learnd, and RecurrentPPO if it is installed."""
    gymnasium = _family("cartpole")
    tensors = FamilySpec(
        name="cartpole",
        source=FamilySource.TENSOR,
        entry=VARIED_CARTPOLE,
        episodes_per_trial=gymnasium.episodes_per_trial,
        max_episode_steps=gymnasium.max_episode_steps,
    )
    shipped = RL2Config(hidden_size=hidden_size, input_size=hidden_size, num_epochs=num_epochs)
    large = replace(shipped, critic_size=hidden_size, max_minibatches=MINIBATCHES, minibatch_steps=1)
    ways = (
        ("tensors, no reads", tensors, replace(large, reads=False), TENSOR_TRIALS),
        ("tensors", tensors, large, TENSOR_TRIALS),
        ("worker", gymnasium, shipped, WORKER_TRIALS),
    )
    rates = [
        learnd_rate(spec, config, num_trials=num_trials, seconds=seconds, label=f"CartPole, {way}, {num_epochs} epochs")
        for way, spec, config, num_trials in ways
    ]
    if importlib.util.find_spec("sb3_contrib"):
        rates.append(peer_rate(hidden_size=hidden_size, num_epochs=num_epochs, seconds=seconds))
    return rates


def core_rates(seconds: float) -> dict[str, float]:
    """Measure trained steps a second of wall time on bandits of 10 pulls, H 64, by processes and threads.

    Cases: one process of one thread, one process of two threads, two processes of one thread.
    """
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
        together = sum(processes.map(_wall_rate, (1, 1), (seconds, seconds)))
        threaded = processes.submit(_wall_rate, 2, seconds).result()
        alone = processes.submit(_wall_rate, 1, seconds).result()
    return {"one process of one thread": alone, "one of two threads": threaded, "two of one thread": together}


def _wall_rate(num_threads: int, seconds: float) -> float:
    torch.set_num_threads(num_threads)
    [rate] = bandit_rates(64, [10], seconds=seconds)
    return rate.steps / rate.wall_s


def _family(name: str) -> FamilySpec:
    return next(spec for spec in default_stream() if spec.name == name)


def measure(arguments: argparse.Namespace, console: Console) -> list[Rate]:
    """Measure every requested rate, one after another."""
    rates = []
    for hidden_size in arguments.hidden:
        console.print(f"hidden size {hidden_size} …")
        if "cartpole" in arguments.parts:
            for num_epochs in arguments.epochs:
                rates += cartpole_rates(hidden_size, num_epochs, seconds=arguments.seconds)
        if "jax" in arguments.parts:
            for pulls in (10, 100):
                rates += bandits_beside_jax(
                    hidden_size, pulls, seconds=arguments.seconds, jax_python=arguments.jax_python
                )
        if "bandits" in arguments.parts:
            rates += bandit_rates(hidden_size, arguments.lengths, seconds=arguments.seconds)
    return rates


def ratios(rates: list[Rate]) -> dict[str, float]:
    """Return trained steps per CPU-second on CartPole, learnd to RecurrentPPO of the same hidden size and epochs."""
    found = {}
    for peer in (rate for rate in rates if rate.name.startswith("RecurrentPPO")):
        for own in (rate for rate in rates if rate.name.startswith("learnd CartPole")):
            if (own.hidden_size, own.num_epochs) == (peer.hidden_size, peer.num_epochs):
                key = f"hidden size {own.hidden_size}, {own.name.removeprefix('learnd CartPole, ')}"
                found[key] = round(own.per_cpu_s / peer.per_cpu_s, 2)
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--lengths", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--epochs", type=int, nargs="+", default=list(EPOCHS), help="on CartPole")
    parser.add_argument("--seconds", type=float, default=10.0, help="CPU-seconds for each rate")
    parser.add_argument("--jax-python", default=sys.executable, help="an interpreter that has jax and optax")
    parser.add_argument("--json", type=Path, help="write the report here too")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    arguments.parts = arguments.parts or list(PARTS)
    return arguments


def main() -> None:
    """Measure, print, and write the report if requested."""
    arguments = _arguments()
    torch.set_num_threads(1)
    rates = measure(arguments, Console(stderr=True))
    cores = core_rates(arguments.seconds) if "cores" in arguments.parts else {}
    found, found_jax = ratios(rates), jax_ratios(rates)
    console = Console()
    if "cartpole" in arguments.parts:
        console.print("ratio to RecurrentPPO, CartPole:", found or "sb3-contrib is not here: pip install learnd[bench]")
    if "jax" in arguments.parts:
        console.print("ratio to compiled JAX, bandits:", found_jax or f"no peer: {JAX_HINT}")
    if cores:
        console.print("trained steps a second by the clock:", {name: round(rate) for name, rate in cores.items()})
    numbers = (Column(name, min_width=9, no_wrap=True) for name in ("trained", "rollout", "update"))
    table = Table(Column("steps / CPU-s"), "H", *numbers)
    for rate in rates:
        parts = (rate.per_cpu_s, rate.steps / rate.rollout_cpu_s, rate.steps / rate.update_cpu_s)
        table.add_row(rate.name, str(rate.hidden_size), *(f"{part:,.0f}" for part in parts))
    console.print(table)
    report: dict[str, Any] = {"ratios": found, "jax_ratios": found_jax, "cores": cores}
    report["rates"] = [asdict(rate) for rate in rates]
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
