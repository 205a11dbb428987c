"""Tests of the session: one commit per slice, and a restored state equals the committed state bit for bit."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agent.learners.config_json import config_to_json
from agent.learners.rl2.removed_settings import REMOVED
from agent.trainer.checkpoint_damage import CheckpointLostError, IncompatibleCheckpointError
from agent.trainer.practice.slices import DivergedError
from agent.trainer.session import TrainerSession
from envs.admission import probe
from envs.family import FamilySource
from envs.limits import WorkerLimits
from envs.registry import default_stream, open_tasks
from memory.folder import DataFolder
from memory.records import CHECKPOINT_FALLBACKS, Checkpoint, CurveMetric, Family, ProblemKind
from memory.store import Store
from memory.upkeep.repairing import repair
from tests.agent.trainer.conftest import SessionMaker, feed_bandits, practise, settings_for


def _feed_cartpole(store: Store) -> Family:
    spec = replace(
        next(spec for spec in default_stream() if spec.name == "cartpole"), max_episode_steps=20, random_return=60.0
    )
    store.families.add(spec)
    admission = probe(spec, limits=WorkerLimits())
    return store.families.admit(
        spec.name,
        spaces=admission.spaces.to_json(),
        random_return=admission.random_return,
        reference_return=spec.reference_return,
    )


def _state(session: TrainerSession) -> dict[str, Tensor]:
    return session.learner.to_tensors()


def _assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_a_restarted_learner_goes_on_as_if_it_had_not_been_interrupted(
    tmp_path: Path, open_session: SessionMaker
) -> None:
    """Compare parameters, optimiser, counters and random state for a tensor-native and a worker-stepped family."""
    with Store.open(DataFolder(tmp_path / "straight")) as straight_store:
        families = [feed_bandits(straight_store), _feed_cartpole(straight_store)]
        straight = open_session(straight_store)
        for family in families * 4:
            practise(straight, family, reason="test")
        straight_totals = [family.totals for family in straight_store.families.all()]

    with Store.open(DataFolder(tmp_path / "interrupted")) as store:
        families = [feed_bandits(store), _feed_cartpole(store)]
        first = open_session(store)
        for family in families * 2:
            practise(first, family, reason="test")
        del first  # nothing is closed, saved or said: as after kill −9
        resumed = open_session(store)
        for family in families * 2:
            practise(resumed, family, reason="test")
        totals = [family.totals for family in store.families.all()]

    _assert_same(_state(straight), _state(resumed))
    assert straight.learner.to_meta() == resumed.learner.to_meta()
    assert straight.next_task == resumed.next_task
    assert straight_totals == totals


def test_a_slice_is_counted_remembered_and_charted_together(store: Store, open_session: SessionMaker) -> None:
    family = feed_bandits(store)
    session = open_session(store)
    detail = practise(session, family, reason="waited longest")
    totals = store.families.get("bandits").totals
    assert (totals.env_steps, totals.episodes, totals.trials, totals.meta_updates) == (320, 320, 64, 1)
    trials = store.trials.of_family("bandits", limit=100)
    assert len(trials) == session.settings.memory.trials_per_step
    record = store.trials.load(trials[0].id)
    assert [len(episode.rewards) for episode in record.episodes] == [1] * 5
    assert set(record.task) == {"split", "index", "arms"}
    assert detail["trial_return"] == store.curves.points("bandits", CurveMetric.TRIAL_RETURN)[-1].point.value
    assert {point.point.label for point in store.curves.points("bandits", CurveMetric.LOSS)} >= {
        "policy",
        "value",
        "entropy",
    }


def test_an_uncommitted_slice_leaves_nothing_behind(store: Store, open_session: SessionMaker) -> None:
    family = feed_bandits(store)
    session = open_session(store)
    practise(session, family, reason="test")
    committed = _state(session)
    store.learner_steps.commit = _fail  # type: ignore[method-assign, assignment]
    with pytest.raises(OSError, match="no room"):
        practise(session, family, reason="test")
    session.restore_last_commit()
    _assert_same(committed, _state(session))
    assert store.families.get("bandits").totals.meta_updates == 1


def _fail(*_arguments: object) -> None:
    raise OSError("no room left")


def test_an_update_that_diverges_is_thrown_away(store: Store, open_session: SessionMaker) -> None:
    family = feed_bandits(store)
    session = open_session(store)
    practise(session, family, reason="test")
    committed = _state(session)
    with torch.no_grad():
        next(session.learner.critics.parameters()).fill_(float("nan"))
    with pytest.raises(DivergedError, match="restored the last commit"):
        practise(session, family, reason="test")
    _assert_same(committed, _state(session))


def _damage(folder: DataFolder, checkpoint: Checkpoint | None) -> None:
    assert checkpoint is not None
    path = folder.parameters_path / f"{checkpoint.file.sha256}.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.unlink()
    path.write_bytes(bytes(content))


def _damage_meta(store: Store) -> None:
    with store._connection.transaction("damaging the live checkpoint"):
        store._connection.execute(
            "UPDATE checkpoints SET meta = replace(meta, 'next_task', 'next_tasl') WHERE is_live = 1"
        )


@pytest.mark.parametrize("part", ["file", "meta", "row"])
def test_a_damaged_live_checkpoint_falls_back_to_a_kept_one_with_a_sign(
    store: Store, folder: DataFolder, open_session: SessionMaker, part: str
) -> None:
    family = feed_bandits(store)
    session = open_session(store)
    practise(session, family, reason="test")
    kept = store.checkpoints.keep_live(keep=2)
    practise(session, family, reason="test")
    assert kept is not None
    if part == "file":
        _damage(folder, store.checkpoints.live())
    elif part == "meta":
        _damage_meta(store)
    else:
        with store._connection.transaction("losing the live checkpoint"):
            store._connection.execute("DELETE FROM checkpoints WHERE is_live = 1")
    restored = open_session(store)
    expected = store.checkpoints.load_parameters(kept.file)
    assert all((restored.learner.to_tensors()[name].numpy() == array).all() for name, array in expected.items())
    (problem,) = store.damage.all()
    assert problem.kind is ProblemKind.CHECKPOINT_FALLBACK
    assert "learner step 2 is damaged; continuing from the checkpoint of step 1" in problem.found
    open_session(store)
    assert [(c.name, c.value) for c in store.counters.all() if c.name == CHECKPOINT_FALLBACKS] == [
        (CHECKPOINT_FALLBACKS, 1)
    ]
    practise(restored, family, reason="test")
    assert store.families.get("bandits").totals.meta_updates == 3
    assert [problem.kind for problem in store.damage.all()] == [ProblemKind.CHECKPOINT_FALLBACK]


def test_a_fallback_is_accepted_without_consent_once_a_slice_is_committed(
    store: Store, folder: DataFolder, open_session: SessionMaker
) -> None:
    family = feed_bandits(store)
    session = open_session(store)
    practise(session, family, reason="test")
    store.checkpoints.keep_live(keep=2)
    practise(session, family, reason="test")
    _damage(folder, store.checkpoints.live())
    restored = open_session(store)
    assert "accept the older parameters, run `learnd doctor --repair`" in store.damage.all()[0].hint
    assert "learner step 1 replace those of step 2" in repair(folder, may_roll_back=False).needs_consent
    practise(restored, family, reason="test")
    report = repair(folder, may_roll_back=False)
    assert (report.needs_consent, report.remaining) == ("", ())
    assert store.damage.all() == []


def test_an_intact_checkpoint_leaves_no_sign(store: Store, open_session: SessionMaker) -> None:
    session = open_session(store)
    practise(session, feed_bandits(store), reason="test")
    store.checkpoints.keep_live(keep=2)
    open_session(store)
    assert store.damage.all() == []


@pytest.mark.parametrize("part", ["file", "meta"])
@pytest.mark.parametrize("is_published", [False, True])
def test_with_every_checkpoint_lost_nothing_is_learned_and_it_is_said(
    store: Store, folder: DataFolder, open_session: SessionMaker, part: str, is_published: bool
) -> None:
    from agent.trainer.jobs.consolidate import consolidate

    session = open_session(store)
    family = feed_bandits(store)
    practise(session, family, reason="test")
    if is_published:
        consolidate(session)
        practise(session, family, reason="test")
    totals = store.families.get("bandits").totals
    if part == "file":
        _damage(folder, store.checkpoints.live())
    else:
        _damage_meta(store)
    for _ in range(2):
        with pytest.raises(CheckpointLostError, match="no checkpoint of them is intact") as caught:
            open_session(store)
    assert "learnd doctor --repair" in caught.value.hint
    assert "--yes" in caught.value.hint
    assert "learnd memory restore" in caught.value.hint
    (problem,) = store.damage.all()
    assert problem.kind is ProblemKind.CHECKPOINT_LOST
    assert store.families.get("bandits").totals == totals


def test_after_a_repair_it_goes_on_from_the_published_version(
    store: Store, folder: DataFolder, open_session: SessionMaker
) -> None:
    from agent.trainer.jobs.consolidate import consolidate

    session = open_session(store)
    family = feed_bandits(store)
    practise(session, family, reason="test")
    consolidate(session)
    practise(session, family, reason="test")
    published = store.initializations.current()
    assert published is not None
    _damage(folder, store.checkpoints.live())
    repair(folder, may_roll_back=True)
    restored = open_session(store)
    for name, array in store.checkpoints.load_parameters(published.file).items():
        assert (restored.learner.policy.state_dict()[name].numpy() == array).all()
    practise(restored, family, reason="test")
    assert store.families.get("bandits").totals.meta_updates == 3
    assert store.damage.all() == []


def test_a_session_that_loses_its_checkpoints_while_it_runs_ends(
    store: Store, folder: DataFolder, open_session: SessionMaker
) -> None:
    session = open_session(store)
    practise(session, feed_bandits(store), reason="test")
    _damage(folder, store.checkpoints.live())
    with pytest.raises(CheckpointLostError):
        session.restore_last_commit()


def test_settings_that_no_longer_fit_what_was_learned_are_named(
    store: Store, folder: DataFolder, open_session: SessionMaker
) -> None:
    session = open_session(store)
    practise(session, feed_bandits(store), reason="test")
    with pytest.raises(IncompatibleCheckpointError, match="hidden_size 16 → 24"):
        open_session(store, settings=settings_for(folder.path, rl2={**session.settings.rl2, "hidden_size": 24}))


def _stored_with(monkeypatch: pytest.MonkeyPatch, **removed: Any) -> None:
    """Commit settings as a release did that had the removed ones."""
    monkeypatch.setattr("agent.trainer.session.config_to_json", lambda config: config_to_json(config) | removed)


def test_a_checkpoint_with_the_constants_as_settings_continues_as_one_without_them(
    store: Store, open_session: SessionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, family = open_session(store), feed_bandits(store)
    with monkeypatch.context() as patch:
        _stored_with(patch, **{name: setting.constant for name, setting in REMOVED.items()})
        practise(session, family, reason="test")
    restored = open_session(store)
    assert restored.learner_steps == 1
    for either in (session, restored):
        training = either.environments.begin_training(family, either.learner)
        training.learn(training.play(64), num_epochs=2)
    _assert_same(_state(session), _state(restored))


def test_a_checkpoint_of_a_removed_reader_is_refused_with_what_to_do(
    store: Store, open_session: SessionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(store)
    with monkeypatch.context() as patch:
        _stored_with(patch, memory_reader="matching")
        practise(session, feed_bandits(store), reason="test")
    with pytest.raises(IncompatibleCheckpointError, match=r"'matching'.*learnd 0\.1\.0.*new data folder"):
        open_session(store)


def test_a_family_fed_again_under_an_old_name_begins_anew(store: Store, open_session: SessionMaker) -> None:
    from memory.records import FamilyState

    session = open_session(store)
    practise(session, feed_bandits(store), reason="test")
    store.families.set_state("bandits", FamilyState.REMOVED)
    practise(session, feed_bandits(store), reason="test")
    assert [session.next_task[name] for name in sorted(session.next_task)] == [64, 64]
    assert store.families.get("bandits").totals.meta_updates == 1


def test_the_spec_of_the_default_stream_survives_the_store(store: Store) -> None:
    for spec in default_stream():
        store.families.add(spec)
        assert store.families.get(spec.name).spec == spec
    sources = {family.require_spec().source for family in store.families.all()}
    assert sources == {FamilySource.TENSOR, FamilySource.GYMNASIUM}


class _ClosingTogether:
    """Tasks whose ``close`` waits until two others are being closed too."""

    def __init__(self, tasks: Any, together: threading.Barrier) -> None:
        self._tasks, self._together = tasks, together

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tasks, name)

    def close(self) -> None:
        self._together.wait(timeout=30)
        raise OSError("a fault of closing keeps no other from being closed")


def test_the_tasks_of_all_families_are_closed_at_the_same_time(store: Store, open_session: SessionMaker) -> None:
    together = threading.Barrier(3)
    families = [feed_bandits(store, name) for name in ("one", "two", "three")]
    session = open_session(store, opener=lambda *a, **n: _ClosingTogether(open_tasks(*a, **n), together))
    for family in families:
        session.environments.tasks_of(family)
    session.close()
    assert not together.broken
    session.close()
