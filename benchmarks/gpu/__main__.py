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
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.gpu.agreement import disagreement
from benchmarks.gpu.learning import learned
from benchmarks.gpu.training import FAMILIES, SMOKE_FAMILIES, Measured, Row, measure
from envs.family import FamilySpec

TASKS = 10_240
"""Number of held-out tasks for the trained policy."""

Result = TypeVar("Result")


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
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
