"""Families of long episodes: practised in bounded memory, and resumed without the trials under way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from agent.trainer.families import learner_name
from agent.trainer.jobs.evaluate import evaluate
from agent.trainer.session import TrainerSession
from memory.folder import DataFolder
from memory.records import CurveMetric, Family
from memory.store import Store
from tests.agent.trainer.conftest import SMALL, SessionMaker, practise, settings_for
from tests.envs.families import family, opened

SEGMENT = 32
ROWS = 4
GROWTH_MIB = 32.0
"""Bound on the growth of resident memory. A record of one trial of 100,000 steps would take more than twice as much."""


def feed_walk(store: Store, *, num_steps: int, max_steps: int | None = None) -> Family:
    spec = family(
        "long_environments:LongWalk",
        name="walk",
        kwargs={"num_steps": num_steps},
        max_episode_steps=max_steps,
        episodes_per_trial=1,
    )
    tasks = opened(spec)
    tasks.close()
    store.families.add(spec)
    return store.families.admit("walk", spaces=tasks.spaces.to_json(), random_return=0.0, reference_return=None)


def begun(open_session: SessionMaker, store: Store, *, slice_s: float = 1e-6, **settings: Any) -> TrainerSession:
    learned = {**SMALL, "segment_steps": SEGMENT, **settings}
    return open_session(
        store,
        settings=settings_for(
            store.folder.path,
            rl2=learned,
            practise={"slice_s": slice_s, "wait_s": 600.0},
            memory={"trials_per_step": 2},
        ),
    )


def test_a_slice_of_an_episode_that_does_not_end_is_committed(store: Store, open_session: SessionMaker) -> None:
    walk = feed_walk(store, num_steps=100_000)
    session = begun(open_session, store)
    reports = [practise(session, walk, reason="test") for _ in range(3)]
    totals = store.families.get("walk").totals
    assert (totals.env_steps, totals.episodes, totals.trials, totals.meta_updates) == (3 * SEGMENT * ROWS, 0, 0, 3)
    assert [report["trial_return"] for report in reports] == [None, None, None]
    assert store.curves.points("walk", CurveMetric.TRIAL_RETURN) == []
    assert len(store.curves.points("walk", CurveMetric.LOSS)) > 0


def test_returns_are_those_of_trials_that_ended(store: Store, open_session: SessionMaker) -> None:
    walk = feed_walk(store, num_steps=80, max_steps=5000)
    session = begun(open_session, store)
    reports = [practise(session, walk, reason="test") for _ in range(3)]
    assert [report["trials"] for report in reports] == [0, 0, ROWS]
    assert 0 < reports[2]["trial_return"] < 80
    assert store.families.get("walk").totals.episodes == ROWS


def test_the_first_steps_of_long_trials_are_stored_and_rehearsed(store: Store, open_session: SessionMaker) -> None:
    walk = feed_walk(store, num_steps=100_000)
    session = begun(open_session, store)
    for _ in range(3):
        practise(session, walk, reason="test")
    stored = [store.trials.load(row.id) for row in store.trials.of_family("walk", limit=10)]
    assert sorted(trial.task["index"] for trial in stored) == [0, 1]  # The later segments began no trial.
    for trial in stored:
        [episode] = trial.episodes
        assert len(episode.rewards) == SEGMENT == len(episode.observations) - 1
        assert not episode.is_terminated
        assert episode.decisions is not None
    assert sorted(session.rehearsal.reservoir(learner_name(walk)).trials) == [0, 1]


def test_a_restart_drops_the_trials_under_way_and_nothing_else(tmp_path: Path, open_session: SessionMaker) -> None:
    with Store.open(DataFolder(tmp_path / "store")) as store:
        walk = feed_walk(store, num_steps=100_000)
        first = begun(open_session, store)
        for _ in range(2):
            practise(first, walk, reason="test")
        committed, next_task = first.learner.to_tensors(), dict(first.next_task)
        resumed = begun(open_session, store)
        found = resumed.learner.to_tensors()
        assert all(torch.equal(tensor, found[name]) for name, tensor in committed.items())
        assert resumed.next_task == next_task
        practise(resumed, walk, reason="test")
        assert resumed.next_task[learner_name(walk)] == next_task[learner_name(walk)] + ROWS  # New trials began.


def test_two_restarts_from_one_commit_go_on_identically(tmp_path: Path, open_session: SessionMaker) -> None:
    states = []
    for name in ("one", "other"):
        with Store.open(DataFolder(tmp_path / name)) as store:
            walk = feed_walk(store, num_steps=100_000)
            first = begun(open_session, store)
            practise(first, walk, reason="test")
            resumed = begun(open_session, store)
            for _ in range(2):
                practise(resumed, walk, reason="test")
            states.append(resumed.learner.to_tensors())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_practice_of_long_episodes_takes_no_more_memory_as_they_go_on(store: Store, open_session: SessionMaker) -> None:
    walk = feed_walk(store, num_steps=100_000)
    session = begun(open_session, store, segment_steps=128)
    process = psutil.Process()
    for _ in range(3):
        practise(session, walk, reason="test")
    before, grown = process.memory_info().rss, 0
    for _ in range(25):
        practise(session, walk, reason="test")
        grown = max(grown, process.memory_info().rss - before)
    assert grown / 2**20 < GROWTH_MIB


@pytest.mark.parametrize(
    "num_steps", [1_000, pytest.param(100_000, marks=(pytest.mark.slow, pytest.mark.timeout(3600)))]
)
def test_long_episodes_are_scored_in_bounded_memory_on_the_least_number_of_trials(
    store: Store, open_session: SessionMaker, num_steps: int
) -> None:
    """The limit of steps is not known, so the trials are not recorded."""
    feed_walk(store, num_steps=num_steps)
    session = begun(open_session, store)
    before = psutil.Process().memory_info().rss
    evaluate(session, [store.families.get("walk")])
    [point] = store.curves.points("walk", CurveMetric.EVAL_RETURN)
    assert point.point.value == pytest.approx(num_steps / 2, rel=0.1)
    assert (psutil.Process().memory_info().rss - before) / 2**20 < GROWTH_MIB
