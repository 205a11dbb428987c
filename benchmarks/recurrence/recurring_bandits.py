"""Bandits that recur with a barcode (Ritter et al. 2018): a trained policy with the memory on and off.

A policy plays held-out epochs of C contexts, each R times, in shuffled order. Every finished trial is stored, and every
trial begins with what :class:`ExactTrialMemory` returns for its barcode: stored trials, from which the start is
computed. ``off`` plays the same tasks with empty starts. ``deceived`` begins every trial with the memory of another
task as if it were the task's own, and ``doubted`` with the same memory and a likeness of .05.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.recalled_trials import reinstate
from agent.learners.rl2.rollout import Rollout, play_out
from agent.learners.rl2.trials import to_records, trial_returns
from agent.policies.trial_memory import ExactTrialMemory
from benchmarks.rl2_cells import Cell
from envs.default_families import RECURRING_BANDITS
from envs.family import FamilySource, FamilySpec, Split
from envs.tensor.recurring_bandits import RecurringBandits
from memory.retrieval.recall import RecalledTrials

NUM_PULLS = 10
NUM_EXPOSURES = 10
UPDATES = 400
EPOCHS = {10: 64, 100: 6, 1000: 1}
"""By number of contexts: epochs that are played."""

NUM_DECEIVED = 4_096
"""Tasks that are played with another task's memory, and with an empty start."""

DECEIVED_AFTER = 2
"""Exposures in the memory of another task."""

DOUBT = 0.05
"""The likeness with which a doubted memory is recalled."""


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """The result of one seed and one number of contexts.

    Attributes:
        seed: seed of the policy's training.
        contexts: C.
        on: mean return by exposure.
        off: mean return by exposure, with empty starts.
        standard_error: of the mean of exposure 2, which varies most among recalled trials.
        cpu_s: CPU-seconds of the scoring.
    """

    seed: int
    contexts: int
    on: list[float]
    off: list[float]
    standard_error: float
    cpu_s: float

    @property
    def mean_on(self) -> float:
        """The mean of all exposures."""
        return float(np.mean(self.on))


@dataclass(frozen=True, kw_only=True)
class WrongMemory:
    """Returns with another task's memory.

    Attributes:
        seed: seed of the policy's training.
        empty: mean return of empty starts.
        deceived: mean return with another task's memory at likeness 1.
        doubted: mean return with another task's memory at a low likeness.
        deceived_error, doubted_error: standard errors of the differences from the empty start.
    """

    seed: int
    empty: float
    deceived: float
    doubted: float
    deceived_error: float
    doubted_error: float


def bandit_cell(contexts: int) -> Cell:
    """Return the cell of the paper's bandits."""
    spec = FamilySpec(
        name=f"recurring-bandits-c{contexts}",
        source=FamilySource.TENSOR,
        entry=RECURRING_BANDITS,
        kwargs={"num_contexts": contexts},
        episodes_per_trial=NUM_PULLS,
    )
    return Cell(name=spec.name, spec=spec, episode_steps=1, num_updates=UPDATES, target=8.35)


def score(policy: RL2Policy, *, seed: int, contexts: int, epochs: int) -> Recurrence:
    """Play epochs of contexts that recur in shuffled order."""
    began = time.process_time()
    returns = {is_on: _play_epochs(policy, contexts=contexts, epochs=epochs, is_on=is_on) for is_on in (True, False)}
    second = returns[True][1]
    return Recurrence(
        seed=seed,
        contexts=contexts,
        on=[float(values.mean()) for values in returns[True]],
        off=[float(values.mean()) for values in returns[False]],
        standard_error=float(second.std(ddof=1) / np.sqrt(len(second))),
        cpu_s=round(time.process_time() - began, 1),
    )


def _play_epochs(policy: RL2Policy, *, contexts: int, epochs: int, is_on: bool) -> NDArray[np.float64]:
    """Return [R, epochs · C] returns by exposure."""
    spec, generator = bandit_cell(contexts).spec, torch.Generator().manual_seed(1)
    orders = [np.random.default_rng(epoch).permutation(contexts * NUM_EXPOSURES) % contexts for epoch in range(epochs)]
    memories = [ExactTrialMemory() for _ in range(epochs)]
    counts = np.zeros((epochs, contexts), np.int64)
    returns: list[list[float]] = [[] for _ in range(NUM_EXPOSURES)]
    for rows in _blocks(orders):
        exposures = [int(counts[row]) for row in rows]
        given = torch.tensor([epoch * contexts + context for epoch, context in rows])
        tasks, counted = RecurringBandits(spec, num_trials=len(rows), device="cpu"), torch.tensor(exposures)
        observations = tasks.begin_tasks(given, counted, split=Split.HELD_OUT).numpy()
        recalled = [memories[row[0]].recall(tasks.spaces, seen) for row, seen in zip(rows, observations, strict=True)]
        found, records = _play(policy, tasks, (given, counted), recalled if is_on else [], generator)
        for row, exposure, value, record in zip(rows, exposures, found, records, strict=True):
            returns[exposure].append(value)
            memories[row[0]].store(tasks.spaces, record)
            counts[row] += 1
    return np.array(returns)


def _blocks(orders: Sequence[NDArray[np.int64]]) -> Iterator[list[tuple[int, int]]]:
    """Yield blocks of (epoch, context) that may be played side by side: no context is twice in one of them.

    Trials of different contexts do not depend on each other, so the order of trials is that of ``orders``.
    """
    position = [0] * len(orders)
    while any(start < len(order) for start, order in zip(position, orders, strict=True)):
        block: list[tuple[int, int]] = []
        for epoch, order in enumerate(orders):
            met: set[int] = set()
            while position[epoch] < len(order) and (context := int(order[position[epoch]])) not in met:
                met.add(context)
                block.append((epoch, context))
                position[epoch] += 1
        yield block


def _play(
    policy: RL2Policy,
    tasks: RecurringBandits,
    given: tuple[Tensor, Tensor],
    recalled: Sequence[RecalledTrials],
    generator: torch.Generator,
) -> tuple[list[float], list[Any]]:
    """Play one trial in each row, beginning with what was recalled; return the returns and the trials' records.

    Args:
        policy: the policy.
        tasks: B rows.
        given: [B] the tasks to play, and their exposures.
        recalled: what each row begins with; none for empty starts.
        generator: source of the actions' noise.
    """
    rollout = Rollout(
        policy,
        tasks,
        first_task=given[0],
        exposure=given[1],
        split=Split.HELD_OUT,
        generator=generator,
        reinstated=reinstate(policy, tasks.spaces, recalled),
    )
    trials = play_out(policy, rollout, may_pack=False)
    rows = list(range(tasks.num_trials))
    return trial_returns(trials).tolist(), to_records(trials, rows=rows, tasks=tasks.describe_tasks(rows))


def score_wrong_memory(policy: RL2Policy, *, seed: int) -> WrongMemory:
    """Play tasks with the memory of another task of the epoch, and with empty starts."""
    spec = bandit_cell(NUM_EXPOSURES).spec
    given = torch.arange(NUM_DECEIVED)

    def play(recalled: Sequence[RecalledTrials], exposure: int) -> tuple[NDArray[np.float64], list[Any]]:
        tasks, counted = RecurringBandits(spec, num_trials=len(given), device="cpu"), torch.full_like(given, exposure)
        generator = torch.Generator().manual_seed(exposure)
        returns, records = _play(policy, tasks, (given, counted), recalled, generator)
        return np.array(returns), records

    recalled = [RecalledTrials() for _ in given]
    for exposure in range(DECEIVED_AFTER):
        _, records = play(recalled, exposure)
        recalled = [replace(own, trials=(*own.trials, new)) for own, new in zip(recalled, records, strict=True)]
    others = [recalled[index - 1] for index in range(len(recalled))]
    empty, _ = play([], DECEIVED_AFTER)
    deceived, _ = play(others, DECEIVED_AFTER)
    doubted, _ = play([replace(other, likeness=DOUBT) for other in others], DECEIVED_AFTER)

    def error(values: NDArray[np.float64]) -> float:
        return float((values - empty).std(ddof=1) / np.sqrt(len(empty)))

    return WrongMemory(
        seed=seed,
        empty=float(empty.mean()),
        deceived=float(deceived.mean()),
        doubted=float(doubted.mean()),
        deceived_error=error(deceived),
        doubted_error=error(doubted),
    )


def show(result: Recurrence) -> None:
    """Print a result."""
    by_exposure = " ".join(f"{value:.2f}" for value in result.on)
    print(
        f"\rseed {result.seed}, {result.contexts} contexts: {by_exposure}, mean {result.mean_on:.3f} "
        f"(exposure 2 ± {result.standard_error:.3f}); off {np.mean(result.off):.3f}; {result.cpu_s:.0f} CPU-s"
    )


def show_wrong(result: WrongMemory) -> None:
    """Print a result."""
    print(
        f"seed {result.seed}, another task's memory: empty {result.empty:.3f}, deceived {result.deceived:.3f} "
        f"({result.deceived / result.empty - 1.0:+.1%} ± {result.deceived_error / result.empty:.1%}), doubted "
        f"{result.doubted:.3f} ({result.doubted / result.empty - 1.0:+.1%} ± {result.doubted_error / result.empty:.1%})"
    )
