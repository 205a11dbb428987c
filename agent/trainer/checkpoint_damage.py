"""Checkpoints that cannot be used: their errors, and records in the store that health and metrics show."""

from __future__ import annotations

import structlog

from memory.errors import CorruptFileError
from memory.records import CHECKPOINT_FALLBACKS, Problem, ProblemKind
from memory.repair_hint import REPAIR_COMMAND, STOP_AND_REPAIR
from memory.store import Store

log = structlog.get_logger(__name__)

FALLBACK_HINT = (
    f"Check the disk and stop learnd. To accept the older parameters, run `{REPAIR_COMMAND}`, which clears this "
    "report. To go back to the newest backup instead, run `learnd memory restore newest`."
)

LOSS_HINT = (
    f"Check the disk. {STOP_AND_REPAIR} If no backup has the checkpoint, it says what `--yes` puts in its place and "
    "what is lost. To go back to the newest backup instead, run `learnd memory restore newest`."
)


class IncompatibleCheckpointError(Exception):
    """The settings describe a policy of another shape than the one in the checkpoint."""


class CheckpointLostError(CorruptFileError):
    """No checkpoint is intact, so continuing would mean random parameters with the totals of the lost ones."""


def note_fallback(store: Store, *, restored: int, committed: int) -> None:
    """Record that the trainer continues from an older checkpoint than the one of the last commit.

    Args:
        store: a store opened for writing.
        restored: learner steps of the checkpoint that was restored.
        committed: learner steps that have been committed.
    """
    found = f"the checkpoint of learner step {committed} is damaged; continuing from the checkpoint of step {restored}"
    problem = Problem(
        kind=ProblemKind.CHECKPOINT_FALLBACK,
        key=str(committed),
        subject="live checkpoint",
        found=found,
        hint=FALLBACK_HINT,
    )
    if store.damage.note(problem):
        store.counters.add(CHECKPOINT_FALLBACKS, {})
    log.warning("live checkpoint is damaged; an older one was restored", learner_steps=restored, committed=committed)


def record_checkpoint_loss(store: Store, *, committed: int) -> CheckpointLostError:
    """Record that no checkpoint is intact, and return the error that stops the trainer."""
    found = f"{committed} learner steps were committed and no checkpoint of them is intact; nothing is learned"
    store.damage.note(
        Problem(kind=ProblemKind.CHECKPOINT_LOST, key="", subject="checkpoints", found=found, hint=LOSS_HINT)
    )
    return CheckpointLostError(
        operation="restoring the learner", subject=str(store.folder.path), found=f"{found}.", hint=LOSS_HINT
    )
