"""Tests of variations that are completed from the environment: which are taken, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from envs.declaration import family_from_declaration
from envs.errors import FamilySpecError
from envs.family import FamilySpec, Split
from envs.gymnasium.automatic_variations import complete
from envs.gymnasium.batch import WorkerTaskBatch
from envs.gymnasium.task_drawing import draw_tasks
from envs.gymnasium.variations import Distribution, Variation, is_open
from tests.envs.families import FOLDER, LIMITS, all_active, opened


def completed(entry: str, *variations: str, **settings: Any) -> FamilySpec:
    declared = family_from_declaration(entry, variations=variations, import_paths=[str(FOLDER)], **settings)
    return complete(declared, limits=LIMITS)


def variations_of(entry: str, *variations: str) -> dict[str, Variation]:
    return {variation.name: variation for variation in completed(entry, *variations).variations}


def test_auto_takes_what_fits_a_vector_and_discrete_actions() -> None:
    spec = completed("CartPole-v1", "auto")
    found = {variation.name: variation for variation in spec.variations}
    assert not is_open(spec.variations)
    assert found["actions"].options == {"sizes": [2], "share": 0.5}
    assert "observations" not in found, "permuting a vector takes far more practice"
    assert (found["observation_scales"].low, found["observation_scales"].high) == (0.5, 2.0)
    assert found["sticky_actions"].high == 0.25
    assert found["reward_delay"].high == 3.0
    assert (found["gravity"].low, found["gravity"].high) == (7.84, 12.25)
    assert {"length", "masspole", "total_mass", "force_mag", "tau"} < found.keys()
    assert FamilySpec.from_json(spec.to_json()) == spec


def test_auto_mirrors_continuous_actions_and_leaves_the_order_of_a_single_one() -> None:
    found = variations_of("Pendulum-v1", "auto")
    assert found["action_signs"].options == {"size": 1, "share": 0.5}
    assert "actions" not in found


def test_auto_permutes_an_index_and_does_not_scale_it() -> None:
    found = variations_of("FrozenLake-v1", "auto")
    assert found["observations"].options == {"sizes": [16], "share": 0.5}
    assert "observation_scales" not in found


def test_a_variation_that_is_asked_for_by_name_is_made_in_every_task() -> None:
    assert variations_of("CartPole-v1", "actions")["actions"].options == {"sizes": [2]}


def test_completing_again_finds_the_same() -> None:
    assert completed("CartPole-v1", "auto") == completed("CartPole-v1", "auto")


def test_a_family_without_automatic_variations_is_left_as_it_is() -> None:
    spec = family_from_declaration("no.such.module:Nothing", variations=["length=1:2"])
    assert complete(spec, limits=LIMITS) is spec


def test_only_numbers_that_change_the_dynamics_and_stay_after_a_reset_are_varied() -> None:
    found = variations_of("sound_environments:ManyNumbers", "numbers=2")
    assert found.keys() == {"push", "of_the_class"}
    assert (found["push"].low, found["push"].high) == (-3.0, -0.75)
    assert found["push"].distribution is Distribution.UNIFORM
    assert (found["of_the_class"].low, found["of_the_class"].high) == (1.0, 4.0)
    assert found["of_the_class"].distribution is Distribution.LOG_UNIFORM


def test_numbers_that_were_declared_keep_their_own_range() -> None:
    found = variations_of("sound_environments:ManyNumbers", "push=-9:-8", "numbers")
    assert (found["push"].low, found["push"].high) == (-9.0, -8.0)
    assert found.keys() == {"push", "of_the_class"}


@pytest.mark.parametrize(
    ("entry", "variation", "words"),
    [
        ("sound_environments:IgnoresSeeds", "numbers", "does not replay"),
        ("sound_environments:Counter", "numbers", "no float among its public attributes"),
        ("FrozenLake-v1", "observations=scale", "an index is to be scaled"),
        ("Taxi-v4", "observations", "more than 256"),
    ],
)
def test_a_variation_that_does_not_fit_is_refused(entry: str, variation: str, words: str) -> None:
    with pytest.raises(FamilySpecError, match=words):
        completed(entry, variation)


def test_opening_a_family_that_was_not_completed_is_refused() -> None:
    with pytest.raises(FamilySpecError, match="not completed"):
        opened(family_from_declaration("CartPole-v1", variations=["auto"]))


def played(tasks: WorkerTaskBatch, num_steps: int) -> list[torch.Tensor]:
    tasks.begin(0, split=Split.TRAINING)
    generator = torch.Generator().manual_seed(0)
    seen = []
    for _ in range(num_steps):
        transition = tasks.step(torch.randint(2, (2,), generator=generator), all_active(2))
        seen.append(torch.cat([transition.observation, transition.reward.unsqueeze(1)], 1))
    return seen


def test_tasks_of_all_variations_replay_in_another_worker() -> None:
    spec = completed("CartPole-v1", "auto")
    runs = []
    for _ in range(2):
        tasks = opened(spec)
        try:
            runs.append(torch.stack(played(tasks, 60)))
        finally:
            tasks.close()
    assert torch.equal(runs[0], runs[1])


def test_permuted_actions_and_observations_are_those_of_the_environment_in_another_order() -> None:
    spec = completed("CartPole-v1", "actions", "observations", "observations=scale")
    plain = family_from_declaration("CartPole-v1")
    [task] = draw_tasks(spec, Split.TRAINING, 0, 1)
    [order], scales = task.interface["observations"], torch.tensor(task.interface["observation_scales"])
    changed, unchanged = opened(spec, 1), opened(plain, 1)
    try:
        first, raw = changed.begin_chosen([task]), unchanged.begin_chosen([task])
        assert torch.equal(first, raw[:, order] * scales)
        for action in (0, 1, 1, 0):
            taken = task.interface["actions"][0][action]
            seen = changed.step(torch.tensor([action]), all_active(1))
            expected = unchanged.step(torch.tensor([taken]), all_active(1))
            assert torch.equal(seen.observation, expected.observation[:, order] * scales)
            assert torch.equal(seen.final_observation, expected.final_observation[:, order] * scales)
            assert torch.equal(seen.reward, expected.reward)
    finally:
        changed.close()
        unchanged.close()


def test_a_stored_trial_says_how_its_task_was_changed() -> None:
    tasks = opened(completed("CartPole-v1", "actions", "rewards"))
    try:
        tasks.begin(3, split=Split.HELD_OUT)
        [row] = tasks.describe_tasks([1])
        assert tasks.task_parameters().shape == (2, 3)
    finally:
        tasks.close()
    assert row["interface"].keys() == {"actions", "reward_delay"}
