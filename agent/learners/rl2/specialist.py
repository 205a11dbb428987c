"""Specialists: a new family whose spaces others share is learned apart where practice of the shared policy fails.

The policy of families that contradict the new one is sure of wrong actions, so it explores little, and rehearsal holds
it there. Where rewards are frequent, practice mends that. Where they are rare, it does not: the return stays low
(:mod:`agent.learners.rl2.first_practice`). Then a *specialist*, a policy of the family's own with new
parameters, learns the family, and the shared policy takes it over from the specialist
(:mod:`agent.learners.rl2.rehearsal.taking_over`), which is dropped afterwards. This is Progress & Compress (Schwarz et
al. 2018, arXiv:1805.06370) for recurrent policies.

Departures: the specialist begins with new parameters and no connections to the shared policy. What was learned before
is kept by rehearsal, not by a penalty on parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from torch import Tensor

from agent.learners.family_parts import starting_with
from agent.learners.rl2.first_practice import Attempt, BlockReturn, block_of, saved_block
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rehearsal.teachers import teacher_of
from envs.seeds import seed_of
from envs.spaces import SpacePair

PATIENCE_BLOCKS = 2
"""A specialist has learned its family when this many blocks in a row were not better than the best one."""

LEAST_GAIN = 0.02
"""A block is better if it also adds this share of what was gained since the first block. A block that reaches the
reference up to this share is enough."""

MOST_UPDATES = 300
"""A specialist learns at most so long: a family that needs more goes on in the shared policy."""

MOST_LESSONS = 200
"""Optimiser steps in which the shared policy takes a family over at most. With 2,000, earlier families were lost
further: five gridworlds ended at .75 instead of .82 of 1."""

FALLING_LESSONS = 160
"""Steps in which their learning rate falls linearly to ``LAST_RATE``."""

LAST_RATE = 0.1
"""The learning rate from then on, as a share of that of the first step."""

ENOUGH = 0.02
"""Mean KL in nats per step from which on a family counts as taken over."""

PREFIX = "specialists/"


class Phase(Enum):
    """A phase of a family's practice."""

    APART = "apart"
    """A specialist learns the family."""

    TAKING_OVER = "taking over"
    """The shared policy learns it from the specialist."""

    SHARED = "shared"
    """The shared policy practises it."""


@dataclass(kw_only=True)
class Specialist:
    """A policy of one family's own, with its learner.

    Attributes:
        learner: the learner, which knows this family alone.
        reference_return: trial return of score 1; None if the family has no reference.
        first: the first block of updates; None before its end.
        best: the best block of updates; None before the first.
        num_stalled: blocks since the best one.
        returns: the returns of the trials of the block under way.
        num_lessons: optimiser steps in which the shared policy took the family over so far.
        distance: mean KL of the shared policy from this one in the last trials that it played; None before.
    """

    learner: RL2Learner
    reference_return: float | None = None
    first: BlockReturn | None = None
    best: BlockReturn | None = None
    num_stalled: int = 0
    returns: list[list[float]]
    num_lessons: int = 0
    distance: float | None = None

    @property
    def name(self) -> str:
        """Return the family's name."""
        return self.learner.families[0]

    @property
    def num_updates(self) -> int:
        """Return the number of its updates so far."""
        return self.learner.num_updates(self.name)

    @property
    def is_learning(self) -> bool:
        """Return whether it still learns; afterwards the shared policy takes the family over."""
        if self.num_updates >= MOST_UPDATES:
            return False
        if self.first is None or self.best is None or not self.best.is_better_than(self.first):
            return True
        return self.num_stalled < PATIENCE_BLOCKS and not self._has_reached_reference(self.first, self.best)

    def _has_reached_reference(self, first: BlockReturn, best: BlockReturn) -> bool:
        reference = self.reference_return
        return reference is not None and best.mean >= reference - LEAST_GAIN * abs(reference - first.mean)

    @property
    def is_taken_over(self) -> bool:
        """Return whether the shared policy has taken the family over, so that the specialist is no longer needed."""
        if self.is_learning:
            return False
        return self.num_lessons >= MOST_LESSONS or (self.distance is not None and self.distance <= ENOUGH)

    @property
    def lesson_rate(self) -> float:
        """Return the learning rate of the next optimiser steps of taking over."""
        left = max(0.0, 1.0 - self.num_lessons / FALLING_LESSONS)
        return self.learner.config.learning_rate * (LAST_RATE + (1.0 - LAST_RATE) * left)

    def teacher(self) -> dict[str, Tensor]:
        """Return its parameters, to which rehearsal holds the shared policy."""
        return teacher_of(self.learner.policy, self.learner.spaces_of(self.name))

    def note_returns(self, returns: Tensor) -> None:
        """Note the returns of the trials from which it has just learned."""
        self.returns.append(returns.tolist())
        block = block_of(self.returns)
        if block is None:
            return
        self.returns = []
        self.first = self.first or block
        gained = 0.0 if self.best is None else self.best.mean - self.first.mean
        if self.best is None or block.is_better_than(self.best, by=LEAST_GAIN * gained):
            self.best, self.num_stalled = block, 0
        else:
            self.num_stalled += 1

    def to_meta(self) -> dict[str, Any]:
        """Return the state that is not tensors, as JSON values."""
        return {
            "learner": self.learner.to_meta(),
            "reference_return": self.reference_return,
            "first": None if self.first is None else asdict(self.first),
            "best": None if self.best is None else asdict(self.best),
            "num_stalled": self.num_stalled,
            "returns": self.returns,
            "num_lessons": self.num_lessons,
            "distance": self.distance,
        }


class Specialists:
    """The specialists of the families that are learned apart.

    Args:
        shared: the learner of the policy that plays all families.
    """

    def __init__(self, shared: RL2Learner) -> None:
        self.shared = shared
        """The learner of the shared policy."""
        self._of: dict[str, Specialist] = {}
        self._attempts: dict[str, Attempt] = {}

    def watch(self, name: str, spaces: SpacePair, *, random_return: float, reference_return: float | None) -> None:
        """Watch the first practice of a new family, if the policy may be sure of wrong actions in its spaces.

        Args:
            name: the family, which the shared learner knows and has not practised.
            spaces: its spaces.
            random_return: trial return of random actions.
            reference_return: trial return of score 1; None if the family has no reference.
        """
        if self.shared.is_settled(spaces):
            self._attempts[name] = Attempt(
                spaces=spaces, reference_return=reference_return, random_return=random_return, returns=[]
            )

    def note_returns(self, name: str, returns: Tensor) -> bool:
        """Note the returns of trials from which the shared policy has just learned.

        Returns:
            whether a first practice that was watched has ended and failed; :meth:`begin` may follow.
        """
        attempt = self._attempts.get(name)
        if attempt is None:
            return False
        attempt.note_returns(returns)
        if not attempt.is_over:
            return False
        if attempt.has_failed:
            return True
        if attempt.has_succeeded:
            del self._attempts[name]
        else:
            attempt.begin_again()
        return False

    def begin(self, name: str) -> None:
        """Begin to learn a family apart whose first practice has failed."""
        attempt = self._attempts.pop(name)
        seed = seed_of(self.shared.seed, name, "specialist")
        learner = RL2Learner(self.shared.config, device=self.shared.device, seed=seed)
        learner.add_family(name, attempt.spaces)
        self._of[name] = Specialist(learner=learner, reference_return=attempt.reference_return, returns=[])

    def get(self, name: str) -> Specialist | None:
        """Return the specialist of a family; None if it is not learned apart."""
        return self._of.get(name)

    def phase(self, name: str) -> Phase:
        """Return the phase of a family's practice."""
        specialist = self._of.get(name)
        if specialist is None or specialist.is_taken_over:
            return Phase.SHARED
        return Phase.APART if specialist.is_learning else Phase.TAKING_OVER

    def player(self, name: str) -> RL2Learner:
        """Return the learner whose policy plays the next training trials of a family."""
        specialist = self._of.get(name)
        return specialist.learner if specialist is not None and specialist.is_learning else self.shared

    def end(self, name: str) -> None:
        """Drop a family's specialist."""
        self._of.pop(name, None)

    def go_on(self, name: str) -> None:
        """Go on with the shared policy, although the first practice has failed."""
        self._attempts.pop(name, None)

    def keep_only(self, names: Iterable[str]) -> None:
        """Drop the specialists of all other families."""
        wanted = set(names)
        self._of = {name: found for name, found in self._of.items() if name in wanted}
        self._attempts = {name: found for name, found in self._attempts.items() if name in wanted}

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of all specialists."""
        return {
            f"{PREFIX}{name}/{part}": tensor
            for name, found in self._of.items()
            for part, tensor in found.learner.to_tensors().items()
        }

    def to_meta(self) -> dict[str, Any]:
        """Return the state that is not tensors, as JSON values."""
        return {
            "attempts": {name: found.to_meta() for name, found in self._attempts.items()},
            "specialists": {name: found.to_meta() for name, found in self._of.items()},
        }

    @classmethod
    def restored(cls, shared: RL2Learner, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Specialists:
        """Restore what :meth:`to_tensors` and :meth:`to_meta` saved; ``meta`` is empty in older checkpoints.

        Raises:
            RuntimeError: the tensors do not fit the settings.
            KeyError: a tensor is missing.
        """
        specialists = cls(shared)
        specialists._attempts = {name: Attempt.of_meta(saved) for name, saved in meta.get("attempts", {}).items()}
        for name, saved in meta.get("specialists", {}).items():
            own = starting_with(f"{PREFIX}{name}/", tensors)
            learner = RL2Learner.from_tensors(shared.config, own, saved["learner"], device=shared.device)
            specialists._of[name] = Specialist(
                learner=learner,
                reference_return=saved["reference_return"],
                first=saved_block(saved["first"]),
                best=saved_block(saved["best"]),
                num_stalled=saved["num_stalled"],
                returns=saved["returns"],
                num_lessons=saved["num_lessons"],
                distance=saved["distance"],
            )
        return specialists
