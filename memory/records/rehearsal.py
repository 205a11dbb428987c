"""Trials that are kept for rehearsal."""

from __future__ import annotations

from dataclasses import dataclass

from memory.records.trials import TrialRecord

NUM_SLOTS = 64
"""The number of slots of a family's reservoir, and so the largest number of its trials that no limit of prune removes.

A reservoir takes at most 64 times the compressed size of the family's largest trial: 0.5 MB for bandits of 10 arms and
100 pulls, 0.7 MB for CartPole trials of 3 × 200 steps.
"""


@dataclass(frozen=True, kw_only=True)
class RehearsalTrial:
    """A trial in a family's reservoir.

    Attributes:
        slot: the slot that it takes, from 0 to ``NUM_SLOTS`` - 1.
        trial_id: its id in episodic memory.
        learner_step: number of the learner step that recorded it.
        trial: its task and episodes.
    """

    slot: int
    trial_id: int
    learner_step: int
    trial: TrialRecord
