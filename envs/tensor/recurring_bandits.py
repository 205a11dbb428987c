"""Bandits that recur with a barcode (Ritter et al. 2018, arXiv:1805.09692, section 4.1).

Rules: a task has K arms, of which one pays 1 with probability .9 and the others with probability .1. The observation is
the task's barcode, a vector of bits. An episode is one pull and terminates, so a trial of n pulls consists of n
episodes of one step. C successive tasks form an epoch: their barcodes differ from each other, and the best arm and the
barcode are drawn independently. A task may be played again: its barcode and best arm stay, the outcomes are drawn anew.

Shapes: B trials, A arms, W bits, C contexts.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from envs.family import FamilySpec, Split, in_pool
from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair
from envs.task_batch import Transition
from envs.tensor.counter_random import exposure_seeds, noise_seeds, seeds_of, stream_key, uniform
from envs.tensor.options import whole_number

BEST_ARM, OTHER_ARMS = 0.9, 0.1
"""The probabilities with which arms pay."""


class RecurringBandits:
    """A batch of B parallel bandit tasks with barcodes.

    Args:
        spec: the family; ``kwargs`` may contain ``num_arms``, ``num_contexts`` (C, the tasks of an epoch) and
            ``barcode_bits`` (W, with C at most 2^W).
        num_trials: B.
        device: device of the tensors.
        rows_per_task: R consecutive rows are the same task with independent outcomes.
    """

    recurs = True

    def __init__(
        self, spec: FamilySpec, *, num_trials: int, device: torch.device | str, rows_per_task: int = 1
    ) -> None:
        self.spec = spec
        self.num_arms = whole_number(spec, "num_arms")
        self.num_contexts = whole_number(spec, "num_contexts")
        self.num_bits = whole_number(spec, "barcode_bits")
        self.spaces = SpacePair(
            observation=ObservationSpec(kind=ObservationKind.VECTOR, size=self.num_bits),
            action=ActionSpec(kind=ActionKind.DISCRETE, choices=(self.num_arms,), start=(0,)),
        )
        self.num_trials, self.rows_per_task = num_trials, rows_per_task
        self.may_truncate = False
        self.max_episode_steps = 1
        self.device = torch.device(device)
        self._never = torch.zeros(num_trials, dtype=torch.bool, device=self.device)

    def begin(self, first_task: int | Tensor, *, split: Split) -> Float[Tensor, "B W"]:
        """Begin tasks ``first_task … first_task + B/R - 1`` of a split, R rows each."""
        tasks = first_task + torch.arange(self.num_trials, device=self.device) // self.rows_per_task
        return self.begin_tasks(tasks, torch.zeros_like(tasks), split=split)

    def begin_tasks(
        self, tasks: Int64[Tensor, "B"], exposures: Int64[Tensor, "B"], *, split: Split
    ) -> Float[Tensor, "B W"]:
        """Begin one given task in each row.

        Args:
            tasks: their indices in the split.
            exposures: how often each was played before; outcomes depend on it.
            split: training or held-out tasks.
        """
        tasks, exposures = in_pool(self.spec, split, tasks, exposures)
        self._tasks, self._split = tasks, split
        arms, codes, noise = (
            stream_key(self.spec.entry, self.spec.kwargs, split, purpose) for purpose in ("tasks", "codes", "noise")
        )
        best = (uniform(seeds_of(arms, tasks), 0, 1)[:, 0] * self.num_arms).long()
        self._arms = torch.full((self.num_trials, self.num_arms), OTHER_ARMS, device=self.device)
        self._arms.scatter_(1, best.unsqueeze(1), BEST_ARM)
        self._observation = self._barcodes(codes, tasks)
        of_task = exposure_seeds(seeds_of(noise, tasks[:: self.rows_per_task]), exposures[:: self.rows_per_task])
        self._chances = uniform(noise_seeds(of_task, self.rows_per_task), 0, self.spec.episodes_per_trial)
        self._position = 0
        return self._observation

    def step(self, action: Int64[Tensor, "B"], active: Bool[Tensor, "B"]) -> Transition:
        """Pull one arm in every active row; every pull terminates its episode."""
        chance = self._chances[:, self._position % self._chances.shape[1]]
        self._position += 1
        pays = chance < self._arms.gather(1, action.unsqueeze(1)).squeeze(1)
        return Transition(
            observation=self._observation,
            reward=(pays & active).to(torch.float32),
            terminated=active.clone(),
            truncated=self._never,
            final_observation=self._observation,
        )

    def task_parameters(self) -> Float[Tensor, "B A"]:
        """Return the probability with which each arm pays."""
        return self._arms

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return the tasks in the given rows as JSON values, for the stored trials."""
        return [
            {
                "split": self._split.value,
                "index": int(self._tasks[row]),
                "best_arm": int(self._arms[row].argmax()),
                "barcode": self._observation[row].int().tolist(),
            }
            for row in rows
        ]

    def close(self) -> None:
        """Release nothing; safe to call twice."""

    def _barcodes(self, key: int, tasks: Int64[Tensor, "B"]) -> Float[Tensor, "B W"]:
        """Return the barcodes: those of an epoch are the first C of a permutation of all numbers of W bits."""
        order = uniform(seeds_of(key, tasks // self.num_contexts), 0, 2**self.num_bits).argsort(dim=1, stable=True)
        number = order.gather(1, (tasks % self.num_contexts).unsqueeze(1)).squeeze(1)
        bits = torch.arange(self.num_bits, device=self.device)
        return ((number.unsqueeze(1) >> bits) & 1).to(torch.float32)
