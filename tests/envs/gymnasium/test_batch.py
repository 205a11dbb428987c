"""Tests of plain environments stepped in a worker: inputs, results and replay."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from envs.errors import EnvsError
from envs.family import FamilySource, FamilySpec, Split
from envs.gymnasium.task_drawing import draw_tasks
from envs.gymnasium.variations import Distribution, Variation, VariationTarget
from envs.registry import default_stream
from envs.spaces import ActionKind, ActionSpec, ObservationKind
from envs.task_batch import Transition, given_contexts
from tests.envs.families import FOLDER, all_active, family, opened, playing, sound, zeros


def test_a_worker_steps_exactly_as_the_environment_does_in_this_process() -> None:
    spec = FamilySpec(name="cartpole", source=FamilySource.GYMNASIUM, entry="CartPole-v1")
    generator = torch.Generator().manual_seed(3)
    with playing(spec, 3) as tasks:
        observation = tasks.begin(5, split=Split.HELD_OUT)
        plain = [gymnasium.make("CartPole-v1") for _ in range(3)]
        seeds = [task.seed for task in draw_tasks(spec, Split.HELD_OUT, 5, 3)]
        for row, env in enumerate(plain):
            assert np.array_equal(env.reset(seed=seeds[row])[0], observation[row].numpy())
        for _ in range(120):
            action = torch.randint(2, (3,), generator=generator)
            transition = tasks.step(action, all_active(3))
            for row, env in enumerate(plain):
                compare_step(env, int(action[row]), transition, row)


def compare_step(env: gymnasium.Env[Any, Any], action: int, transition: Transition, row: int) -> None:
    last, reward, terminated, truncated, _ = env.step(action)
    assert transition.reward[row] == reward
    assert bool(transition.terminated[row]) == terminated
    assert bool(transition.truncated[row]) == (truncated and not terminated)
    assert np.array_equal(transition.final_observation[row].numpy(), last)
    following = env.reset()[0] if terminated or truncated else last
    assert np.array_equal(transition.observation[row].numpy(), following)


@pytest.mark.parametrize("ends_by", ["terminated", "truncated"])
def test_an_episode_that_ends_is_followed_by_its_reset_and_no_dummy_step(ends_by: str) -> None:
    with playing(sound("Counter", kwargs={"ends_by": ends_by})) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        seen = [tasks.step(zeros(tasks), all_active(2)) for _ in range(9)]
    assert [t.reward[0].item() for t in seen] == [1, 2, 3, 4, 1, 2, 3, 4, 1]
    assert [t.observation[0, 1].item() for t in seen] == [1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert [t.final_observation[0, 1].item() for t in seen] == [1, 2, 3, 4, 1, 2, 3, 4, 1]
    assert [t.observation[0, 0].item() for t in seen] == [0, 0, 0, 1, 1, 1, 1, 2, 2]
    ended = [bool(getattr(t, ends_by)[0]) for t in seen]
    assert ended == [False, False, False, True] * 2 + [False]
    other = "truncated" if ends_by == "terminated" else "terminated"
    assert not any(bool(getattr(t, other).any()) for t in seen)


def test_the_time_limit_truncates_and_keeps_the_true_final_observation() -> None:
    with playing(sound("Counter", kwargs={"length": 100}, max_episode_steps=3)) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        seen = [tasks.step(zeros(tasks), all_active(2)) for _ in range(7)]
    assert [bool(t.truncated[0]) for t in seen] == [False, False, True, False, False, True, False]
    assert not any(bool(t.terminated.any()) for t in seen)
    assert seen[2].final_observation[0].tolist() == [0, 3, 5]
    assert seen[2].observation[0].tolist() == [1, 0, 0]


def test_a_function_of_the_user_s_may_make_the_environment() -> None:
    with playing(sound("short_mountain_car")) as tasks:
        first = tasks.begin(0, split=Split.TRAINING)
        ended = [bool(tasks.step(zeros(tasks), all_active(2)).truncated.all()) for _ in range(14)]
    assert first.abs().max() <= 1
    assert ended == ([False] * 6 + [True]) * 2
    assert tasks.max_episode_steps == 7
    assert tasks.reward_threshold == -110.0


def test_what_ends_both_ways_at_once_is_terminated() -> None:
    with playing(sound("Counter", kwargs={"ends_by": "both", "length": 3}, max_episode_steps=3)) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        last = [tasks.step(zeros(tasks), all_active(2)) for _ in range(3)][-1]
    assert last.terminated.all()
    assert not last.truncated.any()


def test_the_registered_time_limit_holds_where_none_is_declared() -> None:
    with playing(FamilySpec(name="pendulum", source=FamilySource.GYMNASIUM, entry="Pendulum-v1")) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        assert tasks.max_episode_steps == 200
        ended = [tasks.step(torch.zeros(2, 1), all_active(2)).truncated.all().item() for _ in range(200)]
    assert ended == [False] * 199 + [True]


def test_an_inactive_row_is_not_stepped() -> None:
    with playing(sound("Counter")) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        tasks.step(zeros(tasks), all_active(2))
        for _ in range(5):
            transition = tasks.step(zeros(tasks), torch.tensor([True, False]))
            assert transition.observation[1].tolist() == [0, 1, 5]
            assert transition.reward[1] == 0
            assert not transition.terminated[1]
        assert transition.observation[0].tolist() == [1, 2, 5]


@pytest.mark.parametrize("spec", [spec for spec in default_stream() if spec.source is FamilySource.GYMNASIUM])
def test_a_default_family_replays_bit_for_bit_in_another_worker(spec: FamilySpec) -> None:
    records = []
    for _ in range(2):
        with playing(spec, 4) as tasks:
            tasks.begin(40, split=Split.TRAINING)
            tasks.begin(7, split=Split.TRAINING)
            generator = torch.Generator().manual_seed(0)
            seen = []
            for _ in range(60):
                if tasks.spaces.action.kind is ActionKind.CONTINUOUS:
                    action = torch.rand(4, 1, generator=generator) * 2 - 1
                else:
                    action = torch.randint(tasks.spaces.action.choices[0], (4,), generator=generator)
                transition = tasks.step(action, all_active(4))
                seen.append(torch.cat([transition.observation, transition.reward.unsqueeze(1)], dim=1))
            records.append(torch.stack(seen))
    assert torch.equal(records[0], records[1])


def test_environments_that_draw_from_the_global_generators_replay_too() -> None:
    with playing(sound("GlobalNoise")) as tasks:
        first = tasks.begin(0, split=Split.TRAINING), tasks.step(zeros(tasks), all_active(2)).observation
        tasks.step(zeros(tasks), all_active(2))
        again = tasks.begin(0, split=Split.TRAINING), tasks.step(zeros(tasks), all_active(2)).observation
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


def test_the_splits_draw_different_tasks_and_the_family_s_name_does_not_matter() -> None:
    spec = default_stream()[2]
    training, held_out = (draw_tasks(spec, split, 0, 50) for split in Split)
    assert not {task.seed for task in training} & {task.seed for task in held_out}
    renamed = FamilySpec.from_json({**spec.to_json(), "name": "another"})
    assert draw_tasks(renamed, Split.TRAINING, 0, 50) == training


def test_environments_that_observe_through_one_shared_array_are_kept_apart() -> None:
    with playing(sound("SharedArray"), 3) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        transition = tasks.step(zeros(tasks), all_active(3))
        expected = [float(task.seed % 997) for task in draw_tasks(tasks.spec, Split.TRAINING, 0, 3)]
    assert transition.observation[:, 0].tolist() == expected


def test_variations_reach_attributes_keyword_arguments_and_reset_options() -> None:
    cartpole = next(spec for spec in default_stream() if spec.name == "cartpole")
    with playing(cartpole, 3) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        drawn = [row["attributes"] for row in tasks.describe_tasks([0, 1, 2])]
        assert tasks.task_parameters().shape == (3, 7)
    for task in drawn:
        assert task["total_mass"] == pytest.approx(task["masspole"] + task["masscart"])
        assert task["polemass_length"] == pytest.approx(task["masspole"] * task["length"])
    length = Variation(name="length", target=VariationTarget.KWARG, distribution=Distribution.INTEGER, low=2, high=6)
    with playing(sound("Counter", variations=(length,)), 8) as tasks:
        for first_task in (0, 8):
            tasks.begin(first_task, split=Split.TRAINING)
            lengths = [row["kwargs"]["length"] for row in tasks.describe_tasks(list(range(8)))]
            ends = torch.stack([tasks.step(zeros(tasks), all_active(8)).terminated for _ in range(6)])
            assert (ends.int().argmax(0) + 1).tolist() == lengths
    high = Variation(name="high", target=VariationTarget.RESET_OPTION, low=0.2, high=0.3)
    low = Variation(name="low", target=VariationTarget.RESET_OPTION, low=0.1, high=0.2)
    with playing(FamilySpec(name="c", source=FamilySource.GYMNASIUM, entry="CartPole-v1", variations=(low, high))) as t:
        first = t.begin(0, split=Split.TRAINING)
    assert ((first >= 0.1) & (first <= 0.3)).all()


def test_varied_physics_are_the_physics_that_are_stepped() -> None:
    force = Variation(name="force_mag", low=3.0, high=30.0)
    spec = FamilySpec(name="cartpole", source=FamilySource.GYMNASIUM, entry="CartPole-v1", variations=(force,))
    with playing(spec, 2) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        reached = tasks.step(torch.ones(2, dtype=torch.int64), all_active(2)).observation
        drawn = draw_tasks(spec, Split.TRAINING, 0, 2)
    for row, task in enumerate(drawn):
        env = gymnasium.make("CartPole-v1")
        env.unwrapped.force_mag = task.attributes["force_mag"]  # type: ignore[attr-defined]
        env.reset(seed=task.seed)
        assert np.array_equal(env.step(1)[0], reached[row].numpy())


def test_composite_observations_are_flattened_and_multi_discrete_actions_arrive() -> None:
    with playing(sound("ManySpaces")) as tasks:
        assert tasks.spaces.observation.kind is ObservationKind.VECTOR
        assert tasks.spaces.observation.size == 4 + 3 + 2 + 5
        assert tasks.spaces.action == ActionSpec(kind=ActionKind.MULTI_DISCRETE, choices=(2, 4), start=(0, 0))
        first = tasks.begin(0, split=Split.TRAINING)
        transition = tasks.step(torch.tensor([[1, 3], [0, 2]]), all_active(2))
    expected = [0.5, -0.5, 0.25, 1.0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 1]
    assert first[0].tolist() == expected
    assert transition.observation[1].tolist() == expected
    assert transition.reward.tolist() == [13, 2]


def test_continuous_actions_are_scaled_to_the_environment_s_bounds() -> None:
    with playing(sound("BoxActions"), 3) as tasks:
        assert tasks.spaces.action.low == (0.0, -1.0)
        tasks.begin(0, split=Split.TRAINING)
        action = torch.tensor([[-1.0, 0.5], [0.0, -7.0], [3.0, 4.0]])
        transition = tasks.step(action, all_active(3))
    assert transition.reward.tolist() == [0.0 + 0.5, 5.0 - 1.0, 10.0 + 4.0]


@pytest.mark.parametrize("bound", ["float32", "float64"])
def test_actions_of_a_huge_range_go_through_as_they_are(bound: str) -> None:
    with playing(sound("HugeActions", kwargs={"bound": bound}), 3) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        transition = tasks.step(torch.tensor([[-1.0], [0.5], [4.0]]), all_active(3))
    assert transition.reward.tolist() == [-1.0, 0.5, 4.0]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("box", [1, 2.0**64]),
        ("choices", [0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
        ("part", [0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
        ("index", [1]),
    ],
)
def test_unsigned_64_bit_observations_arrive(kind: str, expected: list[float]) -> None:
    with playing(sound("UnsignedObservation", kwargs={"kind": kind})) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        assert tasks.step(zeros(tasks), all_active(2)).observation[0].tolist() == expected


def test_a_policy_s_nan_is_not_blamed_on_the_environment() -> None:
    with playing(sound("BoxActions")) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        with pytest.raises(ValueError, match="policy's actions hold NaN"):
            tasks.step(torch.full((2, 2), torch.nan), all_active(2))
        tasks.step(torch.zeros(2, 2), all_active(2))


def test_discrete_actions_begin_where_their_space_begins_and_images_are_flattened() -> None:
    with playing(sound("Counter")) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        assert tasks.step(torch.tensor([0, 2]), all_active(2)).observation[:, 2].tolist() == [5, 7]
    with playing(sound("ImageObservation")) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        observation = tasks.step(zeros(tasks), all_active(2)).observation
    assert observation.shape == (2, 16)
    assert (observation == 7).all()


@pytest.mark.parametrize("name", ["memory", "envs", "agent"])
def test_a_user_s_package_named_like_ours_is_the_one_that_is_imported(name: str, tmp_path: Path) -> None:
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "family.py").write_text("LENGTH = 6\n")
    (package / "maze.py").write_text(
        f"from {name}.family import LENGTH\nfrom sound_environments import Counter\n\n"
        "class Maze(Counter):\n    def __init__(self):\n        super().__init__(LENGTH)\n"
    )
    folder = str(FOLDER)
    with playing(family(f"{name}.maze:Maze", import_paths=(str(tmp_path), folder))) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        ended = [bool(tasks.step(zeros(tasks), all_active(2)).terminated.all()) for _ in range(6)]
    assert ended == [False] * 5 + [True]


def test_another_interpreter_can_run_the_worker() -> None:
    with playing(sound("Counter", python=sys.executable)) as tasks:
        assert tasks.begin(0, split=Split.TRAINING).shape == (2, 3)


def test_two_workers_are_stepped_at_once() -> None:
    with playing(sound("Counter")) as one, playing(sound("Counter")) as other:
        for tasks in (one, other):
            tasks.begin(0, split=Split.TRAINING)
        for _ in range(3):
            for tasks in (one, other):
                tasks.step_begin(zeros(tasks), all_active(2))
            assert one.step_end().reward.tolist() == other.step_end().reward.tolist()


def test_a_closed_batch_says_that_it_is_closed() -> None:
    tasks = opened(sound("Counter"))
    tasks.close()
    tasks.close()
    with pytest.raises(EnvsError, match="its worker is closed"):
        tasks.begin(0, split=Split.TRAINING)


def test_the_context_that_an_environment_gives_at_the_first_reset_of_a_task_has_a_digest() -> None:
    spec = sound("OfContext")
    seeds = [task.seed for task in draw_tasks(spec, Split.TRAINING, 0, 9)]
    with playing(spec, 8) as tasks:
        rows = list(range(8))
        tasks.begin(0, split=Split.TRAINING)
        first = given_contexts(tasks, rows)
        assert [digest is not None for digest in first] == [bool(seed % 2) for seed in seeds[:8]]
        assert all(digest is None or len(digest) == 16 for digest in first)
        for _ in range(6):
            tasks.step(zeros(tasks), all_active(8))
        assert given_contexts(tasks, rows) == first, "later episodes of a trial do not change it"
        described = [task.get("context") for task in tasks.describe_tasks(rows)]
        assert described == [digest and digest.hex() for digest in first]
        row = next(row for row in rows if first[row] is None)
        odd = next(index for index in range(9) if seeds[index] % 2)
        tasks.begin_row(row, odd, split=Split.TRAINING)
        assert given_contexts(tasks, [row]) == [first[odd]]
        tasks.begin(0, split=Split.TRAINING)
        assert given_contexts(tasks, rows) == first


def test_environments_that_give_no_context_have_none() -> None:
    with playing(sound("Counter"), 2) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        assert given_contexts(tasks, [1, 0]) == [None, None]
