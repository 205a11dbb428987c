"""The first practice of a new family in the shared policy, and the judgement whether it fails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from agent.learners.evaluation.trials import standard_error
from envs.spaces import SpacePair

ATTEMPT_UPDATES = 20
"""Updates of practice of the shared policy after which it is judged."""

LOW_SHARE = 1 / 3
"""A family is played badly below this share of the way from random actions to its reference."""

BLOCK_UPDATES = 5
"""Updates whose training trials are compared together."""

MIN_DIFFERENCE = 2.0
"""A block is better by at least this many standard errors of the difference. A CartPole that contradicts one that was
practised for 90 CPU-seconds had risen by only .005 of the way to its reference after 20 updates, but by more than this;
after 40 it had risen by .9."""


@dataclass(kw_only=True)
class BlockReturn:
    """The mean return of the training trials of one block of updates, with its standard error."""

    mean: float
    error: float

    def is_better_than(self, other: BlockReturn, *, by: float = 0.0) -> bool:
        """Return whether the mean is higher by more than noise explains, and by more than ``by``."""
        return self.mean - other.mean > max(by, MIN_DIFFERENCE * math.hypot(self.error, other.error))


def block_of(returns: Sequence[Sequence[float]]) -> BlockReturn | None:
    """Return the block of the last updates' returns; None while updates or trials are missing."""
    if len(returns) < BLOCK_UPDATES or not any(returns):
        return None
    values = torch.tensor([value for update in returns for value in update])
    return BlockReturn(mean=float(values.mean()), error=standard_error(values))


def saved_block(saved: Mapping[str, float] | None) -> BlockReturn | None:
    """Return the block that was saved as JSON values; None if there was none."""
    return None if saved is None else BlockReturn(**saved)


@dataclass(kw_only=True)
class Attempt:
    """The first practice of a new family in the shared policy.

    Attributes:
        spaces: the family's spaces.
        reference_return: trial return of score 1; None if the family has no reference.
        random_return: trial return of random actions.
        first: the first block of updates; None before its end.
        last: the last block of updates.
        num_updates: updates so far.
        returns: the returns of the trials of the block under way.
    """

    spaces: SpacePair
    reference_return: float | None
    random_return: float
    first: BlockReturn | None = None
    last: BlockReturn | None = None
    num_updates: int = 0
    returns: list[list[float]]

    @property
    def is_over(self) -> bool:
        """Return whether enough updates were made to judge it."""
        return self.num_updates >= ATTEMPT_UPDATES

    @property
    def has_failed(self) -> bool:
        """Return whether the return is low and has not risen; without a reference, low is that of random actions."""
        if self.first is None or self.last is None or self.last.is_better_than(self.first):
            return False
        if self.reference_return is None:
            return not self.last.is_better_than(BlockReturn(mean=self.random_return, error=0.0))
        return self._is_low

    @property
    def has_succeeded(self) -> bool:
        """Return whether the family is played well enough to be judged no more."""
        return not (self.has_failed or self._is_low)

    @property
    def _is_low(self) -> bool:
        reference, last = self.reference_return, self.last
        if reference is None or last is None:
            return False
        return last.mean < self.random_return + LOW_SHARE * (reference - self.random_return)

    def begin_again(self) -> None:
        """Judge the practice again after as many updates."""
        self.first, self.last, self.num_updates, self.returns = self.last, None, 0, []

    def note_returns(self, returns: Tensor) -> None:
        """Note the returns of the trials from which the shared policy has just learned."""
        self.num_updates += 1
        self.returns.append(returns.tolist())
        block = block_of(self.returns)
        if block is not None:
            self.first, self.last = self.first or block, block
            self.returns = []

    def to_meta(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {**asdict(self), "spaces": self.spaces.to_json()}

    @classmethod
    def of_meta(cls, saved: Mapping[str, Any]) -> Attempt:
        """Return what :meth:`to_meta` saved."""
        blocks = {part: saved_block(saved[part]) for part in ("first", "last")}
        return cls(**{**saved, **blocks, "spaces": SpacePair.from_json(saved["spaces"])})
