"""Plays of a policy for its scores: evaluations, the gate of consolidation, and the test of starts.

Families of tensors and tasks that recur are played in the trainer's own thread; what else a worker steps is a play in
the background.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial

from agent.learners.evaluation.trials import HeldOutReturns, held_out_returns
from agent.learners.rl2.acting_copy import acting_copy
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.warm_start import WarmStart
from agent.trainer.families import is_played_in_background, spaces_of
from agent.trainer.heartbeat import Heartbeat
from agent.trainer.plays import BackgroundPlays
from agent.trainer.practice.open_environments import OpenEnvironments
from agent.trainer.practice.start_choice import choose_start, starting_policies
from memory.records import Family

EVALUATION, FRESH_EVALUATION = "evaluation", "evaluation of new parameters"
GATE, START = "scoring of a candidate", "test of starts"


@dataclass(frozen=True, kw_only=True)
class HeldOutPlays:
    """The plays of policies for their scores.

    Attributes:
        environments: the open tasks.
        plays: carries out what a worker steps.
        heartbeat: receives a beat as other plays advance.
    """

    environments: OpenEnvironments
    plays: BackgroundPlays
    heartbeat: Heartbeat

    def returns(
        self,
        family: Family,
        what: str,
        policy: RL2Policy,
        *,
        first_task: int,
        num_trials: int,
        token: Hashable,
        is_patient: bool | None = None,
    ) -> HeldOutReturns:
        """Play a policy on held-out tasks.

        Args:
            family: the family, whose spaces the policy knows.
            what: kind of the play.
            policy: the policy.
            first_task: index of the first held-out task.
            num_trials: N, before rounding.
            token: distinguishes plays of one kind.
            is_patient: whether the trainer waits without limit; see :meth:`BackgroundPlays.run`.

        Raises:
            UnderWayError: the play goes on in the background.
            EnvsError: the family failed.
        """
        score = partial(held_out_returns, first_task=first_task, num_trials=num_trials)
        if not is_played_in_background(family):
            return score(policy, self.environments.tasks_of(family), progress=self._beat)

        def prepare() -> Callable[[], HeldOutReturns]:
            copied = acting_copy(policy, spaces_of(family))
            return lambda: score(copied, self.environments.tasks_of(family), progress=self._check)

        return self.plays.run(family.id, what, prepare, token=token, is_patient=is_patient)

    def best_start(self, family: Family, learner: RL2Learner, *, num_trials: int) -> WarmStart:
        """Return the best start of a new family's spaces, by a test on training tasks.

        A family that a worker steps plays at most ``num_trials`` of them for each start.

        Raises:
            UnderWayError: the test goes on in the background.
            EnvsError: the family failed.
        """
        starts = starting_policies(learner, spaces_of(family))
        if len(starts) == 1:
            return next(iter(starts))
        if not is_played_in_background(family):
            return choose_start(starts, self.environments.tasks_of(family), num_trials=num_trials, progress=self._beat)

        def play() -> WarmStart:
            tasks = self.environments.tasks_of(family)
            return choose_start(starts, tasks, num_trials=num_trials, progress=self._check)

        return self.plays.run(family.id, START, lambda: play)

    def _beat(self, _num_steps: int) -> None:
        self.heartbeat.beat_or_give_up()

    def _check(self, _num_steps: int) -> None:
        self.plays.check()
