"""Recognising a trial's family: the two readers by hand, what a summary holds, and the command on a real store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.reports.recognition import (
    TEMPERATURE,
    in_units_of_spread,
    matching_attention,
    nearest_prototypes,
    recognise,
    summaries,
)
from envs.family import FamilySource, FamilySpec
from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair
from memory.folder import DataFolder
from memory.records import EpisodeRecord, FamilyTotals, LearnerStep, TrialRecord
from memory.store import Store
from tests.agent.cli.conftest import Learnd

VECTOR = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.VECTOR, size=2),
    action=ActionSpec(kind=ActionKind.DISCRETE, choices=(2,), start=(0,)),
)
CONTINUOUS = SpacePair(
    observation=VECTOR.observation, action=ActionSpec(kind=ActionKind.CONTINUOUS, low=(-2.0,), high=(2.0,))
)
MIXED = SpacePair(
    observation=VECTOR.observation,
    action=ActionSpec(kind=ActionKind.MIXED, choices=(2,), low=(-2.0,), high=(2.0,), start=(0,)),
)
CELLS = SpacePair(
    observation=ObservationSpec(kind=ObservationKind.DISCRETE, size=5),
    action=ActionSpec(kind=ActionKind.MULTI_DISCRETE, choices=(2, 3), start=(0, 0)),
)


def pushed(*, push: float, seed: int, bias: float = 0.5, steps: int = 40) -> TrialRecord:
    """A point that action 1 pushes by ``push`` and action 0 pulls back, by a policy that favours one by ``bias``."""
    draw = np.random.default_rng(seed)
    actions = (draw.random(steps) < bias).astype(np.int64)
    moves = (2 * actions[:, None] - 1) * np.array([push, 0.1]) + draw.normal(scale=0.05, size=(steps, 2))
    observations = np.concatenate([np.zeros((1, 2)), moves.cumsum(0)]).astype(np.float32)
    rewards = draw.normal(size=steps).astype(np.float32)
    episode = EpisodeRecord(observations=observations, actions=actions, rewards=rewards, is_terminated=True)
    return TrialRecord(task={"seed": seed}, episodes=(episode,))


def remember(store: Store, name: str, trials: list[TrialRecord]) -> None:
    spec = FamilySpec(name=name, source=FamilySource.GYMNASIUM, entry="CartPole-v1", episodes_per_trial=1)
    store.families.add(spec)
    store.families.admit(name, spaces=VECTOR.to_json(), random_return=0.0, reference_return=1.0)
    step = LearnerStep(
        family=name,
        practised=FamilyTotals(env_steps=40, episodes=1, trials=len(trials), meta_updates=1),
        trials=tuple(trials),
        points=(),
        started_at=1.0,
        finished_at=2.0,
        detail={},
    )
    store.learner_steps.commit(step, {"w": np.zeros(1, np.float32)}, {})


def test_prototypes_and_matching_by_hand() -> None:
    support, labels = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 4.0]]), np.array([0, 0, 1])
    query = np.array([[2.0, 0.5], [0.0, 3.0]])
    assert nearest_prototypes(query, support, labels).tolist() == [0, 1]
    first = np.exp(np.array([2.0, 2.0, 0.5]) / np.hypot(2.0, 0.5) / TEMPERATURE)
    found = matching_attention(query, support, labels)
    assert found[0] == pytest.approx([first[:2].sum() / first.sum(), first[2] / first.sum()])
    assert found.sum(1) == pytest.approx([1.0, 1.0])


def test_one_shot_prototypes_are_nearest_neighbours_and_no_order_matters() -> None:
    draw = np.random.default_rng(0)
    support, query = draw.normal(size=(6, 3)), draw.normal(size=(20, 3))
    nearest = ((query[:, None] - support) ** 2).sum(-1).argmin(1)
    assert (nearest_prototypes(query, support, np.arange(6)) == nearest).all()
    labels, order = np.array([0, 1, 2, 0, 1, 2]), draw.permutation(6)
    assert (
        nearest_prototypes(query, support[order], labels[order]) == nearest_prototypes(query, support, labels)
    ).all()
    np.testing.assert_allclose(
        matching_attention(query, support[order], labels[order]), matching_attention(query, support, labels)
    )


def test_a_trial_by_another_policy_is_recognised_by_its_physics() -> None:
    remembered = [pushed(push=push, seed=seed) for seed, push in enumerate([0.2] * 10 + [0.9] * 10)]
    asked = [pushed(push=push, seed=99, bias=0.8) for push in (0.2, 0.9)]
    values, labels = summaries([*remembered, *asked], VECTOR, num_steps=40), np.repeat([0, 1], 10)
    support, query = in_units_of_spread(values[:20], labels, values[20:])
    assert nearest_prototypes(query, support, labels).tolist() == [0, 1]
    assert matching_attention(query, support, labels).argmax(1).tolist() == [0, 1]


def test_what_spreads_within_a_class_weighs_less() -> None:
    support, labels = np.array([[0.0, -8.0], [0.0, 8.0], [1.0, -7.0], [1.0, 9.0]]), np.array([0, 0, 1, 1])
    scaled, query = in_units_of_spread(support, labels, np.array([[0.1, 8.0]]))
    assert scaled[:, 1] == pytest.approx([-17 / 16, 15 / 16, -15 / 16, 17 / 16])
    assert np.abs(scaled[:, 0]).max() == 10.0
    assert nearest_prototypes(query, scaled, labels).tolist() == [0]


@pytest.mark.parametrize(
    "spaces", [VECTOR, CONTINUOUS, CELLS, MIXED], ids=["discrete", "continuous", "multi_discrete", "mixed"]
)
def test_every_kind_of_space_has_a_summary_and_what_comes_later_is_not_in_it(spaces: SpacePair) -> None:
    def trial(*, seed: int, tail: float) -> TrialRecord:
        draw = np.random.default_rng(seed)
        width = spaces.observation.width
        observations = draw.integers(0, 5, size=(31, width)).astype(np.float32)
        action_shape = (30,) if spaces.action.width == 1 and spaces is VECTOR else (30, spaces.action.width)
        actions = draw.integers(0, 2, size=action_shape)
        rewards = draw.normal(size=30).astype(np.float32)
        rewards[20:] += tail
        episode = EpisodeRecord(observations=observations, actions=actions, rewards=rewards, is_terminated=False)
        return TrialRecord(task={}, episodes=(episode,))

    first, second = ([trial(seed=seed, tail=tail) for seed in range(5)] for tail in (0.0, 50.0))
    early = [summaries(trials, spaces, num_steps=20) for trials in (first, second)]
    assert np.isfinite(early[0]).all()
    np.testing.assert_array_equal(*early)
    assert not np.array_equal(*[summaries(trials, spaces, num_steps=30) for trials in (first, second)])


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "store")


def test_families_of_other_physics_are_told_apart_and_those_of_the_same_are_not(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        for name, push, first in (("weak", 0.2, 0), ("strong", 0.9, 100), ("weak-too", 0.2, 200)):
            remember(store, name, [pushed(push=push, seed=first + seed) for seed in range(24)])
        found = recognise(store, "weak", num_steps=40, num_trials=24)
        assert found is not None
        shares = {row.family: (row.by_prototypes, row.by_matching) for row in found.resemblances}
        assert max(shares["strong"]) == 0.0
        assert sum(share for share, _ in shares.values()) == pytest.approx(1.0)
        assert found.num_trials == 36
        of_strong = recognise(store, "strong", num_steps=40, num_trials=24)
        assert of_strong is not None
        itself = next(row for row in of_strong.resemblances if row.family == "strong")
        assert (itself.by_prototypes, itself.by_matching) == (1.0, 1.0)


def test_the_command_says_what_a_family_looks_like(folder: DataFolder) -> None:
    with Store.open(folder) as store:
        remember(store, "weak", [pushed(push=0.2, seed=seed) for seed in range(8)])
    learnd = Learnd(folder.path)
    alone = learnd("memory", "recognise", "weak", code=1)
    assert "two admitted families of the same spaces" in alone.stderr.replace("\n", " ")
    with Store.open(folder) as store:
        remember(store, "strong", [pushed(push=0.9, seed=50 + seed) for seed in range(8)])
    answer = learnd.json("memory", "recognise", "weak")
    assert answer["num_trials"] == 8
    assert answer["accuracy_by_prototypes"] == 1.0
    shown = learnd("memory", "recognise", "weak").stdout
    assert "weak (itself)" in shown
    assert "by chance 50%" in shown
