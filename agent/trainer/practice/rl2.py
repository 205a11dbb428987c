"""The practice of families of environments: one RL² policy plays trials of all of them and learns from them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from agent.config.settings import Settings
from agent.learners.evaluation.trials import EVALUATION_TASKS, GATE_TASKS, HeldOutReturns
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.parameters import covers, policy_from_initialization
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.recurring_training import RecurringTraining
from agent.learners.rl2.rehearsal.rehearsal import Rehearsal
from agent.learners.rl2.rehearsal.rehearsal_slice import RehearsalSlice
from agent.learners.rl2.rehearsal.taking_over import take_over
from agent.learners.rl2.specialist import Phase, Specialists
from agent.learners.rl2.training import FamilyTraining
from agent.learners.rl2.trials import num_tasks
from agent.policies.version_header import KnownFamily, VersionHeader
from agent.trainer.families import (
    held_out_trials,
    is_played_in_background,
    is_tensor_native,
    learner_name,
    of_kind,
    patience_with,
    spaces_of,
)
from agent.trainer.faults import FamilyFaults
from agent.trainer.gate import Part
from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.plays import BackgroundPlays, UnderWayError
from agent.trainer.practice.forward_transfer import fresh_point, fresh_policy, transfer_point, zero_shot_points
from agent.trainer.practice.held_out_plays import EVALUATION, FRESH_EVALUATION, GATE, HeldOutPlays
from agent.trainer.practice.met_tasks import met_points
from agent.trainer.practice.open_environments import OpenEnvironments
from agent.trainer.practice.protocol import Evaluation, Proposals, PublishedVersion
from agent.trainer.practice.rehearsal_time import RehearsalTime
from agent.trainer.practice.repair import Repair
from agent.trainer.practice.rl2_candidates import propose_policies
from agent.trainer.practice.rollouts import PlayedTrials
from agent.trainer.practice.slice_work import SliceWork
from agent.trainer.practice.slices import Slices, SliceTime
from agent.trainer.practice.stored_rehearsal import loss_points, names_in_practice
from agent.trainer.practice.training_plays import TrainingPlays
from agent.trainer.score_scale import scale_of
from envs.kinds import FamilyKind
from envs.task_batch import recurs
from memory.records import CurveMetric, CurvePoint, Family, TrialRecord
from memory.retrieval.key_upkeep import KeyUpkeep
from memory.tables.curves import CurveTable
from memory.tables.families import FamilyTable

SERIES_SLICES = 2.0
"""A slice lasts at most this many times its length to finish a series of tasks that recur."""


@dataclass(frozen=True, kw_only=True)
class RL2Practice:
    """The practice of families of environments by one RL² learner.

    Attributes:
        learner: the learner of the last restored commit.
        specialists: the specialists of the families that are learned apart.
        rehearsal: the rehearsal of the learner's families.
        rehearsal_time: the time that it may take.
        environments: the open tasks.
        plays: carries out what a worker steps, in the background.
        slices: the length, the counters, the heartbeat and the commit of slices.
        faults: records the faults of families that cannot be scored.
        families: the families of the store.
        curves: their curves, which have the returns of policies that learned nothing.
        context_keys: computes the context keys of stored trials.
        settings: the numbers of held-out trials and of stored trials.
    """

    learner: RL2Learner
    specialists: Specialists
    rehearsal: Rehearsal
    environments: OpenEnvironments
    plays: BackgroundPlays
    slices: Slices
    faults: FamilyFaults
    families: FamilyTable
    curves: CurveTable
    context_keys: KeyUpkeep
    settings: Settings
    rehearsal_time: RehearsalTime = field(default_factory=RehearsalTime)

    carries_over = True

    def check(self, family: Family) -> None:
        """Check that the family's stored spaces can be read."""
        spaces_of(family)

    # Practice

    def prepare(self, family: Family) -> None:
        """Add the family to the learner, and have its next rollout played if that is done in the background."""
        self._add(family)
        self._training.require_played(family)

    def practise(self, family: Family, *, reason: str) -> dict[str, Any]:
        """Roll out and update for a slice of time, and commit the slice."""
        start = self.slices.begin()
        self.prepare(family)
        name = learner_name(family)
        phase, player = self.specialists.phase(name), self.specialists.player(name)
        training = self._training.begin_training(family)
        work = SliceWork()
        rehearsed = self._begin_rehearsal(family, phase, start)
        played = self._training.play(family, training)
        while True:
            self._learn(family, training, work, rehearsed, played)
            self.slices.heartbeat.beat()
            has_ended = self._is_over(family, start, training) or self.specialists.phase(name) is not phase
            if has_ended or self.slices.heartbeat.is_stop_requested:
                break
            try:
                played = self._training.play(family, training)
            except (JobInterruptedError, UnderWayError):
                break  # The finished batches are committed; the trials in progress are discarded, or go on.
        self.rehearsal.end(rehearsed)
        self.rehearsal_time.note(spent_s=rehearsed.spent_s, passed_s=start.passed_s)
        trials = self._keep(name, work, phase)
        report = self.slices.commit_slice(
            family,
            practised=work.totals,
            returns=torch.cat(work.returns),
            losses=work.losses,
            trials=trials,
            teacher=None if phase is Phase.APART else self.rehearsal.reservoir(name).teacher,
            points=(_share_point(rehearsed, start.passed_s),),
            points_of_others=loss_points(self.rehearsal, rehearsed, self.families.all()),
            seconds={"rollout": work.played_s, "update": work.updated_s, "rehearsal": rehearsed.spent_s},
            started_at=start.started_at,
            reason=reason,
        )
        self.context_keys.refresh(family)
        self._record_pace(family, work)
        if self.specialists.player(name) is not player:
            self.environments.close_training(family.id)
        self._training.begin_next_if_slow(family)
        return report

    def _keep(self, name: str, work: SliceWork, phase: Phase) -> tuple[TrialRecord, ...]:
        """Return the trials of a slice that are stored, and rehearse them from here on unless a specialist played."""
        if phase is Phase.APART:
            return work.records(None)
        specialist = self.specialists.get(name) if phase is Phase.TAKING_OVER else None
        trials = work.records(self.rehearsal.next_slots(name, len(work.rows)))
        self.rehearsal.add(name, trials, teacher=None if specialist is None else specialist.teacher())
        if specialist is not None and specialist.is_taken_over:
            self.specialists.end(name)
        return trials

    def _is_over(self, family: Family, start: SliceTime, training: FamilyTraining | None) -> bool:
        """Return whether a slice ends: its time (more for series) is over, or its rollouts go on in the background."""
        if self._training.is_slow(family):
            return True
        is_amid_series = isinstance(training, RecurringTraining) and training.is_amid_series
        return start.passed_s >= self.slices.length_s * (SERIES_SLICES if is_amid_series else 1.0)

    @property
    def _training(self) -> TrainingPlays:
        return TrainingPlays(
            specialists=self.specialists,
            environments=self.environments,
            plays=self.plays,
            slices=self.slices,
            faults=self.faults,
            context_keys=self.context_keys,
            settings=self.settings,
        )

    @property
    def _scoring(self) -> HeldOutPlays:
        return HeldOutPlays(environments=self.environments, plays=self.plays, heartbeat=self.slices.heartbeat)

    def _record_pace(self, family: Family, work: SliceWork) -> None:
        """Record the usual speed of the family's environment if it changed notably."""
        pace = self.environments.changed_pace(family, steps_per_s=work.env_steps / max(work.played_s, 1e-9))
        if pace is not None:
            self.families.record_pace(family.name, pace)

    def _begin_rehearsal(self, family: Family, phase: Phase, start: SliceTime) -> RehearsalSlice:
        """Return the rehearsal of other families while this one is practised.

        It is empty if it is switched off or has had its time, or if a specialist learns, which leaves the shared policy
        as it is.
        """
        name, within_s = learner_name(family), self.rehearsal_time.begin_s(self.slices.length_s)
        if not self.settings.practise.rehearsal or phase is Phase.APART:
            return self.rehearsal.nothing()
        if phase is Phase.TAKING_OVER:
            return self.rehearsal.begin_taking_over(name)
        if within_s <= 0.0:
            return self.rehearsal.nothing()
        in_practice = names_in_practice(self.families.all())
        rehearsed = self.rehearsal.begin(name, in_practice=in_practice, within_s=within_s)
        rehearsed.may_step = lambda: self.rehearsal_time.allows(rehearsed.spent_s, passed_s=start.passed_s)
        return rehearsed

    def _learn(
        self,
        family: Family,
        training: FamilyTraining | None,
        work: SliceWork,
        rehearsed: RehearsalSlice,
        played: PlayedTrials,
    ) -> None:
        """Learn from a trial batch and add it to the slice."""
        name, batch = learner_name(family), played.batch
        num_epochs = self.learner.config.num_epochs_for(is_tensor_native=is_tensor_native(family))
        player, specialist = self.specialists.player(name), self.specialists.get(name)
        learn = partial(player.update, name) if training is None else training.learn
        began, rehearsed_s = time.monotonic(), rehearsed.spent_s
        teacher = None if specialist is None or specialist.is_learning else specialist
        if teacher is not None:
            losses = take_over(self.learner, teacher, batch, rehearsed)
        else:
            losses = learn(batch, num_epochs=num_epochs, after_minibatch=rehearsed.after_minibatch)
        work.updated_s += time.monotonic() - began - (rehearsed.spent_s - rehearsed_s)
        self.slices.next_task[name] = self.slices.next_task.get(name, 0) + num_tasks(batch)
        has_finite_parameters = player.is_finite([name]) and self.learner.is_finite(rehearsed.names)
        self.slices.refuse_divergence(name, losses, has_finite_parameters=has_finite_parameters)
        work.take(played, losses)
        if teacher is None:
            # The first trials of a family may have fewer episodes than its own.
            self._note_returns(
                family, work.returns[-1] * (family.require_spec().episodes_per_trial / batch.episodes_per_trial)
            )

    def _note_returns(self, family: Family, returns: Tensor) -> None:
        """Note the returns of trials that a specialist learned from, or the shared policy in its first practice."""
        name, specialist = learner_name(family), self.specialists.get(learner_name(family))
        if specialist is not None:
            specialist.note_returns(returns)
        elif not self.settings.practise.rehearsal:
            self.specialists.go_on(name)
        elif self.specialists.note_returns(name, returns):
            self._training.learn_apart(family)

    # Scores

    def evaluate(self, family: Family) -> Evaluation:
        """Play the policy on the held-out tasks of evaluations.

        The result for a family that was never practised is also its zero-shot score, from which its forward transfer
        follows.
        """
        self._add(family)
        returns = self._evaluation_returns(family, EVALUATION, self.learner.policy)
        if family.totals.meta_updates > 0:
            return Evaluation(returns=returns, more_points=self._met_points(family))
        start = self.learner.start_of(learner_name(family))
        zero_shot = zero_shot_points(family, returns, start)
        return Evaluation(returns=returns, more_points=(*zero_shot, *self._transfer_points(family, returns)))

    def _evaluation_returns(self, family: Family, what: str, policy: RL2Policy) -> HeldOutReturns:
        num_trials = held_out_trials(family, self.settings.evaluation)
        return self._scoring.returns(
            family,
            what,
            policy,
            first_task=EVALUATION_TASKS,
            num_trials=num_trials,
            token=family.totals.meta_updates,
            is_patient=patience_with(family),
        )

    def _met_points(self, family: Family) -> tuple[CurvePoint, ...]:
        """Return the returns in tasks that were met, with the memory and without; nothing if tasks do not recur."""
        if is_played_in_background(family) or not recurs(tasks := self.environments.tasks_of(family)):
            return ()
        return met_points(
            self.learner.policy,
            tasks,
            self.context_keys.recall(family),
            self.context_keys.met_tasks(family),
            progress=lambda _steps: self.slices.heartbeat.beat_or_give_up(),
        )

    def _transfer_points(self, family: Family, returns: HeldOutReturns) -> tuple[CurvePoint, ...]:
        """Return the forward transfer, and the return of a policy that learned nothing unless that is stored.

        Before any family was practised there is nothing to transfer.
        """
        if not self.learner.practised_spaces():
            return ()
        stored = self.curves.points(family.name, CurveMetric.FRESH_RETURN, limit=1)
        if stored:
            fresh = stored[0].point
        else:
            policy = fresh_policy(self.learner.config, spaces_of(family), device=self.learner.device)
            fresh = fresh_point(self._evaluation_returns(family, FRESH_EVALUATION, policy))
        scale = scale_of(family)
        transfer = () if scale is None else (transfer_point(returns, fresh, scale),)
        return transfer if stored else (fresh, *transfer)

    def _add(self, family: Family) -> None:
        """Add the family to the learner, with the best start for its spaces, unless it is known."""
        if learner_name(family) not in self.learner.families:
            num_trials = held_out_trials(family, self.settings.evaluation)
            start = self._scoring.best_start(family, self.learner, num_trials=num_trials)
            self.learner.add_family(learner_name(family), spaces_of(family), start=start)
            if self.settings.practise.rehearsal:
                self.specialists.watch(
                    learner_name(family),
                    spaces_of(family),
                    random_return=family.random_return or 0.0,
                    reference_return=family.reference_return,
                )

    def _gate_returns(self, families: Sequence[Family], tensors: Mapping[str, Tensor]) -> dict[str, HeldOutReturns]:
        """Return returns on the gate's tasks by family, for the families whose spaces the parameters know.

        Raises:
            UnscoredError: a family failed. It gets a strike; with enough strikes it is quarantined and not scored.
            IncompatibleParametersError: the parameters have another shape.
        """
        spaces = [spaces_of(family) for family in families]
        policy = policy_from_initialization(self.learner.config, tensors, spaces, device=self.learner.device)
        returns: dict[str, HeldOutReturns] = {}
        for family in families:
            if not policy.knows(spaces_of(family)):
                continue
            with self.faults.scoring(family):
                returns[family.name] = self._scoring.returns(
                    family,
                    GATE,
                    policy,
                    first_task=GATE_TASKS,
                    num_trials=held_out_trials(family, self.settings.consolidation),
                    token=object(),
                    is_patient=True,
                )
        return returns

    # Versions

    def propose(
        self, families: Sequence[Family], *, base: PublishedVersion | None, unplayable: Sequence[Family] = ()
    ) -> Proposals:
        """Propose the learner's own parameters."""
        return propose_policies(
            families,
            learner=self.learner,
            base=base,
            score=lambda tensors: self._gate_returns(families, tensors),
            losses=lambda tensors: self._stored_trials_losses(unplayable, tensors),
        )

    def _stored_trials_losses(self, families: Sequence[Family], tensors: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the KL of parameters on stored trials by family, for the families that have any."""
        judged = {family.name: learner_name(family) for family in families}
        spaces = {
            name: self.learner.spaces_of(known) for name, known in judged.items() if known in self.rehearsal.losses
        }
        policy = policy_from_initialization(
            self.learner.config, tensors, list(spaces.values()), device=self.learner.device
        )
        return {
            name: self.rehearsal.measure(judged[name], policy=policy)
            for name, pair in spaces.items()
            if policy.knows(pair)
        }

    def repair(self, families: Sequence[Family], *, base: PublishedVersion | None) -> bool:
        """Repair families on which a candidate falls, and commit the result (:mod:`agent.trainer.practice.repair`).

        Raises:
            UnscoredError: a family failed. It gets a strike; with enough strikes it is quarantined and not scored.
        """
        repair = Repair(
            learner=self.learner, rehearsal=self.rehearsal, slices=self.slices, play=self._training.play_for_repair
        )
        return repair.run(families, published=None if base is None else base.tensors)

    def export(self, part: Part, header: VersionHeader) -> VersionHeader:
        """Add the families on which the part's policy can act."""
        known = {
            family.name: KnownFamily(
                spaces=spaces_of(family), episodes_per_trial=family.require_spec().episodes_per_trial
            )
            for family in of_kind(FamilyKind.ENVIRONMENTS, self.families.all())
            if family.spaces is not None and covers(part.tensors, spaces_of(family))
        }
        return replace(header, families=known)


def _share_point(rehearsed: RehearsalSlice, slice_s: float) -> CurvePoint:
    """Return the share of a slice's time that rehearsal took."""
    return CurvePoint(metric=CurveMetric.REHEARSAL_SHARE, value=rehearsed.spent_s / max(slice_s, 1e-9))
