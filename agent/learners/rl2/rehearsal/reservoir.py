"""The reservoir of a family: a bounded number of its most recent trials, for rehearsal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agent.learners.rl2.rehearsal.past_trials import has_decisions
from envs.spaces import SpacePair
from memory.records import NUM_SLOTS, TrialRecord

HELD_BACK_EVERY = 4
"""One of this many slots is held back: its trials measure what is being lost, and are never trained on."""

MAX_IMAGE_BYTES = 128 << 20
"""Bytes of the observations of a reservoir of trials with images, if they have ``USUAL_STEPS`` steps."""

USUAL_STEPS = 1000

FEWEST_SLOTS = 8


@dataclass(kw_only=True)
class Reservoir:
    """The trials of a family that are rehearsed. A new trial takes the slot after the newest one.

    Attributes:
        spaces: the family's pair of spaces.
        trials: by slot.
        next_slot: the slot that the next trial takes.
    """

    spaces: SpacePair
    trials: dict[int, TrialRecord] = field(default_factory=dict)
    next_slot: int = 0

    def next_slots(self, count: int) -> list[int]:
        """Return the slots that the next trials take."""
        return [(self.next_slot + index) % self.num_slots for index in range(count)]

    @property
    def num_slots(self) -> int:
        """The number of slots: fewer for trials with images, so that those of usual length fit into memory."""
        if not self.spaces.observation.images:
            return NUM_SLOTS
        return min(NUM_SLOTS, max(FEWEST_SLOTS, MAX_IMAGE_BYTES // (USUAL_STEPS * self.spaces.observation.width)))

    def add(self, trials: Iterable[TrialRecord]) -> None:
        """Put trials into their slots, in place of older ones; trials without a slot are left out."""
        self.put({trial.rehearsal_slot: trial for trial in trials if trial.rehearsal_slot is not None})

    def put(self, trials: Mapping[int, TrialRecord]) -> None:
        """Put stored trials into their slots, the oldest first."""
        for slot, trial in trials.items():
            self.trials[slot] = trial
            self.next_slot = (slot + 1) % self.num_slots

    def usable(self, *, held_back: bool) -> Sequence[TrialRecord]:
        """Return the trials of one part, the oldest first: those with as many episodes as the longest have.

        Args:
            held_back: whether to return the trials that measure, or those that are trained on.
        """
        trials = [
            trial
            for slot, trial in sorted(self.trials.items(), key=lambda item: (item[0] - self.next_slot) % self.num_slots)
            if is_held_back(slot) is held_back and has_decisions(trial)
        ]
        most = max((len(trial.episodes) for trial in trials), default=0)
        return [trial for trial in trials if len(trial.episodes) == most]


def is_held_back(slot: int) -> bool:
    """Return whether the trial in a slot is only measured."""
    return slot % HELD_BACK_EVERY == HELD_BACK_EVERY - 1
