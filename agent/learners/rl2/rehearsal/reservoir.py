"""The reservoir of a family: a bounded number of its trials, for rehearsal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from agent.learners.rl2.rehearsal.past_trials import PastTrials, has_decisions
from agent.learners.rl2.rehearsal.retention import Retention
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
    """The trials of a family that are rehearsed.

    Attributes:
        spaces: the family's space pair.
        trials: by slot, the oldest first.
        retention: which trials are kept.
        teacher: the policy to which the family is held (:mod:`agent.learners.rl2.rehearsal.teachers`); None if it is
            not known. Then trials count with the distributions that they were played with.
        measured: the trials by which the family was measured since it was last taught, with the teacher's decisions.
    """

    spaces: SpacePair
    trials: dict[int, TrialRecord] = field(default_factory=dict)
    retention: Retention = field(init=False)
    teacher: Mapping[str, Tensor] | None = None
    measured: PastTrials | None = None

    def __post_init__(self) -> None:
        self.retention = Retention.empty(self.num_slots)

    def next_slots(self, count: int) -> list[int]:
        """Return the slots that the next trials take."""
        return self.retention.next_slots(count)[0]

    @property
    def num_slots(self) -> int:
        """The number of slots: fewer for trials with images, so that those of usual length fit into memory."""
        if not self.spaces.observation.images:
            return NUM_SLOTS
        return min(NUM_SLOTS, max(FEWEST_SLOTS, MAX_IMAGE_BYTES // (USUAL_STEPS * self.spaces.observation.width)))

    def add(self, trials: Iterable[TrialRecord]) -> None:
        """Put the next trials into the slots of :meth:`next_slots`; trials without a slot are left out.

        Batches of trials with fewer episodes than the longest, which are not rehearsed, are the next to be replaced.
        """
        with_slot = [trial for trial in trials if trial.rehearsal_slot is not None]
        slots, self.retention = self.retention.next_slots(len(with_slot))
        for slot, trial in zip(slots, with_slot, strict=True):
            self.put({slot: trial})  # Of many trials, later ones may take the slots of earlier ones.
        short = [slot for slot, trial in self.trials.items() if len(trial.episodes) < self._most_episodes]
        self.retention = self.retention.without(short)

    def teach(self, teacher: Mapping[str, Tensor] | None) -> None:
        """Take over a teacher."""
        self.teacher, self.measured = teacher, None

    def put(self, trials: Mapping[int, TrialRecord]) -> None:
        """Put trials into their slots in place of others, the oldest first."""
        self.measured = None
        for slot, trial in trials.items():
            self.trials.pop(slot, None)
            self.trials[slot] = trial

    def put_all(self, trials: Mapping[int, TrialRecord]) -> None:
        """Put stored trials into an empty reservoir, the oldest first."""
        self.put(trials)
        self.retention = self.retention.with_slots(trials)

    def usable(self, *, held_back: bool) -> Sequence[TrialRecord]:
        """Return the trials of one part, the oldest first: those with as many episodes as the longest have.

        Args:
            held_back: whether to return the trials that measure, or those that are trained on.
        """
        trials = [
            trial for slot, trial in self.trials.items() if is_held_back(slot) is held_back and has_decisions(trial)
        ]
        return [trial for trial in trials if len(trial.episodes) == self._most_episodes]

    @property
    def _most_episodes(self) -> int:
        return max((len(trial.episodes) for trial in self.trials.values()), default=0)


def is_held_back(slot: int) -> bool:
    """Return whether the trial in a slot is only measured."""
    return slot % HELD_BACK_EVERY == HELD_BACK_EVERY - 1
