"""Trials as Minari data sets: one data set per family, which ``minari.load_dataset`` opens.

    FOLDER/learnd/FAMILY-v0/data/    the data set "learnd/FAMILY-v0" for MINARI_DATASETS_PATH=FOLDER

A data set has the episodes in the order of their trials. The metadata of an episode has its trial, task and digest as
JSON, and the checksum of its arrays; that of the data set has the family. Actions are in the form that the policy
returned: indices from 0, or numbers of which [-1, 1] spans the bounds. Action distributions are not exported.

The package minari is an extra of learnd (``pip install "learnd[minari]"``), imported only here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair
from memory.errors import ArchiveError
from memory.exchange.archive import ArchivedFamily, ArchivedTrial, ArchiveHeader
from memory.files.episode_codec import pack_episode, unpack_episode
from memory.records import EpisodeRecord

NAMESPACE = "learnd"
_OWN = "learnd"
"""Key of learnd's own values in the metadata of a data set."""

_EPISODES_AT_ONCE = 500


def require_minari() -> None:
    """Check that minari is installed.

    Raises:
        ArchiveError: it is not.
    """
    try:
        import minari  # noqa: F401
    except ImportError as error:
        raise ArchiveError(
            operation="using the format",
            subject="minari",
            found="the package minari is not installed.",
            hint='Install it: pip install "learnd[minari]".',
        ) from error


def data_folder(folder: Path, family: str) -> Path:
    """Return the folder of a family's data set."""
    return folder / NAMESPACE / f"{family}-v0" / "data"


def write_minari(folder: Path, header: ArchiveHeader, trials: Iterable[ArchivedTrial]) -> None:
    """Write one data set per family that has trials into a folder that has no data set yet.

    Args:
        folder: the folder, which Minari calls the root of data sets.
        header: the families.
        trials: their trials, one family after another.

    Raises:
        ArchiveError: there are no trials.
    """
    families = {family.name: family for family in header.families}
    for name, of_family in groupby(trials, key=lambda trial: trial.family):
        _write_family(folder, header, families[name], of_family)
    if not any(folder.iterdir()):
        found = "there are no trials to export, and Minari has no empty data sets."
        raise ArchiveError(operation="exporting", subject=", ".join(families) or "trials", found=found)


def read_header(folder: Path) -> ArchiveHeader:
    """Return the header of the data sets in a folder.

    Raises:
        ArchiveError: there is no data set of learnd in the folder, or one cannot be read.
    """
    found = [_metadata(path) for path in sorted((folder / NAMESPACE).glob("*-v0/data"))]
    if not found:
        hint = "`learnd memory export FOLDER --format minari` writes one."
        raise _error(folder, "it has no data set of learnd.", hint)
    try:
        families = tuple(ArchivedFamily.of_json(values["family"]) for values in found)
        return ArchiveHeader(store=str(found[0]["store"]), written_at=float(found[0]["written_at"]), families=families)
    except (KeyError, TypeError, ValueError) as error:
        raise _error(folder, f"a data set was not written by learnd ({error}).", "") from error


def read_trials(folder: Path, header: ArchiveHeader) -> Iterator[ArchivedTrial]:
    """Yield the trials of all data sets of a folder.

    Raises:
        ArchiveError: a data set is damaged or incomplete.
    """
    from minari import MinariDataset

    for family in header.families:
        num_trials = 0
        try:
            data = MinariDataset(data_folder(folder, family.name))
            for trial in _trials(folder, family, data):
                num_trials += 1
                yield trial
        except (OSError, LookupError, TypeError, ValueError, AssertionError, RuntimeError) as error:
            found = f"the data set of {family.name!r} cannot be read: {error}."
            raise _error(folder, found, "Export it again.") from error
        if num_trials != family.num_trials:
            found = f"the data set of {family.name!r} has {num_trials} of {family.num_trials} trials."
            raise _error(folder, found, "Export it again.")


def _write_family(folder: Path, header: ArchiveHeader, family: ArchivedFamily, trials: Iterable[ArchivedTrial]) -> None:
    from minari import __version__
    from minari.dataset.minari_storage import MinariStorage

    spaces = SpacePair.from_json(family.spaces)
    path = data_folder(folder, family.name)
    path.mkdir(parents=True)
    storage = MinariStorage.new(
        path,
        observation_space=_observation_space(spaces.observation),
        action_space=_action_space(spaces.action),
        jpeg_encoding=False,
    )
    num_trials = 0
    batch = list[tuple[Any, dict[str, Any]]]()
    for trial in trials:
        for part in _episodes(trial, num_trials, spaces):
            batch.append(part)
            if len(batch) == _EPISODES_AT_ONCE:
                _append(storage, batch)
                batch = []
        num_trials += 1
    _append(storage, batch)
    # Prune may remove trials while the others are written, so their number is known at the end.
    written = vars(replace(family, num_trials=num_trials))
    values = {"store": header.store, "written_at": header.written_at, "family": written}
    storage.update_metadata(
        {
            "dataset_id": f"{NAMESPACE}/{family.name}-v0",
            "minari_version": __version__,
            "algorithm_name": "learnd",
            _OWN: json.dumps(values),
        }
    )


def _append(storage: Any, batch: list[tuple[Any, dict[str, Any]]]) -> None:
    if batch:
        start = storage.total_episodes
        storage.update_episodes([buffer for buffer, _ in batch])
        storage.update_episode_metadata(
            [metadata for _, metadata in batch], episode_indices=range(start, start + len(batch))
        )


def _episodes(trial: ArchivedTrial, number: int, spaces: SpacePair) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the episodes of a trial as Minari's buffers, with their metadata."""
    from minari.data_collector import EpisodeBuffer

    for frame in trial.frames:
        episode = unpack_episode(frame)
        num_steps = len(episode.rewards)
        last = np.arange(num_steps) == num_steps - 1
        is_index = spaces.observation.kind is ObservationKind.DISCRETE
        observations = episode.observations[:, 0].astype(np.int64) if is_index else episode.observations
        buffer = EpisodeBuffer(
            observations=observations,
            actions=episode.actions,
            rewards=episode.rewards,
            terminations=last & episode.is_terminated,
            truncations=last & (not episode.is_terminated),
        )
        values = {
            "trial": number,
            "num_episodes": len(trial.frames),
            "task": trial.task,
            "digest": trial.digest and trial.digest.hex(),
            "learner_step": trial.learner_step,
            "recorded_at": trial.recorded_at,
            "checksum": _checksum(episode),
        }
        yield buffer, {_OWN: json.dumps(values)}


def _trials(folder: Path, family: ArchivedFamily, data: Any) -> Iterator[ArchivedTrial]:
    is_index = SpacePair.from_json(family.spaces).observation.kind is ObservationKind.DISCRETE
    indices = range(data.total_episodes)
    described = (json.loads(metadata[_OWN]) for metadata in data.storage.get_episode_metadata(indices))
    parts = zip(described, data.iterate_episodes(indices), strict=True)
    for _, of_trial in groupby(parts, key=lambda part: part[0]["trial"]):
        episodes = list(of_trial)
        values = episodes[0][0]
        records = [_record(episode, is_index=is_index) for _, episode in episodes]
        if [_checksum(record) for record in records] != [part["checksum"] for part, _ in episodes]:
            raise _error(folder, f"an episode of {family.name!r} does not match its checksum.", "Export it again.")
        if len(records) != values["num_episodes"]:
            raise _error(folder, f"a trial of {family.name!r} is incomplete.", "Export it again.")
        yield ArchivedTrial.of_json({**values, "family": family.name}, [pack_episode(record) for record in records])


def _record(episode: Any, *, is_index: bool) -> EpisodeRecord:
    observations = np.asarray(episode.observations)
    return EpisodeRecord(
        observations=observations.astype(np.float32)[:, None] if is_index else observations,
        actions=np.asarray(episode.actions),
        rewards=np.asarray(episode.rewards),
        is_terminated=bool(episode.terminations[-1]),
    )


def _checksum(episode: EpisodeRecord) -> str:
    """Return the digest of an episode's arrays, which does not depend on their compression."""
    digest = hashlib.blake2b(bytes([episode.is_terminated]), digest_size=16)
    for array in (episode.observations, episode.actions, episode.rewards):
        digest.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _metadata(path: Path) -> dict[str, Any]:
    from minari.dataset.minari_storage import MinariStorage

    try:
        values: dict[str, Any] = json.loads(MinariStorage.read_raw_metadata(path)[_OWN])
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise _error(path, f"it was not written by learnd, or is damaged ({error}).", "") from error
    return values


def _observation_space(observation: ObservationSpec) -> gymnasium.Space[Any]:
    if observation.kind is ObservationKind.DISCRETE:
        return gymnasium.spaces.Discrete(observation.size)
    if observation.kind is ObservationKind.IMAGE:
        return gymnasium.spaces.Box(0, 255, (observation.width,), np.uint8)
    return gymnasium.spaces.Box(-np.inf, np.inf, (observation.size,), np.float32)


def _action_space(action: ActionSpec) -> gymnasium.Space[Any]:
    if action.has_numbers:
        return gymnasium.spaces.Box(-np.inf, np.inf, (action.width,), np.float32)
    if action.kind is ActionKind.DISCRETE:
        return gymnasium.spaces.Discrete(action.choices[0])
    return gymnasium.spaces.MultiDiscrete(np.array(action.choices))


def _error(path: Path, found: str, hint: str) -> ArchiveError:
    return ArchiveError(operation="reading", subject=str(path), found=found, hint=hint)
