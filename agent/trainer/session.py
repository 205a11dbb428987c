"""The state that the trainer's jobs share: the store, the learner with its restored state, and open tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import structlog
import torch

from agent.config.settings import Settings
from agent.learners.config_json import config_from_json, config_to_json
from agent.learners.family_parts import without_parts
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.removed_settings import REMOVED, RemovedSettingError, check_stored, without_constants
from agent.learners.rl2.training import EagerTraining, FamilyTraining, RecordedTraining, can_be_recorded
from agent.learners.state import as_arrays, as_tensors
from agent.trainer.checkpoint_damage import checkpoint_lost, note_fallback
from agent.trainer.families import family_kind, is_tensor_native, learner_name, spaces_of
from agent.trainer.heartbeat import Heartbeat
from agent.trainer.practice.few_shot_learners import FewShotLearners
from envs.family import FamilySpec
from envs.kinds import FamilyKind
from envs.limits import WorkerLimits
from envs.registry import open_tasks
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch
from memory.errors import CorruptFileError
from memory.records import BEGIN_FROM_VERSION, Checkpoint, Family, FamilyState, Initialization, LearnerStep
from memory.store import Store

log = structlog.get_logger(__name__)


class IncompatibleCheckpointError(Exception):
    """The settings describe a policy of another shape than the one in the checkpoint."""


class TaskOpener(Protocol):
    """A function that opens a family's tasks; tests pass fakes."""

    def __call__(
        self,
        spec: FamilySpec,
        spaces: SpacePair,
        *,
        num_trials: int,
        device: torch.device,
        limits: WorkerLimits,
        on_wait: Callable[[], None],
    ) -> TaskBatch:
        """Open ``num_trials`` tasks as one batch; call ``on_wait`` repeatedly while waiting for a worker."""
        ...


class TrainerSession:
    """The trainer's state between two commits.

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
        self._opener = opener
        self._open_tasks: dict[int, TaskBatch] = {}
        self._trainings: dict[int, FamilyTraining] = {}
        self.next_task: dict[str, int] = {}
        self.few_shot = FewShotLearners(
            seed=settings.learner.seed,
            planned_updates=settings.few_shot.planned_updates,
            device=device,
            heartbeat=heartbeat,
        )
        self.learner_steps = 0
        self.learner = self._restored_learner()

    # The state and its commits

    def _restored_learner(self) -> RL2Learner:
        """Return the learner of the last commit.

        If its checkpoint is damaged, record the damage and return the learner of an older checkpoint.

        Raises:
            CheckpointLostError: learner steps were committed, and no checkpoint is intact.
        """
        num_steps = self.store.checkpoints.num_learner_steps()
        for checkpoint in self.store.checkpoints.restore_candidates():
            try:
                learner = self._learner_from(checkpoint)
            except CorruptFileError:
                log.exception("checkpoint is corrupt, trying an older one", sha256=checkpoint.file.sha256)
                continue
            if checkpoint.learner_steps < num_steps:
                note_fallback(self.store, restored=checkpoint.learner_steps, committed=num_steps)
            self.learner_steps = checkpoint.learner_steps
            return learner
        if num_steps > 0:
            raise checkpoint_lost(self.store, committed=num_steps)
        self.next_task = {}
        self.few_shot.restore({}, {})
        log.info("no checkpoint to restore, starting with new parameters", seed=self.settings.learner.seed)
        return RL2Learner(self.config, device=self.device, seed=self.settings.learner.seed)

    def _begun_from(self, version: int) -> RL2Learner:
        """Return a learner with a published version's parameters and a new optimiser.

        A user chooses this (``learnd doctor --repair --yes``) when every checkpoint is lost.
        """
        initialization = self.store.initializations.get(version)
        _check_removed(initialization.provenance.get("config", {}))
        learner = RL2Learner(self.config, device=self.device, seed=self.settings.learner.seed)
        self.next_task = {}
        for family in self.store.families.all():
            if family.spaces is not None and family.totals.meta_updates > 0:
                if family_kind(family) is not FamilyKind.FEW_SHOT:
                    learner.add_family(learner_name(family), spaces_of(family))
                self.next_task[learner_name(family)] = family.totals.trials
        tensors = as_tensors(self.store.checkpoints.load_parameters(initialization.file))
        learner.load_initialization(without_parts(tensors))
        self.few_shot.restore(tensors, published_meta(initialization))
        log.warning("every checkpoint was lost; continuing from the published version", version=version)
        return learner

    def _learner_from(self, checkpoint: Checkpoint) -> RL2Learner:
        if (version := checkpoint.meta.get(BEGIN_FROM_VERSION)) is not None:
            return self._begun_from(version)
        _check_removed(checkpoint.meta.get("config", {}))
        tensors = as_tensors(self.store.checkpoints.load_parameters(checkpoint.file))
        try:
            learner = RL2Learner.from_tensors(self.config, tensors, checkpoint.meta["learner"], device=self.device)
            self.few_shot.restore(tensors, checkpoint.meta.get("few_shot", {}))
        except (RuntimeError, KeyError) as error:
            raise IncompatibleCheckpointError(
                f"restoring the learner: the checkpoint does not fit the settings; changed since it was written: "
                f"{self._changed_settings(checkpoint) or 'none'}. Set them back under [rl2], or use a new data folder."
            ) from error
        self.next_task = dict(checkpoint.meta["next_task"])
        log.info("restored", learner_steps=checkpoint.learner_steps, sha256=checkpoint.file.sha256[:12])
        return learner

    def _changed_settings(self, checkpoint: Checkpoint) -> str:
        learned, present = without_constants(checkpoint.meta["config"]), config_to_json(self.config)
        changed = sorted(name for name in learned.keys() | present.keys() if learned.get(name) != present.get(name))
        return ", ".join(f"{name} {learned.get(name)} → {present.get(name)}" for name in changed)

    def restore_last_commit(self) -> None:
        """Discard everything since the last commit."""
        for family_id in list(self._trainings):
            self._close_training(family_id)
        self.learner = self._restored_learner()

    def commit(self, step: LearnerStep) -> Checkpoint:
        """Commit a learner step and the whole resulting state in one transaction."""
        meta = {
            "learner": self.learner.to_meta(),
            "few_shot": self.few_shot.to_meta(),
            "config": config_to_json(self.config),
            "next_task": self.next_task,
        }
        tensors = self.learner.to_tensors() | self.few_shot.to_tensors()
        return self.store.learner_steps.commit(step, as_arrays(tensors), meta)

    # Families

    def tasks_of(self, family: Family) -> TaskBatch:
        """Return the family's tasks. They are opened at the first call and kept open."""
        if family.id not in self._open_tasks:
            self._open_tasks[family.id] = self._open(family)
        return self._open_tasks[family.id]

    def training_of(self, family: Family) -> FamilyTraining:
        """Return the family's training by the present learner. It is begun at the first call and kept.

        Recorded training opens its own tasks, because evaluation begins other tasks in those of :meth:`tasks_of`.
        """
        if family.id not in self._trainings:
            name, tasks = learner_name(family), self.tasks_of(family)
            self.learner.add_family(name, spaces_of(family))
            self._trainings[family.id] = (
                RecordedTraining(self.learner, name, self._open(family))
                if can_be_recorded(tasks)
                else EagerTraining(self.learner, name, tasks)
            )
        return self._trainings[family.id]

    def _close_training(self, family_id: int) -> None:
        """Close a family's training. Tasks that evaluation also uses stay open."""
        training = self._trainings.pop(family_id, None)
        if training is not None and training.tasks is not self._open_tasks.get(family_id):
            training.close()

    def _open(self, family: Family) -> TaskBatch:
        return self._opener(
            family.require_spec(),
            spaces_of(family),
            num_trials=self.config.num_trials_for(is_tensor_native=is_tensor_native(family)),
            device=self.device,
            limits=self.settings.workers.limits(),
            on_wait=self.heartbeat.beat,
        )

    def close_tasks(self, family_id: int) -> None:
        """Close a family's tasks and training, for example after a fault."""
        self._close_training(family_id)
        self.few_shot.close_tasks(family_id)
        tasks = self._open_tasks.pop(family_id, None)
        if tasks is not None:
            tasks.close()

    def close_unwanted_tasks(self) -> None:
        """Close the tasks of families that are no longer active, and drop the few-shot learners of removed families."""
        families = self.store.families.all()
        wanted = {family.id for family in families if family.state is FamilyState.ACTIVE}
        for family_id in (set(self._open_tasks) | self.few_shot.open_families) - wanted:
            self.close_tasks(family_id)
        self.few_shot.keep_only({learner_name(family) for family in families})

    def close(self) -> None:
        """Close all workers in parallel, because each may need a second to close its environments."""
        for family_id in list(self._trainings):
            self._close_training(family_id)
        open_tasks, self._open_tasks = self._open_tasks, {}
        with ThreadPoolExecutor(max_workers=max(1, len(open_tasks))) as pool:
            closings = [pool.submit(tasks.close) for tasks in open_tasks.values()]
        for error in filter(None, (closing.exception() for closing in closings)):
            log.error("tasks of a family could not be closed", exc_info=error)


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


def published_meta(initialization: Initialization) -> dict[str, Any]:
    """Return ``to_meta()`` of a version's few-shot learners, by the families' names within the version."""
    described = initialization.provenance.get("few_shot", {})
    return {values["name"]: values["meta"] for values in described.values()}
