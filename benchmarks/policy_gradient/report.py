"""Tables and pictures of adapting policies: means over seeds with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agent.reports.plot_style import CYCLE, FAINT
from benchmarks.policy_gradient.runs import CONTESTANTS, HELD_OUT_TASKS, NUM_STEPS, Course, Run

STUDENT_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
"""Student's t at 97.5% for two seeds, three, and so on. For more seeds it is slightly less than the last value."""
TABLE_WIDTH = 120


def interval(values: list[float]) -> tuple[float, float]:
    """Return the mean and half the width of its 95% interval; 0 if there is only one value."""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, 0.0
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, STUDENT_T[min(len(values), len(STUDENT_T) + 1) - 2] * math.sqrt(variance / len(values))


def summary(runs: list[Run]) -> dict[str, list[tuple[float, float]]]:
    """Return the mean return and its interval by contestant and step."""
    names = [name for name in CONTESTANTS if any(run.contestant == name for run in runs)]
    return {
        name: [interval([run.returns[step] for run in runs if run.contestant == name]) for step in range(NUM_STEPS + 1)]
        for name in names
    }


def show(course: Course, runs: list[Run], known: Mapping[str, float]) -> None:
    """Print one family's table."""
    seeds = sorted({run.seed for run in runs})
    table = Table(title=f"{course.family}: return of an episode in {HELD_OUT_TASKS} held-out tasks, seeds {seeds}")
    table.add_column("learner")
    for header in ("before", *(f"after {step}" for step in range(1, NUM_STEPS + 1)), "updates", "train CPU-s", "rates"):
        table.add_column(header, justify="right")
    for name, columns in summary(runs).items():
        own = [run for run in runs if run.contestant == name]
        cells = [f"{mean:.2f} ± {half:.2f}" for mean, half in columns]
        cpu_s = math.fsum(run.train_cpu_s for run in own) / len(own)
        rates = " ".join(f"{run.rate:g}" for run in own if run.rate is not None)
        table.add_row(name, *cells, str(own[0].updates), f"{cpu_s:.0f}", rates)
    table.caption = ", ".join(f"{name} {value:.2f}" for name, value in known.items())
    Console(width=TABLE_WIDTH).print(table)


def draw(measured: Mapping[str, tuple[list[Run], Mapping[str, float]]], path: Path) -> None:
    """Draw one panel per family: held-out return by steps of adaptation, with intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(measured), 3.6), layout="constrained")
    panels = figure.subplots(1, len(measured), squeeze=False)[0]
    for panel, (family, (runs, known)) in zip(panels, measured.items(), strict=True):
        for colour, (name, columns) in zip(CYCLE, summary(runs).items(), strict=False):
            means, halves = zip(*columns, strict=True)
            panel.errorbar(range(NUM_STEPS + 1), means, halves, label=name, color=colour, capsize=2, linewidth=1.4)
        panel.axhline(known["known"], color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        panel.set(
            title=family, xlabel="steps of adaptation", ylabel="return of an episode", xticks=range(NUM_STEPS + 1)
        )
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
