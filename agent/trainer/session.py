"""What the learner's jobs share: the store, the learner with its restored state, and the families' open tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import structlog
import torch

from agent.config.settings import ConsolidationSettings, EvaluationSettings, Settings
from agent.learners.config_json import config_from_json, config_to_json
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.training import EagerTraining, FamilyTraining, RecordedTraining, can_be_recorded
from agent.learners.state import as_arrays, as_tensors
from agent.trainer.checkpoint_damage import checkpoint_lost, note_fallback
from agent.trainer.heartbeat import Heartbeat
from agent.trainer.practice.few_shot_learners import FewShotLearners, is_few_shot, without_parts
from envs.family import FamilySource, FamilySpec
from envs.limits import WorkerLimits
from envs.registry import open_tasks
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch
from memory.errors import CorruptFileError
from memory.records import BEGIN_FROM_VERSION, Checkpoint, Family, FamilyState, Initialization, LearnerStep
from memory.store import Store

log = structlog.get_logger(__name__)


class IncompatibleCheckpointError(Exception):
    """The settings ask for a policy of another shape than the one that was learned."""


class TaskOpener(Protocol):
    """How a family's tasks are opened; tests put fakes here."""

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
        """Open ``num_trials`` tasks side by side; ``on_wait`` is called while a worker is waited for."""
        ...


class TrainerSession:
    """The learner's state between two commits.

    Args:
        store: where everything is committed.
        settings: the daemon's settings.
        device: the device that rolls out and updates.
        heartbeat: beaten as work advances.
        opener: opens a family's tasks.
        clock: wall-clock time in seconds since the epoch.
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
        """Return the learner of the last commit; of an older one, with a sign, where that is damaged.

        Raises:
            CheckpointLostError: something was learned, and no checkpoint is intact.
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
        log.info("no checkpoint to restore, starting anew", seed=self.settings.learner.seed)
        return RL2Learner(self.config, device=self.device, seed=self.settings.learner.seed)

    def _begun_from(self, version: int) -> RL2Learner:
        """Go on from a published version, as a person chose where every checkpoint was lost; the optimiser is new."""
        initialization = self.store.initializations.get(version)
        learner = RL2Learner(self.config, device=self.device, seed=self.settings.learner.seed)
        self.next_task = {}
        for family in self.store.families.all():
            if family.spaces is not None and family.totals.meta_updates > 0:
                if not is_few_shot(family):
                    learner.add_family(learner_name(family), spaces_of(family))
                self.next_task[learner_name(family)] = family.totals.trials
        tensors = as_tensors(self.store.checkpoints.load_parameters(initialization.file))
        learner.load_initialization(without_parts(tensors))
        self.few_shot.restore(tensors, published_meta(initialization))
        log.warning("every checkpoint was lost; going on from the published version", version=version)
        return learner

    def _learner_from(self, checkpoint: Checkpoint) -> RL2Learner:
        if (version := checkpoint.meta.get(BEGIN_FROM_VERSION)) is not None:
            return self._begun_from(version)
        tensors = as_tensors(self.store.checkpoints.load_parameters(checkpoint.file))
        try:
            learner = RL2Learner.from_tensors(self.config, tensors, checkpoint.meta["learner"], device=self.device)
            self.few_shot.restore(tensors, checkpoint.meta.get("few_shot", {}))
        except (RuntimeError, KeyError) as error:
            raise IncompatibleCheckpointError(
                f"restoring the learner: what was learned does not fit the settings; changed since: "
                f"{self._changed_settings(checkpoint) or 'none'}. Set them back under [rl2], or take a new data folder."
            ) from error
        self.next_task = dict(checkpoint.meta["next_task"])
        log.info("restored", learner_steps=checkpoint.learner_steps, sha256=checkpoint.file.sha256[:12])
        return learner

    def _changed_settings(self, checkpoint: Checkpoint) -> str:
        learned, present = checkpoint.meta["config"], config_to_json(self.config)
        changed = sorted(name for name in learned.keys() | present.keys() if learned.get(name) != present.get(name))
        return ", ".join(f"{name} {learned.get(name)} → {present.get(name)}" for name in changed)

    def restore_last_commit(self) -> None:
        """Forget everything since the last commit."""
        for family_id in list(self._trainings):
            self._close_training(family_id)
        self.learner = self._restored_learner()

    def commit(self, step: LearnerStep) -> Checkpoint:
        """Commit a learner step with the whole state that it led to, in one transaction."""
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
        """The family's tasks, opened when they are first wanted and kept open."""
        if family.id not in self._open_tasks:
            self._open_tasks[family.id] = self._open(family)
        return self._open_tasks[family.id]

    def training_of(self, family: Family) -> FamilyTraining:
        """The family's training by the learner as it stands, begun when it is first wanted and kept.

        Recorded training has tasks of its own, for evaluation begins others among :meth:`tasks_of`.
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
        """End what was recorded; tasks that evaluation shares stay open."""
        training = self._trainings.pop(family_id, None)
        if training is not None and training.tasks is not self._open_tasks.get(family_id):
            training.close()

    def _open(self, family: Family) -> TaskBatch:
        return self._opener(
            FamilySpec.from_json(family.spec),
            spaces_of(family),
            num_trials=self.config.num_trials_for(is_tensor_native=is_tensor_native(family)),
            device=self.device,
            limits=self.settings.workers.limits(),
            on_wait=self.heartbeat.beat,
        )

    def close_tasks(self, family_id: int) -> None:
        """Close a family's tasks, as after a fault."""
        self._close_training(family_id)
        self.few_shot.close_tasks(family_id)
        tasks = self._open_tasks.pop(family_id, None)
        if tasks is not None:
            tasks.close()

    def close_unwanted_tasks(self) -> None:
        """Close the tasks of families that are no longer practised; forget few-shot learners of removed ones."""
        families = self.store.families.all()
        wanted = {family.id for family in families if family.state is FamilyState.ACTIVE}
        for family_id in (set(self._open_tasks) | self.few_shot.open_families) - wanted:
            self.close_tasks(family_id)
        self.few_shot.keep_only({learner_name(family) for family in families})

    def close(self) -> None:
        """Close every worker, all at the same time: each may take a second to close its environments."""
        for family_id in list(self._trainings):
            self._close_training(family_id)
        open_tasks, self._open_tasks = self._open_tasks, {}
        with ThreadPoolExecutor(max_workers=max(1, len(open_tasks))) as pool:
            closings = [pool.submit(tasks.close) for tasks in open_tasks.values()]
        for error in filter(None, (closing.exception() for closing in closings)):
            log.error("a family's tasks could not be closed", exc_info=error)


def learned_config(values: Mapping[str, Any]) -> RL2Config:
    """RL²'s settings from JSON or TOML values, defaults for the rest."""
    return config_from_json(RL2Config, values)


def held_out_trials(family: Family, section: EvaluationSettings | ConsolidationSettings) -> int:
    """How many held-out trials (few-shot: tasks) a section of the settings asks for, for this family's source."""
    if is_few_shot(family):
        return section.trials_few_shot
    return section.trials_tensor if is_tensor_native(family) else section.trials_gymnasium


def is_tensor_native(family: Family) -> bool:
    """Whether the family's tasks are stepped as tensors, and not by a worker."""
    return FamilySource(family.spec["source"]) is FamilySource.TENSOR


def published_meta(initialization: Initialization) -> dict[str, Any]:
    """What the tensors of a version's few-shot families do not tell, by the families' names within it."""
    described = initialization.provenance.get("few_shot", {})
    return {values["name"]: values["meta"] for values in described.values()}


def learner_name(family: Family) -> str:
    """The family's name within the learner: never the same for two families, even of one name over time."""
    return f"{family.name}@{family.id}"


def spaces_of(family: Family) -> SpacePair:
    """The spaces of an admitted family.

    Raises:
        ValueError: the family is not admitted yet.
    """
    if family.spaces is None:
        raise ValueError(f"family {family.name!r} has not been admitted, so its spaces are not known")
    return SpacePair.from_json(family.spaces)
