"""Recognition within trials: the memory is asked at the first observation, and again after the first steps.

The state of a trial is a function of the recall that it began with and of its steps. When the memory recalls something
else than before, the state is computed again from this recall and the steps so far, as if the trial had begun with it.
Acting uses this for one trial, and evaluation for B trials that began together.

Shapes: T steps so far, B trials, D observation width.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from agent.learners.rl2.policy_state import PolicyState
from agent.learners.rl2.recalled_trials import RecalledStarts, run_again
from agent.learners.rl2.stored_steps import StoredSteps, trial_of_steps
from agent.learners.rl2.trees import join_tensors, map_tensors
from memory.records import TrialRecord
from memory.retrieval.recall import RecalledTrials

LIKENESS_STEP = 0.1
"""A change of the likeness that is worth computing the state of a trial again."""


class TaskMemory(Protocol):
    """A memory of the trials of one space pair, which is asked for those of the task of a trial in progress."""

    @property
    def last_asked(self) -> int | None:
        """The number of steps after which it is not asked again; None if it is not known."""
        ...

    def is_asked_again(self, num_steps: int, *, has_ended: bool) -> bool:
        """Return whether the memory is asked again after so many steps of a trial.

        Args:
            num_steps: the steps that were taken.
            has_ended: whether the last of them ended an episode.
        """
        ...

    def find(
        self,
        first_observation: NDArray[Any],
        *,
        context: bytes | None = None,
        begun: TrialRecord | None = None,
    ) -> RecalledTrials:
        """Return the trials of a task; without trials if there are none.

        Args:
            first_observation: [D] with which it begins, in the environment's units; the index of a discrete one.
            context: the digest of its ``info["context"]``; None without one.
            begun: the steps that were taken in it, when the memory is asked again; None at the start.
        """
        ...


class Recognition:
    """The recall of B trials in progress that began together.

    Args:
        memory: the memory.
        starts: computes the states with which the trials go on.
        first_observation: [B, D] in the environment's units.
        contexts: [B] the digests of their ``info["context"]``; None for each task without one.
        episodes_per_trial: E.
    """

    def __init__(
        self,
        memory: TaskMemory,
        starts: RecalledStarts,
        *,
        first_observation: Tensor,
        contexts: Sequence[bytes | None],
        episodes_per_trial: int,
    ) -> None:
        self._memory, self._starts, self._episodes_per_trial = memory, starts, episodes_per_trial
        self._first, self._contexts = first_observation.cpu().numpy(), list(contexts)
        self._steps: list[StoredSteps] = []
        self._num_ended = torch.zeros(len(self._first), dtype=torch.int64, device=first_observation.device)
        self.recalled = [memory.find(seen, context=given) for seen, given in zip(self._first, contexts, strict=True)]
        """[B] what the memory recalled when it was asked last."""

    @torch.no_grad()
    def begin(self) -> PolicyState:
        """Return the state of trials that begin with what is recalled now."""
        return self._starts.begin(self.recalled, episodes_per_trial=self._episodes_per_trial)

    @torch.no_grad()
    def take(self, step: StoredSteps) -> PolicyState | None:
        """Record a step of all trials, and ask the memory again where it is time.

        Args:
            step: [B] the step; not valid where the trial had ended before.

        Returns:
            The state with which the trials go on, if any of them recalls something else now; None to go on as before.
        """
        if self._memory.last_asked is not None and len(self._steps) >= self._memory.last_asked:
            return None
        self._steps.append(step)
        asked = self._asked_rows(step)
        if not asked:
            return None
        steps = self._steps_so_far()
        changed = [row for row in asked if self._ask_again(row, steps)]
        if not changed:
            return None
        state = self.begin()
        run_again(self._starts.policy, self._starts.spaces, state, steps)
        return state

    def is_over(self, row: int) -> bool:
        """Return whether a trial has ended its planned episodes."""
        return int(self._num_ended[row]) >= self._episodes_per_trial

    def record(self, row: int) -> TrialRecord:
        """Return the steps of a trial so far, as a memory stores them."""
        return _trial_of_row(self._steps_so_far(), row)

    def _asked_rows(self, step: StoredSteps) -> list[int]:
        """Return the trials for which the memory is asked after this step."""
        has_ended = (step.terminated | step.truncated) & step.is_valid
        self._num_ended += has_ended
        goes_on = step.is_valid & (self._num_ended < self._episodes_per_trial)
        flags = zip(goes_on.tolist(), has_ended.tolist(), strict=True)
        num_steps = len(self._steps)
        return [
            row
            for row, (goes_on_here, ended_here) in enumerate(flags)
            if goes_on_here and self._memory.is_asked_again(num_steps, has_ended=ended_here)
        ]

    def _ask_again(self, row: int, steps: StoredSteps) -> bool:
        """Ask the memory for a trial; return whether it recalls something else than before."""
        before, begun = self.recalled[row], _trial_of_row(steps, row)
        found = self._memory.find(self._first[row], context=self._contexts[row], begun=begun)
        if _are_alike(found, before):
            return False
        self.recalled[row] = found
        return True

    def _steps_so_far(self) -> StoredSteps:
        """Return the steps of all trials, [T, B]."""
        return join_tensors(torch.stack, self._steps)


def _trial_of_row(steps: StoredSteps, row: int) -> TrialRecord:
    """Return the trial of one row of [T, B] steps."""
    of_row = map_tensors(lambda values: values[:, row], steps)
    num_taken = int(of_row.is_valid.sum())
    return trial_of_steps(map_tensors(itemgetter(slice(num_taken)), of_row))


def _are_alike(one: RecalledTrials, other: RecalledTrials) -> bool:
    """Return whether two recalls are of the same trials with nearly the same likeness."""
    are_same = len(one.trials) == len(other.trials) and all(map(operator.is_, one.trials, other.trials))
    return are_same and abs(one.likeness - other.likeness) < LIKENESS_STEP
