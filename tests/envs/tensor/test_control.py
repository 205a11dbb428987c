"""The tensor-native CartPole is Gymnasium's; 2-D navigation is the paper's; both answer as every task batch does."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from envs.admission import probe
from envs.declaration import family_from_declaration
from envs.default_families import default_stream
from envs.errors import FamilySpecError
from envs.family import Split
from envs.gymnasium.host.actions import describe_action
from envs.gymnasium.host.spaces import describe_observation
from envs.random_actions import random_actions
from envs.registry import open_tasks
from envs.task_batch import TaskBatch, Transition
from envs.tensor.options import RANGES

PLAIN = {"length": 0.5, "masspole": 0.1, "masscart": 1.0, "force_mag": 10.0, "gravity": 9.8}
FAMILIES = ("varied_cartpole", "navigation")
every_family = pytest.mark.parametrize("entry", FAMILIES)


def opened(
    entry: str,
    num_trials: int,
    *,
    limit: int | None = None,
    rows_per_task: int = 1,
    kwargs: dict[str, Any] | None = None,
) -> TaskBatch:
    spec = family_from_declaration(entry, max_episode_steps=limit, kwargs=kwargs)
    return open_tasks(spec, None, num_trials=num_trials, device="cpu", rows_per_task=rows_per_task)


def on(num_trials: int) -> torch.Tensor:
    return torch.ones(num_trials, dtype=torch.bool)


def play(tasks: TaskBatch, steps: int, *, first_task: int = 0) -> list[Transition]:
    generator = torch.Generator().manual_seed(1)
    tasks.begin(first_task, split=Split.TRAINING)
    actions = [random_actions(tasks.spaces.action, tasks.num_trials, generator) for _ in range(steps)]
    return [tasks.step(action, on(tasks.num_trials)) for action in actions]


def gymnasium_twin(parameters: list[float]) -> Any:
    env = gymnasium.make("CartPole-v1", disable_env_checker=True).unwrapped
    for name, value in zip(RANGES, parameters, strict=True):
        setattr(env, name, value)
    env.total_mass = env.masspole + env.masscart
    env.polemass_length = env.masspole * env.length
    env.reset(seed=0)
    return env


def test_every_step_of_a_cartpole_is_gymnasiums_from_the_same_state() -> None:
    tasks = opened("varied_cartpole", 24)
    observation = tasks.begin(0, split=Split.TRAINING)
    twins = [gymnasium_twin(parameters) for parameters in tasks.task_parameters().tolist()]
    generator = torch.Generator().manual_seed(0)
    num_terminated = 0
    for _ in range(120):
        action = random_actions(tasks.spaces.action, 24, generator)
        transition = tasks.step(action, on(24))
        for row, twin in enumerate(twins):
            twin.state, twin.steps_beyond_terminated = observation[row].double().numpy(), None
            following, reward, terminated, _, _ = twin.step(int(action[row]))
            np.testing.assert_allclose(transition.final_observation[row].numpy(), following, rtol=2e-6, atol=2e-7)
            assert (transition.reward[row].item(), transition.terminated[row].item()) == (reward, terminated)
        num_terminated += int(transition.terminated.sum())
        observation = transition.observation
    assert num_terminated > 24


def test_whole_episodes_of_a_cartpole_follow_gymnasiums_in_double_precision() -> None:
    tasks = opened("varied_cartpole", 16)
    state = tasks.begin(0, split=Split.HELD_OUT)
    twins = [gymnasium_twin(parameters) for parameters in tasks.task_parameters().tolist()]
    for row, twin in enumerate(twins):
        twin.state = state[row].double().numpy()
    generator = torch.Generator().manual_seed(2)
    active = on(16)
    while active.any():
        action = random_actions(tasks.spaces.action, 16, generator)
        transition = tasks.step(action, active)
        for row in active.nonzero().flatten().tolist():
            following, _, terminated, _, _ = twins[row].step(int(action[row]))
            np.testing.assert_allclose(transition.final_observation[row].numpy(), following, rtol=1e-4, atol=1e-4)
            assert transition.terminated[row].item() == terminated
        active = active & ~transition.terminated


def test_a_cartpole_has_the_spaces_of_gymnasiums() -> None:
    env = gymnasium.make("CartPole-v1")
    action, observation = describe_action(env.action_space), describe_observation(env.observation_space)
    spaces = opened("varied_cartpole", 1).spaces.to_json()
    assert dict(spaces["observation"]) == observation
    assert {
        key: list(value) if isinstance(value, tuple) else value for key, value in spaces["action"].items()
    } == action


def test_a_cartpole_varies_as_the_family_of_the_default_stream() -> None:
    cartpole = next(spec for spec in default_stream() if spec.name == "cartpole")
    declared = {v.name: (v.low, v.high) for v in cartpole.variations if v.name in RANGES}
    assert declared == RANGES
    tasks = opened("varied_cartpole", 4_000)
    tasks.begin(0, split=Split.TRAINING)
    parameters, bounds = tasks.task_parameters(), torch.tensor(list(RANGES.values()))
    assert ((parameters >= bounds[:, 0]) & (parameters <= bounds[:, 1])).all()
    shares = ((parameters - bounds[:, 0]) / (bounds[:, 1] - bounds[:, 0])).mean(0)
    torch.testing.assert_close(shares, torch.full((5,), 0.5), rtol=0, atol=0.02)


def test_what_is_set_of_a_cartpole_is_the_same_in_every_task() -> None:
    tasks = opened("varied_cartpole", 3, kwargs=PLAIN)
    tasks.begin(0, split=Split.TRAINING)
    torch.testing.assert_close(tasks.task_parameters(), torch.tensor([list(PLAIN.values())]).expand(3, -1))


@pytest.mark.parametrize("kwargs", [{"colour": 1.0}, {"length": "long"}, {"length": 0.0}, {"length": [2.0, 1.0]}])
def test_a_setting_that_is_no_physics_is_refused(kwargs: dict[str, Any]) -> None:
    with pytest.raises(FamilySpecError, match="sets nothing of a varied CartPole"):
        opened("varied_cartpole", 1, kwargs=kwargs)


def test_a_cartpole_that_stands_at_the_limit_is_truncated_and_one_that_falls_there_terminates() -> None:
    falls = torch.stack([t.terminated for t in play(opened("varied_cartpole", 64), 150)])
    assert falls.any(0).all()
    first_fall = falls.float().argmax(0) + 1
    limit = int(first_fall.median())
    limited = play(opened("varied_cartpole", 64, limit=limit), limit)
    last = limited[-1]
    assert torch.equal(last.truncated, first_fall > limit)
    assert last.terminated[first_fall == limit].all()
    assert not any(t.truncated.any() for t in limited[:-1])
    assert (last.final_observation[last.truncated] != last.observation[last.truncated]).any()


def test_every_episode_of_a_cartpole_starts_somewhere_else() -> None:
    tasks = opened("varied_cartpole", 32)
    starts = torch.cat([t.observation[t.terminated] for t in play(tasks, 200)])
    assert len(starts) > 150
    assert starts.abs().max() <= 0.05
    assert len(starts.unique(dim=0)) == len(starts)
    assert starts.mean().item() == pytest.approx(0.0, abs=0.005)
    assert starts.var().item() == pytest.approx(0.1**2 / 12, rel=0.1)


def test_a_point_moves_by_its_clipped_velocity_and_pays_its_squared_distance() -> None:
    tasks = opened("navigation", 3)
    assert torch.equal(tasks.begin(0, split=Split.TRAINING), torch.zeros(3, 2))
    goal = tasks.task_parameters()
    transition = tasks.step(torch.tensor([[0.5, -0.5], [7.0, 0.0], [0.0, -7.0]]), on(3))
    expected = torch.tensor([[0.05, -0.05], [0.1, 0.0], [0.0, -0.1]])
    torch.testing.assert_close(transition.observation, expected)
    torch.testing.assert_close(transition.reward, -(expected - goal).square().sum(1))


def test_walking_straight_ends_the_episode_at_the_goal() -> None:
    tasks = opened("navigation", 50)
    position = tasks.begin(0, split=Split.HELD_OUT)
    goal, has_arrived = tasks.task_parameters(), torch.zeros(50, dtype=torch.bool)
    for _ in range(6):
        transition = tasks.step((goal - position) / 0.1, on(50) & ~has_arrived)
        arrived = transition.terminated
        assert ((transition.final_observation - goal).norm(dim=1)[arrived] <= 0.01 + 1e-6).all()
        assert (transition.observation[arrived] == 0).all()
        has_arrived, position = has_arrived | arrived, transition.observation
    assert has_arrived.all()


def test_an_episode_of_navigation_is_truncated_at_its_horizon() -> None:
    tasks = opened("navigation", 40)
    tasks.begin(0, split=Split.TRAINING)
    still = [tasks.step(torch.zeros(40, 2), on(40)) for _ in range(101)]
    assert still[99].truncated.all()
    assert not any(t.truncated.any() for t in [*still[:99], still[100]])
    assert [t.truncated.all().item() for t in play(opened("navigation", 2, limit=3), 7)] == [
        i % 3 == 2 for i in range(7)
    ]


def test_goals_are_uniform_in_their_square() -> None:
    tasks = opened("navigation", 5_000)
    tasks.begin(0, split=Split.TRAINING)
    goals = tasks.task_parameters()
    assert goals.abs().max() <= 0.5
    assert goals.mean().item() == pytest.approx(0.0, abs=0.01)
    assert goals.var().item() == pytest.approx(1 / 12, abs=0.003)


@every_family
def test_the_same_arguments_replay_the_same_tasks(entry: str) -> None:
    for one, other in zip(play(opened(entry, 8), 60), play(opened(entry, 8), 60), strict=True):
        assert torch.equal(one.observation, other.observation)
        assert torch.equal(one.reward, other.reward)


@every_family
def test_a_task_is_the_same_in_a_batch_of_another_size(entry: str) -> None:
    large, small = opened(entry, 8, limit=15), opened(entry, 2, limit=15)
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(large.begin(0, split=Split.TRAINING)[5:7], small.begin(5, split=Split.TRAINING))
    assert torch.equal(large.task_parameters()[5:7], small.task_parameters())
    assert large.describe_tasks([5, 6]) == small.describe_tasks([0, 1])
    for _ in range(50):
        action = random_actions(large.spaces.action, 8, generator)
        one, other = large.step(action, on(8)), small.step(action[5:7], on(2))
        assert torch.equal(one.observation[5:7], other.observation)
        assert torch.equal(one.reward[5:7], other.reward)


@every_family
def test_splits_hold_different_tasks(entry: str) -> None:
    tasks = opened(entry, 200)
    tasks.begin(0, split=Split.TRAINING)
    training = tasks.task_parameters()[:, 0].clone()
    tasks.begin(0, split=Split.HELD_OUT)
    assert torch.corrcoef(torch.stack([training, tasks.task_parameters()[:, 0]]))[0, 1].abs() < 0.2


@every_family
def test_an_inactive_row_repeats_its_last_observation_and_earns_nothing(entry: str) -> None:
    tasks = opened(entry, 4, limit=9)
    tasks.begin(0, split=Split.TRAINING)
    generator = torch.Generator().manual_seed(4)
    last = tasks.step(random_actions(tasks.spaces.action, 4, generator), on(4)).observation
    active = torch.tensor([True, False, True, True])
    for _ in range(30):
        transition = tasks.step(random_actions(tasks.spaces.action, 4, generator), active)
        assert torch.equal(transition.observation[1], last[1])
        assert torch.equal(transition.final_observation[1], last[1])
        assert transition.reward[1] == 0
        assert not (transition.terminated | transition.truncated)[1]


@every_family
def test_an_observation_does_not_change_after_it_was_given(entry: str) -> None:
    tasks = opened(entry, 4)
    first = tasks.begin(0, split=Split.TRAINING)
    kept = first.clone()
    tasks.step(random_actions(tasks.spaces.action, 4, torch.Generator().manual_seed(5)), on(4))
    assert torch.equal(first, kept)


@pytest.mark.parametrize("entry", ["bernoulli_bandits", "tabular_mdps", "varied_cartpole", "navigation"])
def test_the_rows_of_a_task_share_it_and_the_first_is_the_task_played_alone(entry: str) -> None:
    wide, alone = opened(entry, 6, rows_per_task=3), opened(entry, 2)
    assert isinstance(wide, TaskBatch)
    generator = torch.Generator().manual_seed(6)
    wide.begin(4, split=Split.TRAINING)
    alone.begin(4, split=Split.TRAINING)
    assert torch.equal(wide.task_parameters(), alone.task_parameters().repeat_interleave(3, 0))
    assert [task["index"] for task in wide.describe_tasks(list(range(6)))] == [4, 4, 4, 5, 5, 5]
    for _ in range(30):
        action = random_actions(wide.spaces.action, 6, generator)
        one, other = wide.step(action, on(6)), alone.step(action[::3], on(2))
        assert torch.equal(one.observation[::3], other.observation)
        assert torch.equal(one.reward[::3], other.reward)


def test_the_rows_of_a_task_have_noise_of_their_own() -> None:
    starts = opened("varied_cartpole", 6, rows_per_task=3).begin(0, split=Split.TRAINING)
    assert len(starts.unique(dim=0)) == 6
    bandits = opened("bernoulli_bandits", 400, rows_per_task=400)
    bandits.begin(0, split=Split.TRAINING)
    paid = torch.stack([bandits.step(torch.zeros(400, dtype=torch.int64), on(400)).reward for _ in range(10)])
    assert paid.mean().item() == pytest.approx(bandits.task_parameters()[0, 0].item(), abs=0.04)
    assert len(paid.unique(dim=1).T) > 5


def test_rows_that_are_no_whole_tasks_and_rows_of_a_worker_are_refused() -> None:
    with pytest.raises(ValueError, match="not a multiple of"):
        opened("navigation", 5, rows_per_task=2)
    with pytest.raises(FamilySpecError, match="stepped by a worker"):
        opened("CartPole-v1", 4, rows_per_task=2)


@pytest.mark.slow
@pytest.mark.parametrize(("entry", "random_return"), [("varied_cartpole", 270), ("navigation", -503)])
def test_it_is_admitted_like_any_family(entry: str, random_return: float) -> None:
    admission = probe(family_from_declaration(entry))
    # The default stream's cartpole earns 81 at random in 3 episodes; these trials have 10. A random walk's squared
    # distance is 2 · 0.1²/3 · t + 2/12 at step t: 50.3 in 100 steps.
    assert admission.random_return == pytest.approx(random_return, rel=0.1)
    assert admission.random_standard_error > 0
