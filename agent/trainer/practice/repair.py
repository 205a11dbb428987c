"""The repair of families on which a candidate falls, before it is rejected."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from agent.learners.family_parts import without_parts
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.parameters import policy_from_initialization
from agent.learners.rl2.rehearsal.rehearsal import Rehearsal
from agent.learners.rl2.rehearsal.rehearsal_slice import RehearsalSlice
from agent.learners.rl2.rehearsal.taking_over import learn_from
from agent.learners.rl2.rehearsal.teachers import fits, for_spaces
from agent.trainer.families import learner_name
from agent.trainer.faults import UnscoredError
from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.plays import UnderWayError
from agent.trainer.practice.rollouts import PlayedTrials
from agent.trainer.practice.slices import Slices, SliceTime
from memory.errors import FamilyNotFoundError
from memory.records import Family

MOST_SLICES = 4
"""A repair takes at most as long as this many slices: the first half with trials that are played for it."""

LEARNED_AGAIN = 0.002
"""KL to the teacher, in nats per step of the trials that are played, at which a family is learned again.

At .0015 nats the scores of two CartPoles were within .01 of their teachers'; .02 is a fall that the gate sees.
"""

RATE = 0.3
"""Adam's rate in a repair, as a share of the rate at the start of a family's training."""


@dataclass(frozen=True, kw_only=True)
class Repair:
    """The repair of families on which a candidate falls.

    A policy that has fallen on a family reaches states that the stored trials do not show, so its KL on them may be
    small. Therefore it first plays training trials of the family, and learns what to do in them from the published
    policy, from which it fell; then what is still lost on stored trials is rehearsed, which needs no environment.

    Attributes:
        learner: the learner of the shared policy.
        rehearsal: the rehearsal of its families.
        slices: the length, the heartbeat and the commit of slices.
        play: plays the next training trials of a family that can be played, whole; None of any other.
    """

    learner: RL2Learner
    rehearsal: Rehearsal
    slices: Slices
    play: Callable[[Family], PlayedTrials | None]

    def run(self, families: Sequence[Family], *, published: Mapping[str, Tensor] | None) -> bool:
        """Repair families and commit the result; return whether anything was learned.

        Args:
            families: the families on which a candidate falls.
            published: parameters of the published version; None without one.

        Raises:
            UnscoredError: a family failed or was removed. The state is that of the last commit.
            JobInterruptedError: the daemon requested a stop. The state is that of the last commit.
        """
        try:
            return self._run(families, published or {})
        except (UnscoredError, JobInterruptedError):
            self.slices.restore()
            raise
        except FamilyNotFoundError as error:
            self.slices.restore()
            raise UnscoredError(f"{error.subject} was removed while it was repaired") from error

    def _run(self, families: Sequence[Family], published: Mapping[str, Tensor]) -> bool:
        start = self.slices.begin()
        has_learned = False
        for number, family in enumerate(families, start=1):
            until_s = self._time_s / 2 * number / len(families)
            has_learned |= self._teach_again(family, published, start, until_s=until_s)
        names = [learner_name(family) for family in families]
        rehearsed = self._rehearse(names, start)
        if not has_learned and rehearsed.num_steps == 0:
            return False
        self._commit(families[0], start, rehearsed.losses)
        return True

    @property
    def _time_s(self) -> float:
        return MOST_SLICES * self.slices.length_s

    def _teach_again(
        self, family: Family, published: Mapping[str, Tensor], start: SliceTime, *, until_s: float
    ) -> bool:
        """Learn from a family's teacher in trials that the policy plays now, and commit; return whether it learned."""
        name = learner_name(family)
        tensors = self._teacher(name, published)
        if tensors is None:
            return False
        spaces = self.learner.spaces_of(name)
        teacher = policy_from_initialization(self.learner.config, tensors, [spaces], device=self.learner.device)
        losses: dict[str, float] = {}
        while losses.get("takeover_kl", math.inf) > LEARNED_AGAIN and start.passed_s < until_s:
            self.slices.heartbeat.beat_or_give_up()
            try:
                played = self.play(family)
            except UnderWayError:
                break  # A slow environment: its trials are learned from when they are there.
            if played is None:
                break
            rehearsed = self.rehearsal.begin_taking_over(name)
            rate = RATE * self.learner.config.learning_rate
            losses = learn_from(teacher, self.learner, name, played.batch, rehearsed, rate=rate)
            self.rehearsal.end(rehearsed)
            self.slices.next_task[name] = self.slices.next_task.get(name, 0) + played.batch.num_trials
        if losses:
            self.rehearsal.reservoir(name).teach(tensors)
            self._commit(family, start, losses, teacher=tensors)
        return bool(losses)

    def _teacher(self, name: str, published: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        """Return the policy that knows a family best: the published one, else the one after its last practice.

        A candidate that falls on the family that was just practised is itself the policy after its last practice.
        """
        spaces = self.learner.spaces_of(name)
        of_version = for_spaces(without_parts(published), spaces)
        return of_version if fits(of_version, self.learner.policy, spaces) else self.rehearsal.reservoir(name).teacher

    def _commit(
        self,
        family: Family,
        start: SliceTime,
        losses: Mapping[str, float],
        *,
        teacher: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.slices.refuse_divergence(learner_name(family), losses, has_finite_parameters=self.learner.is_finite())
        self.slices.commit_repair(family, teacher=teacher, started_at=start.started_at)

    def _rehearse(self, names: Sequence[str], start: SliceTime) -> RehearsalSlice:
        """Rehearse what is still lost on stored trials."""
        left_s = self._time_s - start.passed_s
        rehearsed = self.rehearsal.begin_repair(
            names, within_s=left_s / 2.0, progress=self.slices.heartbeat.beat_or_give_up
        )
        self.learner.set_learning_rate(RATE * self.learner.config.learning_rate)
        while rehearsed.is_losing(names) and start.passed_s < self._time_s:
            self.slices.heartbeat.beat_or_give_up()
            rehearsed.step()
        self.rehearsal.end(rehearsed)
        return rehearsed
