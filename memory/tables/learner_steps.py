"""Learner steps: each commits its practice, trials, curve points and checkpoint in one transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from memory.connection import StoreConnection, to_json
from memory.errors import FamilyNotFoundError
from memory.files.parameters import ParameterFolder
from memory.records import Checkpoint, Family, FamilyTotals, LearnerStep
from memory.tables.checkpoints import CheckpointTable
from memory.tables.curves import CurveTable
from memory.tables.families import FamilyTable
from memory.tables.rehearsal_slots import set_teacher
from memory.tables.trials import TrialTable, pack_trial

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LearnerStepTable:
    """The learner steps of a store."""

    def __init__(
        self,
        connection: StoreConnection,
        parameters: ParameterFolder,
        *,
        families: FamilyTable,
        trials: TrialTable,
        curves: CurveTable,
        checkpoints: CheckpointTable,
    ) -> None:
        self._connection = connection
        self._parameters = parameters
        self._families = families
        self._trials = trials
        self._curves = curves
        self._checkpoints = checkpoints

    def commit(
        self,
        step: LearnerStep,
        checkpoint_tensors: Mapping[str, NDArray[Any]],
        checkpoint_meta: dict[str, Any],
    ) -> Checkpoint:
        """Commit a slice of practice. After this returns, the slice survives kill -9 and a power cut.

        The checkpoint's file is written first. Then one transaction records the step, its trials, its curve points,
        the family's totals and the reference to the file. A process that is killed in between leaves a file without a
        reference, which prune removes.

        Args:
            step: results of the slice.
            checkpoint_tensors: the learner's parameters and optimiser state after the slice.
            checkpoint_meta: the rest of the state that the learner needs to continue identically, as JSON values.

        Returns:
            The checkpoint, with the number of learner steps committed so far.

        Raises:
            FamilyNotFoundError: the family was removed in the meantime; nothing was recorded. Another family that has
                its name now does not count.
            StoreFullError: the disk is full; nothing was recorded.
            StoreBusyError: the write lock was not acquired in time; nothing was recorded.
            ValueError: a trial contains an array that episodic memory cannot store; nothing was recorded.
        """
        from safetensors.numpy import save

        packed = [pack_trial(trial) for trial in step.trials]
        meta = to_json(checkpoint_meta)
        teacher = None if step.teacher is None else save(dict(step.teacher))
        with self._parameters.kept_still():
            file = self._parameters.write(checkpoint_tensors)
            with self._connection.transaction("committing a learner step"):
                at = self._connection.clock()
                family = self._families.get(step.family)
                if step.family_id not in {None, family.id}:
                    raise FamilyNotFoundError(
                        operation="committing a learner step",
                        subject=step.family,
                        found="the practised family was removed, and another family has its name now.",
                    )
                number = self._add_step(family, step)
                self._trials.add(family.id, packed, learner_step=number, at=at)
                if teacher is not None:
                    set_teacher(self._connection, family_id=family.id, learner_step=number, parameters=teacher)
                self._curves.add(self._add_to_totals(family, step.practised), step.points, at=at)
                self._add_points_of_others(step, at=at)
                superseded = self._checkpoints.set_live(file, meta, learner_steps=number, at=at)
        self._checkpoints.remove_files(superseded)
        return Checkpoint(file=file, meta=checkpoint_meta, learner_steps=number, created_at=at)

    def _add_points_of_others(self, step: LearnerStep, *, at: float) -> None:
        for name, points in step.points_of_others.items():
            with contextlib.suppress(FamilyNotFoundError):
                self._curves.add(self._families.get(name), points, at=at)

    def _add_step(self, family: Family, step: LearnerStep) -> int:
        """Record the step; return its number. Learner steps are numbered from 1 over the whole store, without gaps."""
        return self._connection.insert(
            "INSERT INTO learner_steps (family_id, env_steps, episodes, trials, meta_updates, started_at,"
            " finished_at, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                family.id,
                step.practised.env_steps,
                step.practised.episodes,
                step.practised.trials,
                step.practised.meta_updates,
                step.started_at,
                step.finished_at,
                to_json(step.detail),
            ),
        )

    def _add_to_totals(self, family: Family, practised: FamilyTotals) -> Family:
        """Add amounts to the family's totals; return the family with the new totals."""
        totals = FamilyTotals(
            env_steps=family.totals.env_steps + practised.env_steps,
            episodes=family.totals.episodes + practised.episodes,
            trials=family.totals.trials + practised.trials,
            meta_updates=family.totals.meta_updates + practised.meta_updates,
        )
        self._connection.execute(
            "UPDATE families SET env_steps = ?, episodes = ?, trials = ?, meta_updates = ? WHERE id = ?",
            (totals.env_steps, totals.episodes, totals.trials, totals.meta_updates, family.id),
        )
        return replace(family, totals=totals)
