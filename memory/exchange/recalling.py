"""Recall from an archive of trials, without a store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from envs.spaces import SpacePair
from memory.connection import from_json
from memory.errors import ArchiveError
from memory.exchange.archive import ArchivedTrial
from memory.exchange.checking import spaces_of, trial_fault
from memory.exchange.importing import reading_archive
from memory.files.episode_codec import unpack_episode
from memory.records import ContextKey, TrialRecord
from memory.retrieval.key_upkeep import recall_among
from memory.retrieval.recall import TaskRecall


def recall_of_archive(path: Path) -> list[TaskRecall]:
    """Return the trials of an archive for recall, one object for each space pair.

    Args:
        path: a file that `learnd memory export` wrote, or a folder of Minari data sets.

    Raises:
        ArchiveError: the file cannot be read or is damaged, or a trial does not fit the spaces of its family.
    """
    with reading_archive(path) as (header, archived):
        spaces = {family.name: spaces_of(path, family) for family in header.families}
        trials: dict[SpacePair, list[ArchivedTrial]] = defaultdict(list)
        for trial in archived:
            if fault := trial_fault(trial, spaces):
                raise ArchiveError(operation="reading", subject=str(path), found=fault, hint="Export it again.")
            trials[spaces[trial.family]].append(trial)
    return [_recall(pair, of_pair) for pair, of_pair in trials.items()]


def _recall(spaces: SpacePair, archived: Sequence[ArchivedTrial]) -> TaskRecall:
    """Return the trials of one space pair, of which the episodes are kept compressed."""
    return recall_among(spaces, [trial.family for trial in archived], lambda number: _record(archived[number]))


def _record(trial: ArchivedTrial) -> TrialRecord:
    return TrialRecord(
        task=from_json(trial.task),
        episodes=tuple(unpack_episode(frame) for frame in trial.frames),
        context=None if trial.digest is None else ContextKey(digest=trial.digest),
    )
