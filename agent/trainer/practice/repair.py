"""The repair of families on which a candidate falls, before it is rejected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.policy import policy_from_initialization
from agent.learners.rl2.rehearsal.rehearsal import Rehearsal, RehearsalSlice
from agent.learners.rl2.rehearsal.taking_over import learn_from
from agent.learners.rl2.specialist import ENOUGH
from agent.trainer.families import learner_name
from agent.trainer.plays import UnderWayError
from agent.trainer.practice.rollouts import PlayedTrials
from agent.trainer.practice.slices import Slices, SliceTime
from memory.records import Family

MOST_SLICES = 4
"""A repair takes at most as long as this many slices: the first half with trials that are played for it."""

RATE = 0.3
"""Adam's rate in a repair, as a share of the rate at the start of a family's training."""


@dataclass(frozen=True, kw_only=True)
class Repair:
    """The repair of families on which a candidate falls.

    A policy that has fallen on a family reaches states that the stored trials do not show, so its KL on them may be
    small. Therefore it first plays training trials of the family, and learns from the family's teacher what to do in
    them; then what is still lost on stored trials is rehearsed, which needs no environment.

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

    def run(self, families: Sequence[Family]) -> bool:
        """Repair families and commit the result; return whether anything was learned."""
        start = self.slices.begin()
        has_learned = False
        for number, family in enumerate(families, start=1):
            has_learned |= self._teach_again(family, start, until_s=self._time_s / 2 * number / len(families))
        names = [learner_name(family) for family in families]
        rehearsed = self._rehearse(names, start)
        if not has_learned and rehearsed.num_steps == 0:
            return False
        self.slices.refuse_divergence(names[0], rehearsed.losses, has_finite_parameters=self.learner.is_finite())
        self.slices.commit_repair(families[0], started_at=start.started_at)
        return True

    @property
    def _time_s(self) -> float:
        return MOST_SLICES * self.slices.length_s

    def _teach_again(self, family: Family, start: SliceTime, *, until_s: float) -> bool:
        """Learn from a family's teacher in trials that the policy plays now; return whether any were played."""
        name = learner_name(family)
        tensors = self.rehearsal.reservoir(name).teacher
        if tensors is None:
            return False
        spaces = self.learner.spaces_of(name)
        teacher = policy_from_initialization(self.learner.config, tensors, [spaces], device=self.learner.device)
        has_played, distance = False, float("inf")
        while distance > ENOUGH and start.passed_s < until_s:
            self.slices.heartbeat.beat_or_give_up()
            try:
                played = self.play(family)
            except UnderWayError:
                break  # A slow environment: its trials are learned from when they are there.
            if played is None:
                break
            rehearsed = self.rehearsal.begin_taking_over(name)
            rate = RATE * self.learner.config.learning_rate
            distance = learn_from(teacher, self.learner, name, played.batch, rehearsed, rate=rate)["takeover_kl"]
            self.rehearsal.end(rehearsed)
            self.slices.next_task[name] = self.slices.next_task.get(name, 0) + played.batch.num_trials
            has_played = True
        return has_played

    def _rehearse(self, names: Sequence[str], start: SliceTime) -> RehearsalSlice:
        """Rehearse what is still lost on stored trials."""
        rehearsed = self.rehearsal.begin_repair(names)
        self.learner.set_learning_rate(RATE * self.learner.config.learning_rate)
        while rehearsed.is_losing(names) and start.passed_s < self._time_s:
            self.slices.heartbeat.beat_or_give_up()
            rehearsed.step()
        self.rehearsal.end(rehearsed)
        return rehearsed
