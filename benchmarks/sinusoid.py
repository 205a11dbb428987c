"""Few-shot regression: gradient-based learners compared with their papers, ambiguous tasks, and speed against a loop.

    python -m benchmarks.sinusoid regression [--learner NAME …] [--updates N] [--tasks N] [--seed S]
    python -m benchmarks.sinusoid ambiguous  [--learner NAME …] [--updates N] [--tasks N] [--seed S]
    python -m benchmarks.sinusoid speed

- ``regression`` is Meta-SGD's setting (amplitude, frequency and phase vary): trained with 5 support points, tested with
  5, 10 and 20 on the same held-out tasks.
- ``ambiguous`` has waves that continue or turn back at x = 0, with support points only to the left: PLATIPUS's samples
  compared with MAML's single answer.
- ``speed`` compares MAML's outer step on 25 tasks with the same algorithm as a loop over tasks in plain PyTorch, in
  turns. The fastest turn of each counts, because other programs disturb it least.

Without arguments all three run. Times are CPU-seconds of one thread. ``--json FILE`` stores the measurements.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's convention)

from agent.learners.gradient.maml import MAML, MAMLConfig
from agent.learners.gradient.networks import MLP
from agent.learners.protocol import FewShotLearner, SamplingPredictor
from agent.learners.recipes import RECIPES, Recipe, TaskKind
from benchmarks.training_by_recipe import train
from envs.family import Split
from envs.few_shot.sinusoids import ForkedSinusoids, Sinusoids, meta_sgd_sinusoids
from envs.few_shot.tasks import FewShotBatch, FewShotShapes

TASKS_PER_UPDATE = 25
TEST_SHOTS = (5, 10, 20)
TEST_QUERIES = 100
NUM_SAMPLES = 20
"""Number of solutions sampled from each ambiguous task to determine which explanations they cover."""
NUM_LIKELIHOOD_SAMPLES = 50
TABLE_WIDTH = 120
NOISES = tuple(0.3 * 1.1**step for step in range(24))
"""Standard deviations from which each learner's own is chosen: the families' noise and larger ones."""
AMBIGUITY = 1.0
"""A task counts as ambiguous if the root mean square distance of its explanations right of x = 0 is at least this."""


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A learner with its recipe and its published result.

    Attributes:
        recipe: how it is trained.
        updates: default number of outer steps.
        paper: its paper's errors at 5, 10 and 20 shots; empty if there are none.
    """

    recipe: Recipe
    updates: int
    paper: str = ""


def _of_first_order(recipe: Recipe) -> Recipe:
    return replace(recipe, config=lambda n: replace(recipe.config(n), is_first_order=True))


WAVES = RECIPES[TaskKind.REGRESSION]
REGRESSION: dict[str, Contestant] = {
    "maml": Contestant(recipe=WAVES["maml"], updates=60_000, paper="1.13 / .85 / .71"),
    "fomaml": Contestant(recipe=_of_first_order(WAVES["maml"]), updates=60_000),
    "reptile": Contestant(recipe=WAVES["reptile"], updates=4_000),
    "meta-sgd": Contestant(recipe=WAVES["meta-sgd"], updates=60_000, paper=".90 / .63 / .50"),
}
FORKED_WAVES = RECIPES[TaskKind.AMBIGUOUS_REGRESSION]
AMBIGUOUS: dict[str, Contestant] = {
    name: Contestant(recipe=FORKED_WAVES[name], updates=12_000) for name in ("maml", "platipus")
}


def interval(values: Tensor) -> tuple[float, float]:
    """Return the mean and half the width of its 95% interval."""
    return values.mean().item(), 1.96 * values.std().item() / math.sqrt(len(values))


def shown(pair: tuple[float, float]) -> str:
    """Format a mean with its interval for a table."""
    return f"{pair[0]:.3f} ± {pair[1]:.3f}"


def saved_bytes(learner: FewShotLearner, batch: FewShotBatch) -> int:
    """Return the number of bytes that one outer step saves for its backward pass."""
    total = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        learner.update(batch)
    return total


def regression(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure held-out squared errors in Meta-SGD's setting."""
    rows = []
    for name in options.learner or REGRESSION:
        contestant = REGRESSION[name]
        updates = options.updates or contestant.updates
        family = meta_sgd_sinusoids(shots=5, queries=10)
        learner, cpu_s = train(contestant.recipe, family, updates=updates, seed=options.seed)
        row: dict[str, Any] = {"learner": name, "updates": updates, "seed": options.seed, "cpu_s": cpu_s}
        for shots in TEST_SHOTS:
            tasks = meta_sgd_sinusoids(shots=shots, queries=TEST_QUERIES)
            batch = tasks.sample(options.tasks, split=Split.HELD_OUT, first_task=0)
            error = (learner.adapt(batch.support_x, batch.support_y)(batch.query_x) - batch.query_y).square()
            row[f"error_{shots}"] = interval(error.mean((1, 2)))
        row["ms_per_update"] = 1000 * cpu_s / updates
        batch = family.sample(TASKS_PER_UPDATE, split=Split.TRAINING, first_task=0)
        row["saved_bytes"] = saved_bytes(learner, batch)
        rows.append(row)
        print(json.dumps(row), flush=True)
    table = Table(title=f"Trained with 5 shots, squared error on {options.tasks} held-out tasks, 95% intervals")
    for column in (
        "learner",
        *(f"{shots} shots" for shots in TEST_SHOTS),
        "paper",
        "updates",
        "ms/update",
        "MiB/update",
    ):
        table.add_column(column, justify="left" if column == "learner" else "right")
    for row in rows:
        table.add_row(
            row["learner"],
            *(shown(row[f"error_{shots}"]) for shots in TEST_SHOTS),
            REGRESSION[row["learner"]].paper or "–",
            f"{row['updates']:,}",
            f"{row['ms_per_update']:.2f}",
            f"{row['saved_bytes'] / 2**20:.2f}",
        )
    Console(width=TABLE_WIDTH).print(table)
    return rows


def ambiguous(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure which explanations the learners' answers cover, and the likelihood of the truth."""
    family, rows = ForkedSinusoids(), []
    for name in options.learner or AMBIGUOUS:
        contestant = AMBIGUOUS[name]
        updates = options.updates or contestant.updates
        learner, cpu_s = train(contestant.recipe, family, updates=updates, seed=options.seed)
        noise = fitted_noise(learner, family)
        row = {"learner": name, "updates": updates, "seed": options.seed, "cpu_s": cpu_s, "noise": noise}
        rows.append(row | measure_ambiguous(learner, family, num_tasks=options.tasks, noise=noise))
        print(json.dumps(rows[-1]), flush=True)
    share = rows[0]["ambiguous_share"]
    table = Table(title=f"{options.tasks} held-out forked waves, {100 * share:.0f}% of them ambiguous, 95% intervals")
    columns = ("learner", "cover both", "closely", "goes on", "error on support", "nats a query", "updates", "CPU-s")
    for column in columns:
        table.add_column(column, justify="left" if column == "learner" else "right")
    for row in rows:
        table.add_row(
            row["learner"],
            shown(row["covers_both"]),
            shown(row["covers_both_closely"]),
            f"{row['goes_on_share']:.2f}",
            shown(row["support_error"]),
            shown(row["negative_log_likelihood"]),
            f"{row['updates']:,}",
            f"{row['cpu_s']:.0f}",
        )
    Console(width=TABLE_WIDTH).print(table)
    print(
        f"The mean of both explanations, the best single answer: {best_single_answer(family, options.tasks):.3f} nats."
    )
    return rows


def best_single_answer(family: ForkedSinusoids, num_tasks: int) -> float:
    """Return the nats per query of the mean of both explanations under its best noise.

    This is the expected optimum for a single answer.
    """
    batch = family.sample(num_tasks, split=Split.HELD_OUT, first_task=0)
    goes_on, turns_back = family.explanations(batch.query_x.squeeze(2), split=Split.HELD_OUT, first_task=0)
    answer, truth = ((goes_on + turns_back) / 2).unsqueeze(0), batch.query_y.squeeze(2)
    return min(query_likelihoods(answer, truth, noise).mean().item() for noise in NOISES)


def solutions(learner: FewShotLearner, batch: FewShotBatch, x: Tensor, num_samples: int) -> Tensor:
    """Return [K, M, P] answers at x: samples of learners that sample, else the single answer."""
    predict = learner.adapt(batch.support_x, batch.support_y)
    if isinstance(predict, SamplingPredictor):
        generator = torch.Generator().manual_seed(0)
        return predict.sample(x.unsqueeze(2), num_samples=num_samples, generator=generator).squeeze(3)
    return predict(x.unsqueeze(2)).squeeze(2).unsqueeze(0)


def query_likelihoods(answers: Tensor, truth: Tensor, noise: float) -> Tensor:
    """Return -log 1/K Σ_k N(y; f_k(x), noise²) of each query, [M, P] from [K, M, P]."""
    each = -0.5 * ((answers - truth) / noise).square() - math.log(noise) - 0.5 * math.log(2 * math.pi)
    return math.log(len(answers)) - torch.logsumexp(each, 0)


def fitted_noise(learner: FewShotLearner, family: ForkedSinusoids) -> float:
    """Return the noise under which a learner's answers have the largest likelihood on training tasks' queries."""
    batch = family.sample(500, split=Split.TRAINING, first_task=1 << 40)
    answers = solutions(learner, batch, batch.query_x.squeeze(2), NUM_LIKELIHOOD_SAMPLES)
    return min(NOISES, key=lambda s: query_likelihoods(answers, batch.query_y.squeeze(2), s).mean().item())


def measure_ambiguous(
    learner: FewShotLearner, family: ForkedSinusoids, *, num_tasks: int, noise: float
) -> dict[str, Any]:
    """Score a learner on held-out forked waves.

    An explanation is covered if a sample, right of the fork, is nearer to it than half of its distance to the other
    explanation (root mean squares). One answer can therefore cover at most one explanation. It is covered closely if a
    sample is nearer than a quarter of that distance.
    """
    batch = family.sample(num_tasks, split=Split.HELD_OUT, first_task=0)
    right = torch.linspace(0.25, 5.0, 20).repeat(num_tasks, 1)
    goes_on, turns_back = family.explanations(right, split=Split.HELD_OUT, first_task=0)
    apart = (goes_on - turns_back).square().mean(1).sqrt()
    is_ambiguous = apart >= AMBIGUITY
    answers = solutions(learner, batch, right, NUM_SAMPLES)
    to_on, to_back = ((answers - one).square().mean(2).sqrt() for one in (goes_on, turns_back))
    covers, closely = (
        ((to_on < apart * share).any(0) & (to_back < apart * share).any(0)).float() for share in (0.5, 0.25)
    )
    on_support = solutions(learner, batch, batch.support_x.squeeze(2), NUM_SAMPLES) - batch.support_y.squeeze(2)
    at_queries = solutions(learner, batch, batch.query_x.squeeze(2), NUM_LIKELIHOOD_SAMPLES)
    likelihoods = query_likelihoods(at_queries, batch.query_y.squeeze(2), noise)
    return {
        "ambiguous_share": is_ambiguous.float().mean().item(),
        "covers_both": interval(covers[is_ambiguous]),
        "covers_both_closely": interval(closely[is_ambiguous]),
        "goes_on_share": (to_on < to_back)[:, is_ambiguous].float().mean().item(),
        "support_error": interval(on_support.square().mean((0, 2)).sqrt()),
        "negative_log_likelihood": interval(likelihoods.mean(1)),
    }


class LoopMAML:
    """MAML as a loop over tasks in plain PyTorch: the baseline for the batched form."""

    def __init__(self, num_inner_steps: int) -> None:
        network = MLP((1,), 1, hidden_sizes=(40, 40), generator=torch.Generator().manual_seed(0))
        self.parameters = [parameter.detach().clone().requires_grad_() for parameter in network.parameters()]
        self.num_inner_steps = num_inner_steps
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3, fused=True)

    def update(self, batch: FewShotBatch) -> float:
        """Take one outer step."""
        total = torch.zeros(())
        for x, y, query_x, query_y in zip(batch.support_x, batch.support_y, batch.query_x, batch.query_y, strict=True):
            adapted = self.parameters
            for _ in range(self.num_inner_steps):
                gradient = torch.autograd.grad(F.mse_loss(self.forward(adapted, x), y), adapted, create_graph=True)
                adapted = [p - 0.01 * g for p, g in zip(adapted, gradient, strict=True)]
            total = total + F.mse_loss(self.forward(adapted, query_x), query_y)
        loss = total / batch.num_tasks
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.item()

    @staticmethod
    def forward(parameters: list[Tensor], x: Tensor) -> Tensor:
        """Return f(x)."""
        weight_0, bias_0, weight_1, bias_1, weight_2, bias_2 = parameters
        hidden = torch.addmm(bias_0, x, weight_0).relu()
        return torch.addmm(bias_2, torch.addmm(bias_1, hidden, weight_1).relu(), weight_2)


def cpu_s(step: Callable[[], object], repeats: int) -> float:
    """Return the CPU-seconds per call."""
    started = time.process_time()
    for _ in range(repeats):
        step()
    return (time.process_time() - started) / repeats


def speed(_: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure outer steps a CPU-second, batched and as a loop, in turns; the fastest turn of each counts."""
    family, rows = Sinusoids(shots=10, queries=10), []
    batch = family.sample(TASKS_PER_UPDATE, split=Split.TRAINING, first_task=0)
    for num_inner_steps in (1, 5):
        config = MAMLConfig(num_inner_steps=num_inner_steps)
        batched = MAML(FewShotShapes.of(family), config, generator=torch.Generator().manual_seed(0))
        loop = LoopMAML(num_inner_steps)
        losses = [(batched.update(batch)["loss"], loop.update(batch)) for _ in range(3)]
        gap = max(abs(one - other) / other for one, other in losses)
        turns = [(cpu_s(partial(batched.update, batch), 10), cpu_s(partial(loop.update, batch), 2)) for _ in range(40)]
        fast, slow = (min(times) for times in zip(*turns, strict=True))
        ratio = slow / fast
        row = {"inner_steps": num_inner_steps, "batched_per_s": 1 / fast, "loop_per_s": 1 / slow, "ratio": ratio}
        rows.append(row | {"relative_gap_of_losses": gap})
    table = Table(title=f"MAML, {TASKS_PER_UPDATE} tasks: outer steps a CPU-second, one thread")
    for column in ("inner steps", "batched", "loop over tasks", "ratio", "losses differ by"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            str(row["inner_steps"]),
            f"{row['batched_per_s']:.0f}",
            f"{row['loop_per_s']:.1f}",
            f"{row['ratio']:.1f}×",
            f"{row['relative_gap_of_losses']:.0e}",
        )
    Console(width=TABLE_WIDTH).print(table)
    if importlib.util.find_spec("learn2learn") is None:
        print("learn2learn is not installed: no row for it.")
    return rows


MEASUREMENTS: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
    "regression": regression,
    "ambiguous": ambiguous,
    "speed": speed,
}


def main() -> None:
    """Run the requested measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurement", nargs="*", help=f"any of {', '.join(MEASUREMENTS)}; all without")
    parser.add_argument("--learner", action="append", help="only this learner (may be given again)")
    parser.add_argument("--updates", type=int, help="outer steps; each learner's own number without")
    parser.add_argument("--tasks", type=int, default=1000, help="held-out tasks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="keep what was measured here")
    options = parser.parse_args()
    unknown = sorted(set(options.measurement) - set(MEASUREMENTS))
    if unknown:
        parser.error(f"no measurement named {', '.join(unknown)}; there are: {', '.join(MEASUREMENTS)}")
    torch.set_num_threads(1)
    measured = {name: MEASUREMENTS[name](options) for name in options.measurement or MEASUREMENTS}
    if options.json is not None:
        options.json.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
