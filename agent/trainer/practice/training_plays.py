"""The training trials of families of environments, played by the learner whose turn it is."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from agent.config.settings import Settings
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.recurring_training import RecurringTraining
from agent.learners.rl2.segment import is_played_in_segments
from agent.learners.rl2.specialist import Phase, Specialists
from agent.learners.rl2.training import FamilyTraining
from agent.trainer.families import can_be_played, is_played_in_background, learner_name
from agent.trainer.faults import FamilyFaults
from agent.trainer.plays import BackgroundPlays
from agent.trainer.practice.open_environments import OpenEnvironments
from agent.trainer.practice.rollouts import ROLLOUT, PlayedTrials, WorkerRollouts, play_training
from agent.trainer.practice.slices import Slices
from envs.task_batch import TaskBatch, recurs
from memory.records import Family
from memory.retrieval.key_upkeep import KeyUpkeep

TAKEN_OVER_SHARE = 3
"""While a family is taken over, this many times as many trials of a slice are stored, and rehearsed later: the policy
makes the mistakes in them that other families lead to."""


log = structlog.get_logger(__name__)


def is_played_whole(tasks: TaskBatch, config: RL2Config) -> bool:
    """Return whether all training trials of these tasks are played whole and begin empty."""
    is_long = is_played_in_segments(
        tasks, config, num_episodes=tasks.spec.episodes_per_trial, longest_trial=None, has_learned_keys=False
    )
    return not (is_long or recurs(tasks))


@dataclass(frozen=True, kw_only=True)
class TrainingPlays:
    """The training trials of families.

    Attributes:
        specialists: say which learner plays a family.
        environments: the open tasks.
        plays: carries out what a worker steps, in the background.
        slices: the counters of tasks and the heartbeat.
        faults: records the faults of families that are played for a repair.
        context_keys: recalls the stored trials of tasks that recur.
        settings: the numbers of stored trials and of strikes.
    """

    specialists: Specialists
    environments: OpenEnvironments
    plays: BackgroundPlays
    slices: Slices
    faults: FamilyFaults
    context_keys: KeyUpkeep
    settings: Settings

    def require_played(self, family: Family) -> None:
        """Have the next rollout played if that is done in the background; :meth:`play` returns it.

        Raises:
            UnderWayError: the rollout goes on in the background.
        """
        if is_played_in_background(family):
            self._rollouts.require_played(family, self._next_task(family))

    def begin_training(self, family: Family) -> FamilyTraining | None:
        """Return the training of a family that is played in the trainer's own thread; None for any other."""
        if is_played_in_background(family):
            return None
        training = self.environments.begin_training(family, self.specialists.player(learner_name(family)))
        if isinstance(training, RecurringTraining) and family.require_spec().recurring:
            training.stored = self.context_keys.recall(family)
        return training

    def play(self, family: Family, training: FamilyTraining | None) -> PlayedTrials:
        """Play the next trial batch.

        Args:
            family: the family.
            training: the result of :meth:`begin_training`.

        Raises:
            UnderWayError: a worker's rollout goes on in the background.
        """
        if training is None:
            return self._rollouts.play(family, self._next_task(family))
        name = learner_name(family)
        return play_training(
            training,
            self._next_task(family),
            num_stored=self._num_stored(name),
            generator=self.specialists.shared.generator,
            progress=lambda _steps: self.slices.heartbeat.beat_or_give_up(),
        )

    def play_for_repair(self, family: Family) -> PlayedTrials | None:
        """Play the next training trials of a family with the shared policy; None if it cannot be played whole.

        A family that a specialist plays is not played either.

        Raises:
            UnderWayError: the rollout goes on in the background.
            UnscoredError: the family failed. It gets a strike; with enough strikes it is quarantined and not scored.
        """
        if not can_be_played(family, max_strikes=self.settings.workers.max_strikes):
            return None
        if self.specialists.phase(learner_name(family)) is Phase.APART:
            return None
        with self.faults.scoring(family):
            if not is_played_whole(self.environments.tasks_of(family), self.specialists.shared.config):
                return None
            return self.play(family, self.begin_training(family))

    def learn_apart(self, family: Family) -> None:
        """Let a specialist learn a family whose first practice has failed, if its tasks allow that.

        A specialist has no encoder of images, which takes long to learn.
        """
        name, tasks = learner_name(family), self.environments.tasks_of(family)
        if tasks.spaces.observation.images or not is_played_whole(tasks, self.specialists.shared.config):
            self.specialists.go_on(name)
            return
        self.specialists.begin(name)
        log.info("first practice failed: learning apart", family=family.name)

    def is_slow(self, family: Family) -> bool:
        """Return whether a worker's last rollout took longer than the trainer waits."""
        return is_played_in_background(family) and self.plays.is_slow(family.id, ROLLOUT)

    def begin_next_if_slow(self, family: Family) -> None:
        """Begin the next rollout in the background if the last one took longer than the trainer waits."""
        if is_played_in_background(family):
            self._rollouts.begin_if_slow(family, self._next_task(family))

    def _next_task(self, family: Family) -> int:
        return self.slices.next_task.get(learner_name(family), 0)

    @property
    def _rollouts(self) -> WorkerRollouts:
        return WorkerRollouts(
            player=self.specialists.player,
            environments=self.environments,
            plays=self.plays,
            num_stored=self._num_stored,
        )

    def _num_stored(self, name: str) -> int:
        """Return how many trials of a batch are stored."""
        most = self.settings.memory.trials_per_step
        return most * TAKEN_OVER_SHARE if self.specialists.phase(name) is Phase.TAKING_OVER else most
