"""The check of the parts of an archive: import and recall rely on their types, shapes and ranges.

Checksums show that a part is as it was written, not that learnd wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from envs.spaces import ObservationKind, ObservationSpec, SpacePair
from memory.connection import from_json
from memory.errors import ArchiveError, CorruptFileError
from memory.exchange.archive import ArchivedFamily, ArchivedTrial
from memory.files.episode_codec import unpack_episode
from memory.records import EpisodeRecord

LARGEST_INDEX = 1 << 62


def spaces_of(path: Path, family: ArchivedFamily) -> SpacePair:
    """Return the spaces of a family of an archive.

    Raises:
        ArchiveError: they cannot be read.
    """
    try:
        return SpacePair.from_json(family.spaces)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        found = f"the spaces of the family {family.name!r} cannot be read ({error})."
        raise ArchiveError(operation="reading", subject=str(path), found=found) from error


def trial_fault(trial: ArchivedTrial, spaces: Mapping[str, SpacePair]) -> str:
    """Return why a trial cannot be stored, recalled or rehearsed; an empty text if it can.

    Args:
        trial: the trial.
        spaces: the spaces of the families of the archive.
    """
    pair = spaces.get(trial.family)
    if pair is None:
        return f"a trial is of the family {trial.family!r}, which its header does not have."
    try:
        task = from_json(trial.task)
        episodes = [unpack_episode(frame) for frame in trial.frames]
    except (CorruptFileError, ValueError) as error:
        return f"a trial of {trial.family!r} cannot be read: {error}."
    if not _is_task(task):
        return f"the task of a trial of {trial.family!r} cannot be read."
    if not episodes or not all(_fits(episode, pair) for episode in episodes):
        return f"a trial of {trial.family!r} does not fit the spaces of its family."
    return ""


def _is_task(task: Any) -> bool:
    if not isinstance(task, dict):
        return False
    index = task.get("index", 0)
    return isinstance(index, int) and 0 <= index < LARGEST_INDEX


def _fits(episode: EpisodeRecord, spaces: SpacePair) -> bool:
    rewards, observations = episode.rewards, episode.observations
    if rewards.ndim != 1 or len(rewards) == 0 or rewards.dtype.kind != "f" or not np.isfinite(rewards).all():
        return False
    if observations.shape != (len(rewards) + 1, spaces.observation.width):
        return False
    if (observations.dtype.name == "uint8") != (spaces.observation.dtype == "uint8"):
        return False
    if not np.isfinite(_numbers(observations, spaces.observation)).all():
        return False
    if spaces.observation.kind is ObservationKind.DISCRETE and not _are_indices(observations, spaces.observation.size):
        return False
    return _has_fitting_actions(episode, spaces) and _has_fitting_decisions(episode)


def _numbers(observations: np.ndarray[Any, Any], spec: ObservationSpec) -> np.ndarray[Any, Any]:
    """Return the numbers of observations; of those with images the bytes before the images, which hold float32."""
    if not spec.images:
        return observations
    return np.ascontiguousarray(observations[:, : spec.numbers_bytes]).view(np.float32)


def _has_fitting_actions(episode: EpisodeRecord, spaces: SpacePair) -> bool:
    num_steps, actions = len(episode.rewards), episode.actions
    if actions.ndim not in {1, 2} or actions.reshape(len(actions), -1).shape != (num_steps, spaces.action.width):
        return False
    if actions.dtype.kind not in ("f" if spaces.action.has_numbers else "iu") or not np.isfinite(actions).all():
        return False
    chosen = actions.reshape(num_steps, -1)[:, : len(spaces.action.choices)]
    return _are_indices(chosen, np.array(spaces.action.choices))


def _has_fitting_decisions(episode: EpisodeRecord) -> bool:
    decisions = episode.decisions
    return decisions is None or (decisions.ndim == 2 and len(decisions) == len(episode.rewards))


def _are_indices(values: np.ndarray[Any, Any], count: Any) -> bool:
    return bool(((values >= 0) & (values < count) & (values % 1 == 0)).all())
