"""`learnd policy watch` plays a published version, and writes a video of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from imageio_ffmpeg import count_frames_and_secs

from agent.cli import policy_watch
from agent.trainer.jobs.consolidate import consolidate
from envs.spaces import SpacePair
from memory.folder import DataFolder
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, folder, open_session, practise, store

__all__ = ["folder", "open_session", "store"]


class _Left:
    """A policy that always takes the first action."""

    def begin(self, spaces: SpacePair, **_: Any) -> _Left:
        return self

    def act(self, observation: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, dtype=torch.int64)

    def observe(self, **_: Any) -> None:
        pass


@pytest.fixture
def acting_left(learnd: Learnd, monkeypatch: pytest.MonkeyPatch) -> Learnd:
    monkeypatch.setattr(policy_watch, "_policy", lambda *_: _Left())
    return learnd


def test_a_published_version_plays_the_episodes_of_trials(
    store: Store, folder: DataFolder, open_session: SessionMaker
) -> None:
    family = feed_bandits(store)
    session = open_session(store)
    practise(session, family, reason="test")
    consolidate(session)
    learnd = Learnd(folder.path)
    answer = learnd.json("policy", "watch", family.name, "--trials", "2", "--task", "5")
    assert (answer["family"], answer["version"], answer["video"]) == (family.name, 1, None)
    assert [trial["task"] for trial in answer["trials"]] == [5, 6]
    num_episodes = family.require_spec().episodes_per_trial
    assert all(len(trial["episodes"]) == num_episodes for trial in answer["trials"])
    said = learnd("policy", "watch", family.name).stdout
    assert f"episode {num_episodes} of {num_episodes}: return " in said
    refused = learnd.json("policy", "watch", family.name, "--video", str(folder.path / "x.gif"), code=1)
    assert "tensor family" in refused["error"]["found"]


def test_a_video_shows_every_step_of_the_trial_in_a_worker(acting_left: Learnd, tmp_path: Path) -> None:
    file = tmp_path / "pole.mp4"
    answer = acting_left.json("policy", "watch", "cartpole", "--video", str(file), "--fps", "10")
    steps = [episode["steps"] for episode in answer["trials"][0]["episodes"]]
    assert all(4 < count < 30 for count in steps), "a pole that is always pushed to the left falls"
    assert answer["trials"][0]["episodes"][0]["return"] == steps[0]
    # Each episode has a frame after its reset and after each step, and its last one stays for 7 more.
    assert count_frames_and_secs(str(file))[0] == sum(count + 1 + 7 for count in steps)


def test_text_environments_are_shown_live_with_episode_and_return(acting_left: Learnd) -> None:
    acting_left(
        "env",
        "add",
        "FrozenLake-v1",
        "--name",
        "lake",
        "--max-steps",
        "5",
        "--episodes",
        "3",
        "--kwarg",
        "is_slippery=false",
    )
    shown = acting_left("policy", "watch", "lake", "--live", "--fps", "60").stdout
    assert "(Left)\nSFFF\nFHFH\nFFFH\nHFFG" in shown
    assert "step 5" in shown
    assert "earlier episodes: 0, 0" in shown
    assert "\x1b" not in shown


def test_an_environment_without_text_cannot_be_shown_live(acting_left: Learnd) -> None:
    answer = acting_left("policy", "watch", "cartpole", "--live", code=1)
    assert "no render mode 'ansi'; it has 'human', 'rgb_array'" in " ".join(answer.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("cartpole", "--video", "pole.avi"), "neither in .mp4 nor in .gif"),
        (("cartpole", "--video", "/nowhere/at/all.mp4"), "folder does not exist"),
        (("nothing",), "no family of that name"),
        (("cartpole", "--version", "99"), "no such version"),
        (("frozenlake", "--live"), "does not go together"),
    ],
)
def test_what_cannot_be_watched_is_refused_with_the_reason(
    arguments: tuple[str, ...], found: str, acting_left: Learnd
) -> None:
    assert found in acting_left.json("policy", "watch", *arguments, code=1)["error"]["found"]
