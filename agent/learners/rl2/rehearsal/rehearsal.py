"""Rehearsal: the policy is held to the decisions that it made on stored trials of other families after practising them.

L = mean over steps of KL(π_then(· | x_t, h_t) ‖ π(· | x_t, h_t)),  over whole stored trials, h_t unrolled from h_0 = 0

π_then is the teacher of the trial's family (:mod:`agent.learners.rl2.rehearsal.teachers`).

This is the behaviour cloning of CLEAR (Rolnick et al. 2019, arXiv:1811.11682, section 3) for the actor alone.
Departures: whole trials, and steps in proportion to what is being lost, which trials that are never trained on measure.
The policy is told neither families nor boundaries between them.

A step of rehearsal is an optimiser step of its own after a minibatch of practice
(:mod:`agent.learners.rl2.rehearsal.rehearsal_slice`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.rehearsal.lessons import Lesson, divergences, join_lessons, lesson_of
from agent.learners.rl2.rehearsal.past_trials import PastTrials, past_trials
from agent.learners.rl2.rehearsal.rehearsal_slice import FULL_LOSS, TOLERANCE, RehearsalSlice
from agent.learners.rl2.rehearsal.reservoir import Reservoir
from agent.learners.rl2.rehearsal.retention import Retention
from agent.learners.rl2.rehearsal.teachers import taught, teacher_of
from memory.records import TrialRecord

MEASURED_FAMILIES = 3
"""Families that are measured at the start of a slice, those first that were not measured for the longest time."""

MEASURED_TRIALS = 8
"""Held-back trials by which a family is measured: of all ages, and the newest."""

REHEARSED_FAMILIES = 8
"""Families that are rehearsed in a slice at most, those first that lose most."""

TRIALS_PER_SLICE = 16
"""Trials of each rehearsed family that are replayed at the start of a slice."""

TRIALS_BESIDE = 48
"""The same while a family is taken over: all that a reservoir has for training. With 16, the policy came to know these
by heart and lost the others."""

WEIGHT_IN_PRACTICE = 0.05
"""Weight of what is being lost of a family that is itself practised now and then: it learns again by itself."""


class Rehearsal:
    """The rehearsal of all families that a learner has practised.

    Args:
        learner: the learner.
        load: returns the reservoir of a family that is not loaded; it may be empty.
        max_loaded: reservoirs that are kept loaded, those that were used last; None keeps all.
        losses: the last measured KL of each family, the one first that was not measured for the longest time.
        retention: by family which trials its reservoir keeps (:meth:`Retention.to_json`).
    """

    def __init__(
        self,
        learner: RL2Learner,
        *,
        load: Callable[[str], Reservoir] | None = None,
        max_loaded: int | None = None,
        losses: Mapping[str, float] | None = None,
        retention: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self._learner = learner
        self._load = load or (lambda name: Reservoir(spaces=learner.spaces_of(name)))
        self._max_loaded = max_loaded
        self._reservoirs: dict[str, Reservoir] = {}
        self.losses = dict(losses or {})
        self._retention = {name: list(value) for name, value in (retention or {}).items()}

    def reservoir(self, name: str) -> Reservoir:
        """Return the reservoir of a family that was added to the learner."""
        found = self._reservoirs.pop(name, None) or self._loaded(name)
        self._reservoirs[name] = found  # The one used last is the last one.
        if self._max_loaded is not None and len(self._reservoirs) > self._max_loaded:
            del self._reservoirs[next(iter(self._reservoirs))]
        return found

    def _loaded(self, name: str) -> Reservoir:
        found = self._load(name)
        if name in self._retention:
            found.retention = Retention.of_json(self._retention[name], found.num_slots)
        return found

    def next_slots(self, name: str, count: int) -> list[int]:
        """Return the slots that a family's next trials take."""
        return self.reservoir(name).next_slots(count)

    def add(self, name: str, trials: Iterable[TrialRecord], *, teacher: Mapping[str, Tensor] | None = None) -> None:
        """Put trials into a family's reservoir after practice.

        Args:
            name: the family.
            trials: the trials.
            teacher: the family's teacher from here on; None takes the present policy.
        """
        reservoir = self.reservoir(name)
        reservoir.add(trials)
        self._retention[name] = reservoir.retention.to_json()
        reservoir.teach(teacher_of(self._learner.policy, reservoir.spaces) if teacher is None else teacher)
        self.losses.setdefault(name, 0.0)

    def keep_only(self, names: Iterable[str]) -> None:
        """Drop the reservoirs of all other families."""
        wanted = set(names)
        self._reservoirs = {name: found for name, found in self._reservoirs.items() if name in wanted}
        self.losses = {name: loss for name, loss in self.losses.items() if name in wanted}
        self._retention = {name: kept for name, kept in self._retention.items() if name in wanted}

    def begin(self, practised: str, *, in_practice: Collection[str] = (), within_s: float = math.inf) -> RehearsalSlice:
        """Measure what is being lost of other families, and prepare their rehearsal.

        Args:
            practised: the family that is practised in the slice.
            in_practice: families that are themselves practised now and then.
            within_s: time after which no further family is measured or prepared, beyond the first of each.
        """
        began = time.monotonic()
        others, measured = self._measure_next(practised, until=began + within_s / 2.0)
        weighted = {name: self.losses[name] * _weight(name, in_practice) for name in others}
        losing = sorted((name for name in others if weighted[name] > TOLERANCE), key=lambda name: -weighted[name])
        rehearsed = self.prepare(losing[:REHEARSED_FAMILIES], in_practice=in_practice, until=began + within_s)
        rehearsed.measured, rehearsed.spent_s = measured, time.monotonic() - began
        return rehearsed

    def begin_taking_over(self, taken_over: str) -> RehearsalSlice:
        """Measure what is being lost, and prepare the rehearsal of the families that share the spaces of one.

        They are rehearsed whether or not they lose something: what the policy learns of the new family contradicts
        them. With more than ``REHEARSED_FAMILIES``, half are those that lose most, and the others are drawn.
        """
        began = time.monotonic()
        others, measured = self._measure_next(taken_over)
        spaces = self._learner.spaces_of(taken_over)
        beside = sorted(
            (name for name in others if self._learner.spaces_of(name) == spaces), key=lambda name: -self.losses[name]
        )
        most, rest = beside[: REHEARSED_FAMILIES // 2], beside[REHEARSED_FAMILIES // 2 :]
        order = torch.randperm(len(rest), generator=self._learner.generator, device=self._learner.device)
        drawn = [rest[index] for index in order[: REHEARSED_FAMILIES - len(most)].tolist()]
        rehearsed = self.prepare([*most, *drawn], least_loss=FULL_LOSS, num_trials=TRIALS_BESIDE)
        rehearsed.measured, rehearsed.spent_s = measured, time.monotonic() - began
        return rehearsed

    def _measure_next(self, practised: str, *, until: float = math.inf) -> tuple[list[str], tuple[str, ...]]:
        """Measure the families whose turn it is; return all but the practised one, and those that were measured.

        After ``until`` (a reading of the monotonic clock in seconds) no further family is measured.
        """
        others = [name for name in self._may_lose() if name != practised]
        measured: list[str] = []
        for name in others[:MEASURED_FAMILIES]:
            if measured and time.monotonic() > until:
                break
            measured.append(name)
            self._measure_again(name)
        return others, tuple(measured)

    def _measure_again(self, name: str) -> None:
        loss = self.measure(name)
        del self.losses[name]  # Measured families move to the end of the order.
        self.losses[name] = loss

    def begin_repair(
        self, names: Sequence[str], *, within_s: float = math.inf, progress: Callable[[], object] = lambda: None
    ) -> RehearsalSlice:
        """Measure families, and prepare the rehearsal of the given ones and of those that lose most.

        Args:
            names: the families to repair.
            within_s: time after which no further family is measured, beyond the given ones.
            progress: called before each measurement.
        """
        until = time.monotonic() + within_s
        repaired = [name for name in names if name in self.losses]
        beside = [name for name in self._may_lose() if name not in repaired]
        for index, name in enumerate((*repaired, *beside)):
            if index >= len(repaired) and time.monotonic() > until:
                break
            progress()
            self._measure_again(name)
        others = sorted(beside, key=lambda name: -self.losses[name])
        return self.prepare([*repaired, *others][: max(REHEARSED_FAMILIES, len(repaired))])

    def _may_lose(self) -> list[str]:
        """Return the families that share parameters with another one, in the order of :attr:`losses`.

        Removed families count as others: what they changed may not have been rehearsed yet.
        """
        sharing = self._learner.sharing_families()
        return [name for name in self.losses if name in sharing]

    def nothing(self) -> RehearsalSlice:
        """Return the rehearsal of no family."""
        return self.prepare(())

    def prepare(
        self,
        names: Sequence[str],
        *,
        in_practice: Collection[str] = (),
        least_loss: float = 0.0,
        num_trials: int = TRIALS_PER_SLICE,
        until: float = math.inf,
    ) -> RehearsalSlice:
        """Prepare the rehearsal of some families; those without usable trials are left out.

        Args:
            names: the families, those first that matter most.
            in_practice: families that are themselves practised now and then.
            least_loss: KL in nats that each of them counts as losing at least.
            num_trials: trials of each of them.
            until: reading of the monotonic clock in seconds, after which no further family is prepared.
        """
        prepared: list[str] = []
        lessons: dict[str, Lesson] = {}
        for name in names:
            if prepared and time.monotonic() > until:
                break
            if not self.reservoir(name).usable(held_back=False):
                continue
            index = len(prepared)
            prepared.append(name)
            lesson = self._lesson(name, index=index, num_trials=num_trials)
            key = lesson.spaces.key
            lessons[key] = join_lessons(lessons[key], lesson) if key in lessons else lesson
        return RehearsalSlice(
            self._learner,
            list(lessons.values()),
            {name: self.losses[name] for name in prepared},
            weights=[_weight(name, in_practice) for name in prepared],
            least_loss=least_loss,
        )

    def end(self, rehearsed: RehearsalSlice) -> None:
        """Record what the steps of a slice found."""
        self.losses |= rehearsed.losses

    @torch.no_grad()
    def measure(self, name: str, *, policy: RL2Policy | None = None) -> float:
        """Return the KL of a family in nats per step, on trials that are held back; 0 without any.

        Args:
            name: the family.
            policy: the policy to measure; None measures the learner's.
        """
        reservoir, policy = self.reservoir(name), policy or self._learner.policy
        if reservoir.measured is None:
            held_back = _of_all_ages(reservoir.usable(held_back=True), MEASURED_TRIALS)
            if not held_back:
                return 0.0
            reservoir.measured = self._past(reservoir, held_back)
        past = reservoir.measured
        lesson = lesson_of(policy, past, family=0)
        trials = torch.arange(past.num_trials, device=self._learner.device)
        sums, steps = divergences(policy, lesson, trials, num_families=1)
        return float(sums / steps)

    def _lesson(self, name: str, *, index: int, num_trials: int) -> Lesson:
        reservoir = self.reservoir(name)
        usable = reservoir.usable(held_back=False)
        order = torch.randperm(len(usable), generator=self._learner.generator, device=self._learner.device)
        drawn = [usable[position] for position in order[:num_trials].tolist()]
        return lesson_of(self._learner.policy, self._past(reservoir, drawn), family=index)

    def _past(self, reservoir: Reservoir, trials: Sequence[TrialRecord]) -> PastTrials:
        """Return trials with the decisions of the family's teacher, or with their own if it is not known."""
        past = past_trials(trials, reservoir.spaces, device=self._learner.device)
        return past if reservoir.teacher is None else taught(past, reservoir.teacher, self._learner.config)

    def to_meta(self) -> dict[str, Any]:
        """Return the state that is not in the reservoirs, as JSON values."""
        return {
            "losses": list(self.losses.items()),
            "retention": {name: list(value) for name, value in self._retention.items()},
        }


def _of_all_ages(trials: Sequence[TrialRecord], count: int) -> list[TrialRecord]:
    """Return at most ``count`` of trials that are in the order of their ages, evenly spaced, with the newest."""
    step = max(1, -(-len(trials) // count))
    return list(trials[::-1][::step][::-1])


def _weight(name: str, in_practice: Collection[str]) -> float:
    """Return how much what is being lost of a family counts."""
    return WEIGHT_IN_PRACTICE if name in in_practice else 1.0
