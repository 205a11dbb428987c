"""The totals of a slice of practice of a family of environments, while it is under way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from agent.learners.rl2.segment_records import piece_records
from agent.learners.rl2.trials import TrialBatch, finished_returns, num_env_steps, num_episodes, to_records
from agent.trainer.practice.rollouts import PlayedTrials
from memory.records import FamilyTotals, TrialRecord


@dataclass
class SliceWork:
    """The totals of a slice of practice so far, and its last trial batch that has trials to store.

    Attributes:
        played_s: seconds that the rollouts took.
        updated_s: seconds that the updates took, without rehearsal.
        batch: the last batch from which was learned; of segments, the last one in which a stored trial began.
        rows: the trials of that batch that episodic memory stores.
        tasks: descriptions of the tasks of those trials.
        contexts: digests of the contexts that their environments gave.
    """

    env_steps: int = 0
    played_s: float = 0.0
    updated_s: float = 0.0
    episodes: int = 0
    trials: int = 0
    meta_updates: int = 0
    returns: list[Tensor] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    batch: TrialBatch | None = None
    rows: list[int] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    contexts: list[bytes | None] = field(default_factory=list)

    def take(self, played: PlayedTrials, losses: dict[str, float]) -> None:
        """Add a trial batch from which was learned, with the parts of the loss."""
        batch = played.batch
        if batch.segment is None or played.rows:
            self.batch = batch
            self.rows, self.tasks, self.contexts = played.rows, played.tasks, played.contexts
        self.played_s += played.took_s
        self.env_steps += num_env_steps(batch)
        self.episodes += num_episodes(batch)
        returns = finished_returns(batch)
        self.trials += len(returns)
        self.meta_updates += 1
        self.returns.append(returns)
        for part, value in losses.items():
            self.losses[part].append(value)

    def records(self, slots: Sequence[int] | None) -> tuple[TrialRecord, ...]:
        """Return the trials that episodic memory stores, with the slots of the family's reservoir that they take.

        Trials that began with the memory of earlier ones take none, because they cannot be replayed by themselves.

        Args:
            slots: the slots; None for trials that are not rehearsed.
        """
        if self.batch is None:
            return ()
        if self.batch.segment is not None and slots is not None:
            return tuple(
                piece_records(
                    self.batch,
                    self.batch.segment,
                    rows=self.rows,
                    tasks=self.tasks,
                    slots=slots,
                    contexts=self.contexts,
                )
            )
        is_replayable = self.batch.left is None and slots is not None
        return tuple(
            to_records(
                self.batch,
                rows=self.rows,
                tasks=self.tasks,
                decisions=self.batch.decisions if is_replayable else None,
                slots=slots if is_replayable else None,
                contexts=self.contexts,
            )
        )

    @property
    def totals(self) -> FamilyTotals:
        """The amounts that the slice has practised."""
        return FamilyTotals(
            env_steps=self.env_steps, episodes=self.episodes, trials=self.trials, meta_updates=self.meta_updates
        )
