"""The state that the trainer's jobs share: the store, the learner with its restored state, and open tasks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
import torch

from agent.config.settings import Settings
from agent.learners.config_json import config_from_json, config_to_json
from agent.learners.family_parts import without_parts
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rehearsal.rehearsal import Rehearsal
from agent.learners.rl2.removed_settings import REMOVED, RemovedSettingError, check_stored, without_constants
from agent.learners.rl2.specialist import Specialists
from agent.learners.state import as_arrays, as_tensors
from agent.trainer.checkpoint_damage import IncompatibleCheckpointError, note_fallback, record_checkpoint_loss
from agent.trainer.families import learner_name, of_kind, spaces_of
from agent.trainer.faults import FamilyFaults, FamilyRemovedError
from agent.trainer.heartbeat import Heartbeat
from agent.trainer.plays import BackgroundPlays
from agent.trainer.practice.few_shot_candidates import published_meta
from agent.trainer.practice.few_shot_learners import FewShotLearners
from agent.trainer.practice.held_out_plays import EVALUATION
from agent.trainer.practice.open_environments import OpenEnvironments, TaskOpener
from agent.trainer.practice.protocol import Practice
from agent.trainer.practice.registry import build_practices
from agent.trainer.practice.rollouts import ROLLOUT
from agent.trainer.practice.stored_rehearsal import restored_rehearsal
from envs.kinds import FamilyKind
from envs.registry import open_tasks
from memory.errors import CorruptFileError
from memory.records import BEGIN_FROM_VERSION, Checkpoint, Family, FamilyState, LearnerStep
from memory.store import Store

log = structlog.get_logger(__name__)

FEWEST_AT_ONCE = 4
"""Slow families that may be played in the background at once, on a machine with one core. One that hangs takes none."""


class TrainerSession:
    """The trainer's state between two commits, from which each practice gets what it needs.

    Args:
        store: the store that receives every commit.
        settings: the daemon's settings.
        device: the device for rollouts and updates.
        heartbeat: receives a beat as work advances.
        opener: opens a family's tasks.
        clock: returns wall-clock time in seconds since the epoch.
    """

    def __init__(
        self,
        *,
        store: Store,
        settings: Settings,
        device: torch.device,
        heartbeat: Heartbeat,
        opener: TaskOpener = open_tasks,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.settings = settings
        self.device = device
        self.heartbeat = heartbeat
        self.clock = clock
        self.config = learned_config(settings.rl2)
        self.plays = BackgroundPlays(
            patience_s=settings.practise.wait_s,
            most_at_once=max(FEWEST_AT_ONCE, 2 * (os.cpu_count() or 1)),
            on_wait=heartbeat.beat_or_give_up,
            may_overlap=device.type == "cpu",
            has_others=self._has_others,
        )
        self.environments = OpenEnvironments(
            opener=opener,
            config=self.config,
            device=device,
            limits=settings.worker_limits(),
            on_wait=self.wait_for,
            before_open=self._require_present,
        )
        self._awaited: Family | None = None
        heartbeat.on_close_request = self._close_removed_tasks
        self.few_shot = FewShotLearners(
            seed=settings.learner.seed,
            planned_updates=settings.few_shot.planned_updates,
            device=device,
            heartbeat=heartbeat,
        )
        self.faults = FamilyFaults(
            families=store.families, close_tasks=self.close_tasks, limits=settings.workers, clock=clock
        )
        self.learner_steps = 0
        self.learner: RL2Learner
        self.specialists: Specialists
        self.rehearsal: Rehearsal
        self.next_task: dict[str, int]
        self.practices: dict[FamilyKind, Practice]
        self._restore()

    def practice_of(self, family: Family) -> Practice:
        """Return the practice of the family's kind, with the learners of the last restored commit."""
        return self.practices[family.kind]

    # The state and its commits

    def restore_last_commit(self) -> None:
        """Discard everything since the last commit."""
        self.environments.close_trainings()
        self._restore()

    def _restore(self) -> None:
        """Restore the state of the last commit and build the practices with it.

        If its checkpoint is damaged, record the damage and restore an older checkpoint. Without any commit, begin with
        new parameters.

        Raises:
            CheckpointLostError: learner steps were committed, and no checkpoint is intact.
            IncompatibleCheckpointError: the settings describe a policy of another shape.
        """
        num_steps = self.store.checkpoints.num_learner_steps()
        if not self._restore_newest_intact(num_steps):
            if num_steps > 0:
                raise record_checkpoint_loss(self.store, committed=num_steps)
            self._begin()
        self.practices = build_practices(self)

    def _restore_rehearsal(self, meta: Mapping[str, Any]) -> None:
        """Restore the rehearsal of the restored learner."""
        families = of_kind(FamilyKind.ENVIRONMENTS, self.store.families.all())
        self.rehearsal = restored_rehearsal(self.learner, families, self.store.rehearsal, meta)

    def _restore_newest_intact(self, num_steps: int) -> bool:
        """Restore the newest checkpoint that is intact; return whether there is one."""
        for checkpoint in self.store.checkpoints.restore_candidates():
            try:
                self._restore_checkpoint(checkpoint)
            except CorruptFileError:
                log.exception("checkpoint is corrupt, trying an older one", sha256=checkpoint.file.sha256)
                continue
            if checkpoint.learner_steps < num_steps:
                note_fallback(self.store, restored=checkpoint.learner_steps, committed=num_steps)
            self.learner_steps = checkpoint.learner_steps
            return True
        return False

    def _begin(self) -> None:
        """Begin with new parameters."""
        self.learner = RL2Learner(self.config, device=self.device, seed=self.settings.learner.seed)
        self.specialists = Specialists(self.learner)
        self.next_task = {}
        self.few_shot.restore({}, {})
        self._restore_rehearsal({})
        log.info("no checkpoint to restore, starting with new parameters", seed=self.settings.learner.seed)

    def _begin_from_version(self, version: int) -> None:
        """Begin with a published version's parameters and a new optimiser.

        A user chooses this (``learnd doctor --repair --yes``) when every checkpoint is lost.
        """
        initialization = self.store.initializations.get(version)
        _check_removed(initialization.provenance.get("config", {}))
        learner = RL2Learner(self.config, device=self.device, seed=self.settings.learner.seed)
        families = self.store.families.all()
        practised = [f for f in families if f.spaces is not None and f.totals.meta_updates > 0]
        for family in of_kind(FamilyKind.ENVIRONMENTS, practised):
            learner.add_family(learner_name(family), spaces_of(family))
        tensors = as_tensors(self.store.checkpoints.load_parameters(initialization.file))
        learner.load_initialization(without_parts(tensors))
        self.few_shot.restore(tensors, published_meta(initialization))
        self.learner, self.specialists = learner, Specialists(learner)
        self._restore_rehearsal({})
        self.next_task = {learner_name(family): family.totals.trials for family in practised}
        log.warning("every checkpoint was lost; continuing from the published version", version=version)

    def _restore_checkpoint(self, checkpoint: Checkpoint) -> None:
        if (version := checkpoint.meta.get(BEGIN_FROM_VERSION)) is not None:
            self._begin_from_version(version)
            return
        _check_removed(checkpoint.meta.get("config", {}))
        tensors = as_tensors(self.store.checkpoints.load_parameters(checkpoint.file))
        try:
            learner = RL2Learner.from_tensors(self.config, tensors, checkpoint.meta["learner"], device=self.device)
            specialists = Specialists.restored(learner, tensors, checkpoint.meta.get("specialists", {}))
            self.few_shot.restore(tensors, checkpoint.meta.get("few_shot", {}))
        except (RuntimeError, KeyError) as error:
            raise IncompatibleCheckpointError(
                f"restoring the learner: the checkpoint does not fit the settings; changed since it was written: "
                f"{self._changed_settings(checkpoint) or 'none'}. Set them back under [rl2], or use a new data folder."
            ) from error
        self.learner, self.specialists = learner, specialists
        self._restore_rehearsal(checkpoint.meta.get("rehearsal", {}))
        self.next_task = dict(checkpoint.meta["next_task"])
        log.info("restored", learner_steps=checkpoint.learner_steps, sha256=checkpoint.file.sha256[:12])

    def _changed_settings(self, checkpoint: Checkpoint) -> str:
        learned, present = without_constants(checkpoint.meta["config"]), config_to_json(self.config)
        changed = sorted(name for name in learned.keys() | present.keys() if learned.get(name) != present.get(name))
        return ", ".join(f"{name} {learned.get(name)} → {present.get(name)}" for name in changed)

    def commit(self, step: LearnerStep) -> Checkpoint:
        """Commit a learner step and the whole resulting state in one transaction."""
        meta = {
            "learner": self.learner.to_meta(),
            "few_shot": self.few_shot.to_meta(),
            "specialists": self.specialists.to_meta(),
            "rehearsal": self.rehearsal.to_meta(),
            "config": config_to_json(self.config),
            "next_task": self.next_task,
        }
        tensors = self.learner.to_tensors() | self.specialists.to_tensors() | self.few_shot.to_tensors()
        return self.store.learner_steps.commit(step, as_arrays(tensors), meta)

    # Open tasks

    def close_tasks(self, family_id: int) -> None:
        """Close a family's tasks and training, for example after a fault."""
        self.few_shot.close_tasks(family_id)
        self.plays.stop(family_id, then=lambda: self.environments.close_tasks(family_id))

    def close_unwanted_tasks(self) -> None:
        """Close the tasks of families that are no longer active, and drop the few-shot learners of removed families."""
        families = self.store.families.all()
        wanted = {family.id for family in families if self._may_keep_tasks(family)}
        is_open = self.environments.open_families | self.few_shot.open_families | self.plays.under_way()
        for family_id in is_open - wanted:
            self.close_tasks(family_id)
        names = {learner_name(family) for family in families}
        self.few_shot.keep_only(names)
        self.specialists.keep_only(names)
        self.rehearsal.keep_only(names)

    def wait_for(self, family: Family) -> None:
        """Check whether the wait for a worker of a family may go on, and send a beat in the trainer's own thread.

        Raises:
            FamilyRemovedError: the family was removed, so that its worker is not awaited any longer.
            PlayStoppedError: the result of the play that waits is not wanted any more.
        """
        if self.plays.is_in_play:
            self.plays.check()
            return
        self._awaited = family
        try:
            self.heartbeat.beat()
        finally:
            self._awaited = None

    def _close_removed_tasks(self) -> None:
        """Close the tasks of removed families during a job, so that a removal does not wait for the job's end.

        The next step in closed tasks raises an ``EnvsError``. Tasks in the middle of a step are not closed here: the
        wait for the step ends with an error, and the job closes them.

        Raises:
            FamilyRemovedError: the family whose worker is awaited was removed.
        """
        present = {family.id for family in self.store.families.all()}
        awaited = self._awaited
        is_open = self.environments.open_families | self.plays.under_way()
        for family_id in is_open - present - ({awaited.id} if awaited else set()):
            self.close_tasks(family_id)
        if awaited is not None and awaited.id not in present:
            raise FamilyRemovedError(operation="working on family", subject=awaited.name, found="it was removed.")

    def _require_present(self, family: Family) -> None:
        """Check that a family was not removed: nothing would end a worker that is started for it afterwards.

        A play in the background is stopped when its family is removed.

        Raises:
            FamilyRemovedError: it was removed.
            PlayStoppedError: the play that opens it was stopped.
        """
        if self.plays.is_in_play:
            self.plays.check()
        elif self.is_removed(family):
            raise FamilyRemovedError(operation="working on family", subject=family.name, found="it was removed.")

    def is_removed(self, family: Family) -> bool:
        """Return whether a family was removed since its row was read."""
        return all(present.id != family.id for present in self.store.families.all())

    def _may_keep_tasks(self, family: Family) -> bool:
        """Return whether a family's tasks may stay open: it is active, or its admission or evaluation goes on."""
        if family.state is FamilyState.ACTIVE:
            return True
        if family.state in {FamilyState.QUARANTINED, FamilyState.REMOVED}:
            return False
        is_played = self.plays.kind_under_way(family.id) not in {None, ROLLOUT}
        return is_played or self.plays.has_ended(family.id, EVALUATION)

    def _has_others(self, family_id: int) -> bool:
        """Return whether there is something to do for another active family without waiting for its worker.

        A family that failed is not waited for, so it is something to do only if there is a result.
        """
        ended, placed = self.plays.have_results(), self.plays.have_places()
        return any(
            other.id in ended
            or (not other.strikes and (other.id in placed or self.plays.has_use_for(other.id, ROLLOUT)))
            for other in self.store.families.all()
            if other.id != family_id and other.state is FamilyState.ACTIVE
        )

    def with_results(self) -> list[str]:
        """Return the names of the families with which a job can go on: with a result, or a place to begin a play."""
        ended = self.plays.have_results() | self.plays.have_places()
        return [family.name for family in self.store.families.all() if family.id in ended] if ended else []

    def close(self) -> None:
        """Stop all plays and close all workers."""
        self.plays.close()
        self.environments.close()


def _check_removed(values: Mapping[str, Any]) -> None:
    """Check that a learner with these stored settings can continue, and log the settings that no longer have an effect.

    Raises:
        IncompatibleCheckpointError: its policy learned with a setting that was removed, and cannot act without it.
    """
    try:
        check_stored(values)
    except RemovedSettingError as error:
        raise IncompatibleCheckpointError(
            f"restoring the learner: {error.found} {error.hint} To go on with this release, use a new data folder "
            f"(data_dir); this one stays as it is."
        ) from error
    for name in without_constants(values).keys() & REMOVED.keys():
        log.warning("learner was trained with a removed setting", setting=f"rl2.{name}", reason=REMOVED[name].reason)


def learned_config(values: Mapping[str, Any]) -> RL2Config:
    """Return RL²'s settings from JSON or TOML values, with defaults for missing ones."""
    return config_from_json(RL2Config, values)
