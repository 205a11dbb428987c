"""Training speed of RL² on a GPU: environment steps a second end to end, on tensor-native families.

Rows are bandits of 10 and 100 pulls, tabular MDPs of 10 episodes and varied CartPoles, by hidden size, number of
parallel trials, and reads on or off. Each row is measured in two ways: launched from Python (eager) and recorded as
CUDA graphs (``agent.learners.rl2.cuda_graphs``). Rollout and update are timed separately. Rows with several learners
run each on its own stream and thread, because a learner with small minibatches leaves most of the device idle. Before
a family is measured, recorded training is compared with eager training from the same seed. If they differ by more
than rounding can explain, the benchmark says so and ends with status 1.

The benchmark also trains 10-armed bandits of 100 pulls with the shipped settings, recorded. It reports the time and the
policy's return on held-out tasks (finite-horizon Gittins: 83.7), to show that fast training also learns.

Without a CUDA device it says so and runs the same code on the CPU at small sizes. Recorded programs are then run again
by Python with the same buffers. It prints the rates as what they are and ends with status 0.

Run: ``python -m benchmarks.gpu [--families NAME …] [--hidden 64 256] [--trials 1024 4096 16384] [--learners 1 4]
[--how eager recorded] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.cuda_graphs import NUM_EAGER_RUNS
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.training import EagerTraining, FamilyTraining, RecordedTraining
from agent.learners.rl2.trials import TrialBatch, num_env_steps, trial_returns
from envs.default_families import BERNOULLI_BANDITS, TABULAR_MDPS, VARIED_CARTPOLE
from envs.family import FamilySource, FamilySpec, Split
from envs.registry import open_tasks

FAMILY = "family"
NUM_WARM_UP = NUM_EAGER_RUNS + 2
"""Iterations before the clock starts; they include the recording."""

MAX_CHECKED_STEPS = 20
"""Limit of an episode's steps in the comparison of recorded and eager training.

An eager step takes a millisecond or more.
"""

TASKS = 10_240
"""Number of held-out tasks for the trained policy."""

MAX_OTHER_ACTIONS = 0.005
MAX_OTHERS_RATIO = 4.0
MAX_DRIFT = 0.1
"""Limits of the difference between recorded and eager training: see :func:`disagreement`."""

MINIBATCHES = 4
MAX_MINIBATCH_STEPS = 1 << 17
"""Larger minibatches are not faster, and with long trials they do not fit into memory."""

NUM_EPOCHS = 2

Result = TypeVar("Result")


def _family(entry: str, episodes: int, *, steps: int | None = None, kwargs: dict[str, Any] | None = None) -> FamilySpec:
    return FamilySpec(
        name=FAMILY,
        source=FamilySource.TENSOR,
        entry=entry,
        kwargs=kwargs or {},
        episodes_per_trial=episodes,
        max_episode_steps=steps,
    )


FAMILIES = {
    "bandits 10": _family(BERNOULLI_BANDITS, 10),
    "bandits 100": _family(BERNOULLI_BANDITS, 100),
    "MDPs 10": _family(TABULAR_MDPS, 10),
    "CartPole 3×200": _family(VARIED_CARTPOLE, 3, steps=200),
}
SMOKE_FAMILIES = {
    "bandits 10": FAMILIES["bandits 10"],
    "MDPs 2": _family(TABULAR_MDPS, 2),
    "CartPole 2×50": _family(VARIED_CARTPOLE, 2, steps=50),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """The settings of a row of the table.

    Attributes:
        family: key of the families.
        hidden_size: H.
        num_trials: B of each learner.
        reads: whether the policy reads its in-trial memory.
        is_captured: whether rollout and minibatches are recorded.
        num_learners: number of concurrent learners.
    """

    family: str
    hidden_size: int
    num_trials: int
    reads: bool
    is_captured: bool
    num_learners: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The results of a row, over all its learners.

    Attributes:
        row: the settings.
        steps: environment steps, each collected once and trained on in every epoch.
        wall_s: wall time from the first to the last step, with synchronisation of the device.
        rollout_s: the first learner's rollouts, as part of ``wall_s``.
        update_s: the first learner's updates, as part of ``wall_s``.
        peak_bytes: peak device memory; 0 on a CPU.
    """

    row: Row
    steps: int
    wall_s: float
    rollout_s: float
    update_s: float
    peak_bytes: int

    @property
    def per_s(self) -> float:
        """Trained steps a second."""
        return self.steps / self.wall_s


class Trainer:
    """A learner on one family and one device, eager or recorded.

    Args:
        spec: the family.
        row: the sizes.
        device: the device.
        seed: seed of the learner.
    """

    def __init__(self, spec: FamilySpec, row: Row, *, device: torch.device, seed: int) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self.steps = 0
        self.rollout_s = self.update_s = 0.0
        with self.on_stream():
            tasks = open_tasks(spec, None, num_trials=row.num_trials, device=device)
            config = _config(spec, row, num_steps=(tasks.max_episode_steps or 1) * spec.episodes_per_trial)
            self.learner = RL2Learner(config, device=device, seed=seed)
            self.learner.add_family(FAMILY, tasks.spaces)
        how = RecordedTraining if row.is_captured else EagerTraining
        self._training: FamilyTraining = how(self.learner, FAMILY, tasks)
        self._first_task = 0

    def on_stream(self) -> AbstractContextManager[object]:
        """Return a context that selects the trainer's own stream, if the device has streams."""
        return nullcontext() if self.stream is None else torch.cuda.stream(self.stream)

    def iterate(self) -> None:
        """Collect a trial batch and learn from it, with separate timing of rollout and update."""
        with self.on_stream():
            began = self._now()
            trials = self.collect()
            collected = self._now()
            self.learn(trials)
            self.rollout_s += collected - began
            self.update_s += self._now() - collected
            self.steps += num_env_steps(trials)

    def collect(self) -> TrialBatch:
        """Play one trial in each of the next B tasks."""
        first_task = self._first_task
        self._first_task += self._training.tasks.num_trials
        return self._training.play(first_task)

    def learn(self, trials: TrialBatch) -> None:
        """Learn from a trial batch."""
        self._training.learn(trials)

    def start_clock(self) -> None:
        """Reset the counters after the first iterations."""
        self.steps, self.rollout_s, self.update_s = 0, 0.0, 0.0

    def close(self) -> None:
        """Release the tasks and the recordings."""
        self._training.close()

    def _now(self) -> float:
        """Return the time after this trainer's stream has finished its work; other streams continue."""
        if self.stream is not None:
            self.stream.synchronize()
        return time.perf_counter()


def _config(spec: FamilySpec, row: Row, *, num_steps: int) -> RL2Config:
    """Return settings with the same number of minibatches per epoch for all sizes, unless minibatches become too large.

    Trials have their full length from the start.
    """
    total = num_steps * row.num_trials
    num_minibatches = max(MINIBATCHES, math.ceil(total / MAX_MINIBATCH_STEPS))
    return RL2Config(
        hidden_size=row.hidden_size,
        input_size=row.hidden_size,
        critic_size=row.hidden_size,
        reads=row.reads,
        num_epochs=NUM_EPOCHS,
        minibatch_steps=max(1, total // num_minibatches),
        max_minibatches=num_minibatches,
        min_minibatch_trials=1,
        curriculum_episodes=spec.episodes_per_trial,
    )


def measure(spec: FamilySpec, row: Row, *, device: torch.device, seconds: float) -> Measured:
    """Train for about this many seconds, each learner on its own thread."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    trainers = [Trainer(spec, row, device=device, seed=seed) for seed in range(row.num_learners)]
    try:
        for trainer in trainers:
            for _iteration in range(NUM_WARM_UP):
                trainer.iterate()
            trainer.start_clock()
        began = time.perf_counter()
        with ThreadPoolExecutor(len(trainers)) as pool:
            for finished in [pool.submit(_train_until, trainer, began + seconds) for trainer in trainers]:
                finished.result()
        wall_s = time.perf_counter() - began
    finally:
        for trainer in trainers:
            trainer.close()
    return Measured(
        row=row,
        steps=sum(trainer.steps for trainer in trainers),
        wall_s=wall_s,
        rollout_s=trainers[0].rollout_s,
        update_s=trainers[0].update_s,
        peak_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
    )


def _train_until(trainer: Trainer, end: float) -> None:
    trainer.iterate()
    while time.perf_counter() < end:
        trainer.iterate()


def disagreement(spec: FamilySpec, row: Row, *, device: torch.device) -> str:
    """Return how recorded training differs from eager training of the same seed; empty if it does not.

    Sums on a GPU differ slightly from run to run (atomic additions). After an update parameters differ by this, and
    occasionally an action. Settings that learn fast soon have more such differences. The criteria are therefore:

    - Before the first update, trials must be the same to the last action.
    - After it, recorded training may have other actions than eager training ``MAX_OTHERS_RATIO`` times as often as a
      second run of eager training has.
    - The distance between the parameters may be ``MAX_DRIFT`` of the distance that they have moved. Programs with
      mixed-up buffers differ by the whole distance.

    ``tests/agent/learners/rl2/test_gpu.py`` compares small training number by number.

    Recorded rollouts continue to draw after the last trial has ended, so all trainers start each rollout and each
    update from the same random state. Episodes are limited to ``MAX_CHECKED_STEPS``.
    """
    if spec.max_episode_steps is not None:
        spec = replace(spec, max_episode_steps=min(spec.max_episode_steps, MAX_CHECKED_STEPS))
    trainers = [
        Trainer(spec, replace(row, is_captured=flag, num_learners=1), device=device, seed=0)
        for flag in (False, False, True)
    ]
    eager, _again, recorded = trainers
    start = eager.learner.initialization()
    try:
        for iteration in range(NUM_WARM_UP):
            played, played_again, replayed = (_iterate_from(trainer, seed=iteration) for trainer in trainers)
            share, usual_share = (_other_actions(played, other) for other in (replayed, played_again))
            if share > (max(MAX_OTHER_ACTIONS, MAX_OTHERS_RATIO * usual_share) if iteration else 0.0):
                return f"{share:.2%} of the actions of iteration {iteration} differ ({usual_share:.2%} when run again)"
        expected, given = eager.learner.initialization(), recorded.learner.initialization()
    finally:
        for trainer in trainers:
            trainer.close()
    drift = _distance(given, expected) / _distance(expected, start)
    return "" if drift <= MAX_DRIFT else f"parameters lie apart by {drift:.0%} of the way they have come"


def _other_actions(played: TrialBatch, other: TrialBatch) -> float:
    """Return the share of one batch's steps at which the other batch has another action or no step."""
    num_steps = min(played.num_steps, other.num_steps)
    is_same = torch.zeros_like(played.is_valid)
    is_same[:num_steps] = (played.action[:num_steps] == other.action[:num_steps]) & other.is_valid[:num_steps]
    return (~is_same)[played.is_valid].float().mean().item()


def _distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return float(torch.stack([(one[name] - tensor).norm() for name, tensor in other.items()]).norm())


def _iterate_from(trainer: Trainer, *, seed: int) -> TrialBatch:
    with trainer.on_stream():
        trainer.learner.generator.manual_seed(seed)
        trials = trainer.collect()
        trainer.learner.generator.manual_seed(seed)
        trainer.learn(trials)
    return trials


@dataclass(frozen=True, kw_only=True)
class Learned:
    """The result of training with the shipped settings.

    Attributes:
        updates: number of updates.
        wall_s: total wall time, including recording.
        trial_return: mean over the held-out tasks.
        standard_error: standard error of ``trial_return``.
        tasks: number of held-out tasks.
    """

    updates: int
    wall_s: float
    trial_return: float
    standard_error: float
    tasks: int


def learned(*, device: torch.device, updates: int, tasks: int) -> Learned:
    """Train 10-armed bandits of 100 pulls from scratch, recorded, and play the policy on held-out ones."""
    spec = _family(BERNOULLI_BANDITS, 100, kwargs={"num_arms": 10})
    learner = RL2Learner(RL2Config(anneal_updates=updates), device=device, seed=0)
    opened = open_tasks(spec, None, num_trials=learner.config.num_trials_tensor, device=device)
    learner.add_family(FAMILY, opened.spaces)
    training = RecordedTraining(learner, FAMILY, opened)
    began = time.perf_counter()
    for update in range(updates):
        training.learn(training.play(update * opened.num_trials))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    wall_s = time.perf_counter() - began
    held_out = open_tasks(spec, None, num_trials=tasks, device=device)
    played = collect_trials(learner.policy, held_out, first_task=0, split=Split.HELD_OUT, generator=learner.generator)
    returns = trial_returns(played)
    return Learned(
        updates=updates,
        wall_s=wall_s,
        trial_return=float(returns.mean()),
        standard_error=float(returns.std()) / tasks**0.5,
        tasks=tasks,
    )


def rows(arguments: argparse.Namespace, families: dict[str, FamilySpec]) -> Iterator[Row]:
    """Yield every row, grouped by family."""
    wanted = [family for family in families if family in (arguments.families or families)]
    hows = [how == "recorded" for how in arguments.how]
    sizes = product(wanted, arguments.hidden, arguments.trials, (False, True), hows, arguments.learners)
    for family, hidden_size, num_trials, reads, is_captured, num_learners in sizes:
        yield Row(
            family=family,
            hidden_size=hidden_size,
            num_trials=num_trials,
            reads=reads,
            is_captured=is_captured,
            num_learners=num_learners,
        )


def run(arguments: argparse.Namespace, *, device: torch.device, console: Console) -> tuple[list[Measured], list[str]]:
    """Return the measurements, and the faults: disagreements and lack of memory."""
    families = FAMILIES if device.type == "cuda" else SMOKE_FAMILIES
    measured, faults = [], []
    checked: dict[tuple[str, bool], str] = {}
    for row in rows(arguments, families):
        spec, key = families[row.family], (row.family, row.reads)
        if key not in checked:
            found = _within_memory(partial(disagreement, spec, row, device=device))
            checked[key] = "more memory than the device has" if found is None else found
            console.print(f"{row.family}, {_reads(row)}: recorded = eager: {checked[key] or 'yes'}")
            if checked[key]:
                faults.append(f"{row.family}, {_reads(row)}: {checked[key]}")
        result = _within_memory(partial(measure, spec, row, device=device, seconds=arguments.seconds))
        if result is None:
            console.print(f"{_name(row)}: more memory than the device has; left out")
            continue
        console.print(f"{_name(row)}: {result.per_s:,.0f} trained steps / s")
        measured.append(result)
    return measured, faults


def _within_memory(work: Callable[[], Result]) -> Result | None:
    with suppress(torch.OutOfMemoryError):
        return work()
    gc.collect()  # a future and its exception form a cycle that keeps the memory allocated
    torch.cuda.empty_cache()
    return None


def _reads(row: Row) -> str:
    return "reads" if row.reads else "no reads"


def _name(row: Row) -> str:
    how = "recorded" if row.is_captured else "eager"
    size = f"H {row.hidden_size}, {row.num_learners} × {row.num_trials} trials"
    return f"{row.family}, {size}, {_reads(row)}, {how}"


def show(measured: list[Measured], console: Console) -> None:
    """Print the table: L learners of B trials each, with the trained steps a second of all learners together."""
    table = Table("family", "H", "L × B", "reads", "how", "steps / s", "rollout", "update", "GiB")
    for found in measured:
        row = found.row
        clocked = max(found.rollout_s + found.update_s, 1e-9)
        table.add_row(
            row.family,
            str(row.hidden_size),
            f"{row.num_learners} × {row.num_trials}",
            "yes" if row.reads else "no",
            "recorded" if row.is_captured else "eager",
            f"{found.per_s:,.0f}",
            f"{found.rollout_s / clocked:.0%}",
            f"{found.update_s / clocked:.0%}",
            f"{found.peak_bytes / 2**30:.1f}",
        )
    console.print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--families", nargs="+", choices=[*FAMILIES, *SMOKE_FAMILIES], help="default: all of the device's"
    )
    parser.add_argument("--how", nargs="+", choices=["eager", "recorded"], default=["eager", "recorded"])
    parser.add_argument("--hidden", type=int, nargs="+", help="default: 64 256; on a CPU 16")
    parser.add_argument("--trials", type=int, nargs="+", help="default: 1024 4096 16384; on a CPU 32")
    parser.add_argument("--learners", type=int, nargs="+", help="side by side; default: 1 4; on a CPU 1 2")
    parser.add_argument("--seconds", type=float, help="for each row; default: 5; on a CPU .1")
    parser.add_argument(
        "--updates", type=int, help="of the training with the shipped settings; default: 200; on a CPU 4"
    )
    parser.add_argument("--precision", choices=["highest", "high"], default="highest", help="high: TF32 products")
    parser.add_argument("--json", type=Path, help="write the report here too")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write the report if requested; status 1 if recorded and eager training disagree."""
    arguments, console = _arguments(), Console()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    is_gpu = device.type == "cuda"
    defaults = {
        "hidden": [64, 256], "trials": [1024, 4096, 16384], "learners": [1, 4], "seconds": 5.0, "updates": 200
    }  # fmt: skip
    smoke = {"hidden": [16], "trials": [32], "learners": [1, 2], "seconds": 0.1, "updates": 4}
    for name, value in (defaults if is_gpu else smoke).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    torch.set_float32_matmul_precision(arguments.precision)
    described = _describe(device)
    if is_gpu:
        console.print(described)
    else:
        torch.set_num_threads(1)
        console.print(
            "no CUDA device: what follows is a trial run of the same code on the CPU, not a measurement of a GPU"
        )
    measured, faults = run(arguments, device=device, console=Console(stderr=True))
    show(measured, console)
    trained = learned(device=device, updates=arguments.updates, tasks=TASKS if is_gpu else 64)
    console.print(
        f"10-armed bandits of 100 pulls, shipped settings: {trained.updates} updates in {trained.wall_s:.1f} s; "
        f"return on {trained.tasks:,} held-out tasks {trained.trial_return:.2f} ± {trained.standard_error:.2f}"
    )
    if arguments.json:
        report = {
            "device": described,
            "precision": arguments.precision,
            "faults": faults,
            "learned": asdict(trained),
            "rows": [{**asdict(found), "per_s": found.per_s} for found in measured],
        }
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    if faults:
        raise SystemExit("recorded training is not eager training:\n" + "\n".join(faults))


def _describe(device: torch.device) -> str:
    if device.type != "cuda":
        return "CPU"
    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB, torch {torch.__version__}, CUDA {torch.version.cuda}"


if __name__ == "__main__":
    main()
