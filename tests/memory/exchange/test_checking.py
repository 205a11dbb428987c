"""A part of an archive whose checksum is right is still refused, by import and by recall, if it cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from envs.spaces import ActionKind, ActionSpec, ImageShape, ObservationKind, ObservationSpec, SpacePair
from memory.errors import ArchiveError
from memory.exchange.archive import ArchivedFamily, ArchiveHeader, ArchiveWriter
from memory.exchange.importing import import_trials
from memory.exchange.recalling import recall_of_archive
from memory.files.episode_codec import pack_episode, unpack_episode
from memory.records import EpisodeRecord
from memory.store import Store
from tests.memory.exchange.test_exchange import SPACES, admit
from tests.memory.making import make_episode

CELLS = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.DISCRETE, size=3),
    action=ActionSpec(kind=ActionKind.DISCRETE, choices=(2,), start=(0,)),
)
FILM = SpacePair(
    observation=ObservationSpec(
        kind=ObservationKind.IMAGE, size=1, images=(ImageShape(height=2, width=2, channels=1),)
    ),
    action=CELLS.action,
)
HUGE = b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + b"\x01\x00\x00"
"""A zstd frame that records a content of a tebibyte."""

Values = dict[str, Any]


def family_with(**changed: Any) -> ArchivedFamily:
    return ArchivedFamily(**{"name": "a", "spaces": SPACES.to_json(), "spec": {}, "num_trials": 1, **changed})


def trial_of(**changed: Any) -> Values:
    values = {"family": "a", "task": "{}", "digest": None, "learner_step": 1, "recorded_at": 1.0, "num_episodes": 1}
    return {**values, **changed}


def write(path: Path, family: ArchivedFamily, trial: Values | str, frame: bytes) -> None:
    """Write an archive of one trial whose checksums are right, whatever it holds."""
    with path.open("wb") as stream:
        writer = ArchiveWriter(stream, ArchiveHeader(store="other", written_at=1.0, families=(family,)))
        text = trial if isinstance(trial, str) else json.dumps(trial)
        writer._write(zstandard.ZstdCompressor().compress(text.encode()))
        writer._write(frame)
        writer._num_trials = 1
        writer.finish()


def refused(path: Path) -> None:
    """Check that recall does not take the archive; import checks it in the same way."""
    with pytest.raises(ArchiveError):
        recall_of_archive(path)


def with_value(values: np.ndarray[Any, Any], value: float) -> np.ndarray[Any, Any]:
    changed = values.copy()
    changed.flat[3] = value
    return changed


@pytest.mark.parametrize(
    "spoil",
    [
        lambda e: replace(e, rewards=with_value(e.rewards, np.nan)),
        lambda e: replace(e, observations=with_value(e.observations, np.inf)),
        lambda e: replace(e, rewards=e.rewards[:, None]),
        lambda e: replace(e, rewards=np.float32(1.0)),
        lambda e: replace(e, decisions=np.zeros((3, 2), np.float16)),
    ],
    ids=["reward", "observation", "two dimensions", "no dimension", "decisions"],
)
def test_an_episode_that_learning_cannot_use_is_refused(
    tmp_path: Path, spoil: Callable[[EpisodeRecord], EpisodeRecord]
) -> None:
    path = tmp_path / "wrong.learnd"
    write(path, family_with(), trial_of(), pack_episode(spoil(make_episode())))
    refused(path)


def test_a_number_beside_an_image_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    path, good = tmp_path / "wrong.learnd", make_episode()
    observations = np.zeros((len(good.rewards) + 1, FILM.observation.width), np.uint8)
    observations[1, :4] = np.array([np.nan], np.float32).view(np.uint8)
    write(path, family_with(spaces=FILM.to_json()), trial_of(), pack_episode(replace(good, observations=observations)))
    refused(path)


@pytest.mark.parametrize("index", [3.0, -1.0, 0.5])
def test_an_observation_that_is_no_index_of_its_space_is_refused(tmp_path: Path, index: float) -> None:
    path, good = tmp_path / "wrong.learnd", make_episode()
    observations = with_value(np.zeros((len(good.rewards) + 1, 1), np.float32), index)
    write(path, family_with(spaces=CELLS.to_json()), trial_of(), pack_episode(replace(good, observations=observations)))
    refused(path)


@pytest.mark.parametrize(
    "trial",
    [
        trial_of(num_episodes=0),
        trial_of(digest="ab"),
        trial_of(learner_step=float("inf")),
        trial_of(task="[]"),
        trial_of(task='{"split": "training", "index": "x"}'),
        trial_of(task=json.dumps({"index": 10**30})),
        trial_of(task='{"a":' * 5000 + "1" + "}" * 5000),
        "[" * 100_000 + "]" * 100_000,
    ],
    ids=["no episode", "digest", "step", "task", "index", "large index", "deep task", "deep record"],
)
def test_a_trial_whose_values_cannot_be_used_is_refused(tmp_path: Path, trial: Values | str) -> None:
    path = tmp_path / "wrong.learnd"
    write(path, family_with(), trial, pack_episode(make_episode()))
    refused(path)


@pytest.mark.parametrize("family", [family_with(name=["a"]), family_with(spaces="x"), family_with(spaces={})])
def test_a_family_that_cannot_be_read_is_refused(tmp_path: Path, family: ArchivedFamily) -> None:
    path = tmp_path / "wrong.learnd"
    write(path, family, trial_of(), pack_episode(make_episode()))
    refused(path)


def test_import_refuses_what_recall_refuses(store: Store, tmp_path: Path) -> None:
    admit(store, "a")
    path, good = tmp_path / "wrong.learnd", make_episode()
    spoilt = pack_episode(replace(good, rewards=with_value(good.rewards, np.nan)))
    for trial, frame in ((trial_of(), spoilt), (trial_of(digest="ab"), pack_episode(good))):
        write(path, family_with(), trial, frame)
        with pytest.raises(ArchiveError, match="Nothing of it was imported"):
            import_trials(store, path)
    assert store.stats.memory_stats().trials == 0


def test_a_frame_that_records_too_large_a_content_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(ValueError, match="1099511627776 bytes"):
        unpack_episode(HUGE)
