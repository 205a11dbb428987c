from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from agent.learners.rl2.advantages import about_usual
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.minibatch import Minibatch, draw_minibatches
from agent.learners.rl2.parameters import policy_from_initialization
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.trials import TrialBatch, num_env_steps, trial_returns
from envs.family import FamilySource, FamilySpec, Split
from envs.registry import open_tasks
from envs.spaces import SpacePair
from tests.agent.learners.rl2.playing import LENGTHS, learner_for, play
from tests.agent.learners.rl2.scripted_tasks import (
    ALL_SPACES,
    CONTINUOUS,
    DISCRETE,
    IMAGES,
    MIXED,
    VECTOR,
    WIDE,
    MaskedTasks,
    ScriptedTasks,
)

SMALL = {
    "hidden_size": 16,
    "input_size": 12,
    "minibatch_steps": 10,
    "min_minibatch_trials": 1,
    "num_epochs": 2,
    "learned_keys": True,
}
FAMILIES: dict[str, SpacePair] = {
    "bandit@1": DISCRETE,
    "cart@2": VECTOR,
    "arm@3": CONTINUOUS,
    "car@4": MIXED,
    "cards@5": WIDE,
    "eye@6": IMAGES,
}
MASKED = {"cards@5"}


def practise(learner: RL2Learner, name: str, first_task: int) -> dict[str, float]:
    tasks = (MaskedTasks if name in MASKED else ScriptedTasks)(FAMILIES[name], LENGTHS)
    trials = collect_trials(
        learner.policy, tasks, first_task=first_task, split=Split.TRAINING, generator=learner.generator
    )
    return learner.update(name, trials)


def test_a_learner_restored_in_the_middle_goes_on_bit_identically(tmp_path: Path) -> None:
    def learner() -> RL2Learner:
        fresh = RL2Learner(RL2Config(**SMALL), device="cpu", seed=7)
        fresh.add_family("bandit@1", DISCRETE)
        return fresh

    def work(of: RL2Learner, steps: range) -> None:
        for step in steps:
            name = list(FAMILIES)[step % len(FAMILIES)]
            of.add_family(name, FAMILIES[name])
            practise(of, name, step)

    straight, broken = learner(), learner()
    work(straight, range(13))
    work(broken, range(6))
    save_file(broken.to_tensors(), tmp_path / "state.safetensors")
    meta = json.loads(json.dumps(broken.to_meta()))
    resumed = RL2Learner.from_tensors(RL2Config(**SMALL), load_file(tmp_path / "state.safetensors"), meta, device="cpu")
    work(resumed, range(6, 13))
    expected, found = straight.to_tensors(), resumed.to_tensors()
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert straight.to_meta() == resumed.to_meta()


def test_the_seed_decides_the_parameters_and_the_global_random_state_does_not() -> None:
    first = learner_for(VECTOR).initialization()
    torch.rand(3)
    second = learner_for(VECTOR).initialization()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
def test_a_gradient_shares_its_memory_with_no_other(spaces: SpacePair) -> None:
    """Clipping scales them in place: of two in one place each would be scaled twice."""
    learner = learner_for(spaces)
    learner.update("scripted", play(learner, spaces))
    gradients = {name: p.grad for name, p in learner._named_parameters() if p.grad is not None}
    places = [gradient.untyped_storage().data_ptr() for gradient in gradients.values()]
    assert [name for name, place in zip(gradients, places, strict=True) if places.count(place) > 1] == []


@pytest.mark.parametrize("spaces", ALL_SPACES.values(), ids=ALL_SPACES.keys())
def test_a_policy_from_an_initialization_acts_as_the_learner_does(spaces: SpacePair) -> None:
    learner = learner_for(spaces)
    learner.update("scripted", play(learner, spaces))
    policy = policy_from_initialization(learner.config, learner.initialization(), [spaces])
    tasks = ScriptedTasks(spaces, LENGTHS)
    returns = [
        trial_returns(
            collect_trials(
                acting, tasks, first_task=3, split=Split.HELD_OUT, generator=torch.Generator().manual_seed(0)
            )
        )
        for acting in (learner.policy, policy)
    ]
    assert torch.equal(*returns)


def test_a_policy_does_not_know_the_spaces_that_its_parameters_do_not_cover() -> None:
    learner = learner_for(VECTOR)
    policy = policy_from_initialization(learner.config, learner.initialization(), [VECTOR, DISCRETE])
    assert policy.knows(VECTOR)
    assert not policy.knows(DISCRETE)


def test_held_out_trials_are_not_learned_from() -> None:
    learner = learner_for(VECTOR)
    trials = collect_trials(
        learner.policy,
        ScriptedTasks(VECTOR, LENGTHS),
        first_task=0,
        split=Split.HELD_OUT,
        generator=learner.generator,
    )
    with pytest.raises(ValueError, match="held out"):
        learner.update("scripted", trials)


def with_spoiled_padding(trials: TrialBatch) -> TrialBatch:
    padding = ~trials.is_valid
    inputs = replace(
        trials.inputs,
        observation=trials.inputs.observation.masked_fill(padding.unsqueeze(-1), 1e3),
        context=trials.inputs.context.masked_fill(padding.unsqueeze(-1), -50.0),
    )
    assert trials.features is not None
    return replace(
        trials,
        inputs=inputs,
        reward=trials.reward.masked_fill(padding, 1e6),
        log_prob=trials.log_prob.masked_fill(padding, -20.0),
        features=trials.features.masked_fill(padding.unsqueeze(-1), 77.0),
    )


def test_padded_steps_touch_no_statistic_and_no_gradient() -> None:
    plain, spoiled = (
        learner_for(VECTOR, minibatch_steps=10, min_minibatch_trials=1),
        learner_for(VECTOR, minibatch_steps=10, min_minibatch_trials=1),
    )
    losses = plain.update("scripted", play(plain, VECTOR))
    spoiled_losses = spoiled.update("scripted", with_spoiled_padding(play(spoiled, VECTOR)))
    assert losses == spoiled_losses
    expected, found = plain.to_tensors(), spoiled.to_tensors()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_a_minibatch_has_advantages_about_the_usual_in_units_of_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learner_for(VECTOR, max_minibatches=1)
    trials = play(learner, VECTOR)
    valid = trials.is_valid
    advantage = torch.randn(valid.shape, generator=torch.Generator().manual_seed(0)).add(5.0).masked_fill(~valid, 0.0)
    monkeypatch.setattr("agent.learners.rl2.targets.trial_advantages", lambda **_: advantage)
    seen: list[Minibatch] = []

    def step(name: str, spaces: SpacePair, minibatch: Minibatch) -> torch.Tensor:
        seen.append(minibatch)
        return learner.minibatch_step(name, spaces, minibatch)

    learner.update("scripted", trials, num_epochs=1, minibatch_step=step)
    [found] = [minibatch.targets.advantage[minibatch.steps.is_valid] for minibatch in seen]
    expected = (about_usual(advantage, valid) / advantage[valid].square().mean().sqrt())[valid]
    torch.testing.assert_close(found.sort().values, expected.sort().values, rtol=1e-4, atol=1e-5)


def test_minibatches_are_whole_trials_and_every_trial_is_in_one() -> None:
    learner = learner_for(VECTOR, minibatch_steps=5, min_minibatch_trials=1)
    lengths = torch.tensor([9, 3, 14, 5, 5, 9])
    minibatches = list(draw_minibatches(lengths, learner.config, generator=learner.generator))
    assert sorted(torch.cat([rows for rows, _ in minibatches]).tolist()) == [0, 1, 2, 3, 4, 5]
    assert [num_steps for _, num_steps in minibatches] == [int(lengths[rows].max()) for rows, _ in minibatches]


def test_a_family_leaves_families_of_other_spaces_alone() -> None:
    learner = RL2Learner(RL2Config(**SMALL), device="cpu", seed=7)
    for name, spaces in FAMILIES.items():
        learner.add_family(name, spaces)
        practise(learner, name, 0)
    before = learner.to_tensors()
    practise(learner, "cart@2", 1)
    after = learner.to_tensors()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    allowed = (VECTOR.key, "cart@2", "generator")
    assert [name for name in moved if not any(part in name for part in allowed)] == []
    assert any(VECTOR.key in name for name in moved)


def core_scale(learner: RL2Learner, spaces: SpacePair) -> float:
    parameter = learner.policy.pair(spaces).core.weight_hidden
    groups = learner._optimizer._adam.param_groups
    return float(next(group["scale"] for group in groups if any(one is parameter for one in group["params"])))


def restored(learner: RL2Learner, *, num_updates: int | None = None) -> RL2Learner:
    """Return a learner with the state of another, whose families had so many updates; None leaves their number."""
    meta = learner.to_meta()
    for family in meta["families"]:
        family["num_updates"] = family["num_updates"] if num_updates is None else num_updates
    return RL2Learner.from_tensors(learner.config, learner.to_tensors(), meta, device="cpu")


@pytest.mark.parametrize(("num_updates", "scale"), [(0, 1.0), (30, 0.75), (60, 0.5), (600, 0.5)])
def test_a_core_learns_at_the_full_rate_at_first(num_updates: int, scale: float) -> None:
    learner = restored(learner_for(VECTOR), num_updates=num_updates)
    found: list[float] = []

    def step(name: str, spaces: SpacePair, minibatch: Minibatch) -> torch.Tensor:
        found.append(core_scale(learner, spaces))
        return learner.minibatch_step(name, spaces, minibatch)

    learner.update("scripted", play(learner, VECTOR), minibatch_step=step)
    assert found
    assert found == [pytest.approx(scale)] * len(found)


def test_a_core_that_another_family_trains_moves_at_the_same_rate_after_a_restart() -> None:
    """A repair and a rehearsal train cores of families that are not practised just then."""
    learner = learner_for(VECTOR)
    learner.add_family("indices", DISCRETE)
    for first_task in range(3):
        learner.update("scripted", play(learner, VECTOR, first_task=first_task))
    resumed = restored(learner)
    core = f"policy/pairs.{VECTOR.key}.core.weight_hidden"
    for one in (learner, resumed):
        one.set_learning_rate(1e-3)
        one.descend(one.policy.pair(VECTOR).core.weight_hidden.square().sum())
    assert torch.equal(learner.to_tensors()[core], resumed.to_tensors()[core])


def test_a_value_that_is_not_finite_is_found_wherever_practice_or_rehearsal_of_a_family_may_change_it() -> None:
    learner = RL2Learner(RL2Config(**SMALL), device="cpu", seed=7)
    other_images = replace(IMAGES, action=VECTOR.action)
    for name, spaces in {"eye@1": IMAGES, "eye@2": other_images, "cart@3": VECTOR, "cart@4": VECTOR}.items():
        learner.add_family(name, spaces)
    looks = (None, *([name] for name in learner.families), ["eye@1", "cart@4"], [])
    assert all(learner.is_finite(names) for names in looks)
    learner.policy.pair(other_images).reward_scale.variance.fill_(math.inf)
    assert [learner.is_finite(names) for names in looks] == [False, False, False, True, True, False, True]
    learner.policy.pair(other_images).reward_scale.variance.fill_(1.0)
    learner._critic("cart@3").mean.fill_(math.nan)
    assert [learner.is_finite(names) for names in looks] == [False, True, True, False, True, True, True]
    learner._critic("cart@3").mean.fill_(0.0)
    learner.policy.pair(VECTOR).reward_scale.variance.fill_(math.nan)
    assert [learner.is_finite(names) for names in looks] == [False, True, True, False, False, False, True]


def test_a_core_that_two_families_share_learns_at_half_the_rate() -> None:
    learner = learner_for(VECTOR)
    learner.add_family("indices", DISCRETE)
    assert core_scale(learner, VECTOR) == 1.0
    learner.add_family("another", VECTOR)
    assert (core_scale(learner, VECTOR), core_scale(learner, DISCRETE)) == (0.5, 1.0)
    resumed = restored(learner)
    assert (core_scale(resumed, VECTOR), core_scale(resumed, DISCRETE)) == (0.5, 1.0)


def test_loading_an_initialization_keeps_the_pairs_it_does_not_cover() -> None:
    giver, taker = learner_for(VECTOR), RL2Learner(RL2Config(hidden_size=16, input_size=12), device="cpu", seed=9)
    for name, spaces in FAMILIES.items():
        taker.add_family(name, spaces)
    before = taker.initialization()
    taker.load_initialization(giver.initialization())
    after = taker.initialization()
    name = f"pairs.{VECTOR.key}.core.weight_hidden"
    assert torch.equal(after[name], giver.initialization()[name])
    covered = [name for name in before if DISCRETE.key in name]
    assert all(torch.equal(before[name], after[name]) for name in covered)


def test_a_two_armed_bandit_is_learned_in_seconds() -> None:
    spec = FamilySpec(
        name="two_arms",
        source=FamilySource.TENSOR,
        entry="bernoulli_bandits",
        kwargs={"num_arms": 2},
        episodes_per_trial=6,
    )
    config = RL2Config(hidden_size=16, input_size=16, num_trials_tensor=128, num_epochs=4, anneal_updates=20)
    learner = RL2Learner(config, device="cpu", seed=1)
    tasks = open_tasks(spec, None, num_trials=128, device="cpu")
    learner.add_family("two_arms", tasks.spaces)
    for update in range(20):
        trials = collect_trials(
            learner.policy, tasks, first_task=update * 128, split=Split.TRAINING, generator=learner.generator
        )
        assert num_env_steps(trials) == 6 * 128
        learner.update("two_arms", trials)
    many = open_tasks(spec, None, num_trials=2048, device="cpu")
    held_out = collect_trials(learner.policy, many, first_task=0, split=Split.HELD_OUT, generator=learner.generator)
    # Random pulls give 3.0, and playing optimally 3.508; the standard error is .03.
    assert float(trial_returns(held_out).mean()) > 3.25


def test_a_critic_that_overestimates_final_observations_does_not_raise_itself_without_end() -> None:
    """Truncated episodes alone: only the critic says what follows, and it says 5% more at final observations."""
    lengths = [[-4, -4]] * 4
    learner = learner_for(VECTOR)
    critic = learner._critic("scripted")
    evaluate, bounded = critic.value, critic.bounded
    critic.bounded = lambda value, discount: bounded(value * 1.05 + 0.1, discount)  # type: ignore[method-assign]
    for first_task in range(60):
        learner.update("scripted", play(learner, VECTOR, lengths, first_task=first_task))
    discount = learner.config.discount_for(8.0)
    assert float(critic.mean) <= float(critic.highest_reward) / (1.0 - discount) + 1.0
    assert evaluate(torch.zeros(1, 28)).isfinite().all()


def test_a_learner_whose_critic_had_diverged_learns_again() -> None:
    learner = learner_for(VECTOR)
    critic = learner._critic("scripted")
    with torch.no_grad():
        critic.mean.fill_(1.8e17)
        critic.mean_square.fill_(7e34)
        critic.advantage_square.fill_(4e32)
    metrics = learner.update("scripted", play(learner, VECTOR, [[-4, -4]] * 4))
    assert learner.is_finite()
    assert all(math.isfinite(value) for value in metrics.values())
    assert abs(float(critic.mean)) < 1e4


def test_a_checkpoint_without_ranges_of_rewards_continues_with_empty_ones() -> None:
    learner = learner_for(VECTOR)
    play_and_learn = learner.update("scripted", play(learner, VECTOR))
    assert play_and_learn
    former = {name: tensor for name, tensor in learner.to_tensors().items() if not name.endswith("est_reward")}
    resumed = RL2Learner.from_tensors(learner.config, former, learner.to_meta(), device="cpu")
    assert float(resumed._critic("scripted").highest_reward) == 0.0
    assert torch.equal(resumed._critic("scripted").mean, learner._critic("scripted").mean)
