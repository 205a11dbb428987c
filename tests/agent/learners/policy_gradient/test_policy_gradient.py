"""The learners of policies: numbers worked by hand, identities, gradients, and what every one of them owes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import safetensors.torch
import torch

from agent.learners.config_json import config_from_json, config_to_json
from agent.learners.factory import build_policy_learner, restore_policy_learner
from agent.learners.policy_gradient.adaptation import (
    clip_by_task,
    clipped_loss,
    divergence,
    generator_on,
    inner_step,
    play_and_adapt,
    surrogate_loss,
)
from agent.learners.policy_gradient.episodes import Play
from agent.learners.policy_gradient.loops import adapt, adapt_to
from agent.learners.policy_gradient.maml import MAMLPolicy, MAMLPolicyConfig
from agent.learners.policy_gradient.meta_sgd import MetaSGDPolicy, MetaSGDPolicyConfig
from agent.learners.policy_gradient.policy import AdaptedPolicies, PolicyConfig
from agent.learners.policy_gradient.protocol import PolicyLearner
from agent.learners.policy_gradient.reptile import ReptilePolicy, ReptilePolicyConfig
from agent.learners.registry import UnknownLearnerError
from envs.declaration import family_from_declaration
from envs.family import Split
from envs.registry import open_tasks
from envs.spaces import SpacePair
from tests.agent.learners.cases import assert_gradient_is_finite_difference, generator
from tests.agent.learners.policy_gradient.policy_cases import (
    NAVIGATION,
    SHORT,
    SMALL,
    TINY,
    TWO_ARMS,
    double,
    navigation,
    of_task,
    pulls,
    random_experience,
    two_armed_policy,
)

LOGIT = math.log(3.0)  # π(arm 0) = .75
MAML = MAMLPolicyConfig(round=SHORT, policy=SMALL, num_inner_steps=2, num_outer_steps=2)
META_SGD = MetaSGDPolicyConfig(round=SHORT, policy=SMALL, num_outer_steps=2)
REPTILE = ReptilePolicyConfig(round=SHORT, policy=SMALL, num_inner_steps=2)
CASES: dict[str, tuple[str, Any]] = {
    "maml": ("maml-policy", MAML),
    "maml of first order": ("maml-policy", replace(MAML, is_first_order=True)),
    "joint training": ("maml-policy", replace(MAML, num_inner_steps=0, num_adapt_steps=1)),
    "reptile": ("reptile-policy", REPTILE),
    "meta-sgd": ("meta-sgd-policy", META_SGD),
}
every_learner = pytest.mark.parametrize("case", list(CASES))


def build(case: str, spaces: SpacePair = NAVIGATION) -> PolicyLearner:
    name, config = CASES[case]
    return build_policy_learner(name, spaces, config, generator=generator())


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def two_armed_maml(**settings: Any) -> MAMLPolicy:
    config = MAMLPolicyConfig(
        inner_lr=0.1, max_inner_norm=None, num_outer_steps=1, policy=PolicyConfig(hidden_sizes=()), **settings
    )
    learner = MAMLPolicy(TWO_ARMS, config, generator=generator())
    learner.policy.load_state_dict(two_armed_policy(preference=LOGIT).state_dict())
    return learner


# Numbers worked by hand. With u = log π(0)/π(1) and pulls of both arms that paid +1 and -1,
# J(u) = ½ (σ(u) / .75 - (1 - σ(u)) / .25), so J' = σ' (⅔ + 2) = .1875 · 2.667 = .5 and J'' = σ'' · 2.667 = -.25.
# u is the sum of four parameters with signs + - + -, so an inner step with α = .1 adds 4 · .1 · .5 = .2 to it.


def test_an_inner_step_on_two_arms_is_the_number_worked_by_hand() -> None:
    policy, experience = two_armed_policy(preference=LOGIT), pulls([0, 1], [1.0, -1.0], preference=LOGIT)
    adapted = inner_step(policy, policy.shared_parameters(), experience, rates=0.1, max_norm=None)
    torch.testing.assert_close(adapted["body.bias_0"], torch.tensor([[LOGIT + 0.05, -0.05]]))
    torch.testing.assert_close(adapted["body.weight_0"], torch.tensor([[[0.05, -0.05]]]))


@pytest.mark.parametrize(("is_first_order", "slope"), [(False, 1.0 + 4 * 0.1 * -0.25), (True, 1.0)])
def test_the_outer_gradient_on_two_arms_is_the_number_worked_by_hand(is_first_order: bool, slope: float) -> None:
    learner = two_armed_maml(is_first_order=is_first_order)
    inner = pulls([0, 1], [1.0, -1.0], preference=LOGIT)
    outer = pulls([0], [1.0], preference=LOGIT + 0.2)
    loss = learner.outer_loss([inner, outer])
    assert loss.item() == pytest.approx(-1.0)
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = dict(learner.policy.named_parameters())
    expected = -(1.0 - 1.0 / (1.0 + math.exp(-LOGIT - 0.2))) * slope
    assert parameters["body.bias_0"].grad is not None
    torch.testing.assert_close(parameters["body.bias_0"].grad, torch.tensor([expected, -expected]))


def test_the_clipped_surrogate_pays_nothing_beyond_its_clip() -> None:
    policy = two_armed_policy(preference=LOGIT)
    # Played with π(0) = .5: ρ = 1.5, beyond 1 + .2 for a gain, and not held back for a loss.
    losses = [
        clipped_loss(policy, policy.shared_parameters(), pulls([0], [advantage], preference=0.0), clip=0.2)
        for advantage in (1.0, -1.0)
    ]
    torch.testing.assert_close(torch.cat(losses), torch.tensor([-1.2, 1.5]))


def test_the_divergence_estimate_is_its_definition() -> None:
    policy = two_armed_policy(preference=LOGIT)
    # E over both arms as often as π_D = ½ plays them: KL(½ ‖ .75) = ½ log(.5/.75) + ½ log(.5/.25).
    estimate = divergence(policy, policy.shared_parameters(), pulls([0, 1], [0.0, 0.0], preference=0.0))
    assert estimate.item() == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))


def test_a_gradient_is_clipped_task_by_task() -> None:
    gradient = {"a": torch.tensor([[3.0, 0.0], [0.3, 0.0]]), "b": torch.tensor([[4.0], [0.4]])}
    clipped = clip_by_task(gradient, 1.0)
    torch.testing.assert_close(clipped["a"], torch.tensor([[0.6, 0.0], [0.3, 0.0]]))
    torch.testing.assert_close(clipped["b"], torch.tensor([[0.8], [0.4]]))
    assert clip_by_task({"a": torch.zeros(2, 3)}, 1.0)["a"].isfinite().all()


# Identities and gradients.


def test_first_order_maml_equals_autograd_by_hand() -> None:
    config = replace(MAML, inner_lr=0.01, is_first_order=True, num_outer_steps=1, clip=10.0, max_inner_norm=None)
    learner = MAMLPolicy(NAVIGATION, config, generator=generator())
    rounds = [random_experience(learner.policy, NAVIGATION, 1, seed=seed) for seed in range(3)]
    adapted = {name: p.detach().clone().requires_grad_() for name, p in learner.policy.named_parameters()}
    expected: tuple[torch.Tensor, ...] = ()
    for index, experience in enumerate(rounds):
        hidden = experience.observation[0]
        for layer in range(3):
            hidden = hidden @ adapted[f"body.weight_{layer}"] + adapted[f"body.bias_{layer}"]
            hidden = hidden.relu() if layer < 2 else hidden
        normal = torch.distributions.Normal(hidden, adapted["log_std"].exp())
        ratio = (normal.log_prob(experience.action[0]).sum(1) - experience.log_prob[0]).exp()
        loss = -(ratio * experience.advantage[0] * experience.weight[0]).sum()
        expected = torch.autograd.grad(loss, list(adapted.values()))
        if index < 2:
            adapted = {
                name: (p - 0.01 * g).detach().requires_grad_()
                for (name, p), g in zip(adapted.items(), expected, strict=True)
            }
    found = torch.autograd.grad(learner.outer_loss(rounds), list(learner.policy.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_divergence_is_held_back_in_first_order_too() -> None:
    config = replace(MAML, is_first_order=True, num_inner_steps=1)
    learners = [
        MAMLPolicy(NAVIGATION, replace(config, divergence_weight=weight), generator=generator())
        for weight in (0.0, 2.0)
    ]
    rounds = [random_experience(learners[0].policy, NAVIGATION, 3, seed=seed) for seed in range(2)]
    without, held_back = (
        torch.autograd.grad(learner.outer_loss(rounds), list(learner.policy.parameters())) for learner in learners
    )
    policy = learners[0].policy
    penalty = divergence(policy, policy.shared_parameters(), rounds[0]).mean()
    for one, other, g in zip(held_back, without, torch.autograd.grad(penalty, list(policy.parameters())), strict=True):
        torch.testing.assert_close(one, other + 2.0 * g, rtol=1e-3, atol=1e-6)


def test_without_inner_steps_maml_is_ppo_on_all_tasks() -> None:
    learner = MAMLPolicy(NAVIGATION, replace(MAML, num_inner_steps=0), generator=generator())
    experience = random_experience(learner.policy, NAVIGATION, 3)
    expected = clipped_loss(learner.policy, learner.policy.shared_parameters(), experience, clip=0.3).mean()
    torch.testing.assert_close(learner.outer_loss([experience]), expected)


def test_meta_sgd_with_equal_fixed_rates_is_maml() -> None:
    maml = MAMLPolicy(NAVIGATION, MAML, generator=generator())
    config = replace(META_SGD, initial_rates=(0.1, 0.1), learns_rates=False, num_inner_steps=2)
    meta_sgd = MetaSGDPolicy(NAVIGATION, config, generator=generator())
    tasks = navigation(3)
    for step in range(3):
        expected, found = maml.update(tasks, first_task=3 * step), meta_sgd.update(tasks, first_task=3 * step)
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
    for name, parameter in meta_sgd.policy.named_parameters():
        torch.testing.assert_close(parameter, dict(maml.policy.named_parameters())[name], rtol=1e-3, atol=1e-4)


def test_reptile_with_one_inner_step_goes_along_the_mean_policy_gradient() -> None:
    config = replace(REPTILE, num_inner_steps=1, outer_lr=0.5, max_inner_norm=None)
    learner = ReptilePolicy(NAVIGATION, config, generator=generator())
    twin = ReptilePolicy(NAVIGATION, config, generator=generator())
    played = play_and_adapt(
        twin.policy,
        Play(navigation(3), first_task=0, split=Split.TRAINING, num_episodes=8),
        config=SHORT,
        rates=0.1,
        max_norm=None,
        num_steps=1,
        has_last_round=False,
        generator=generator_on("cpu", twin._generator),
    )
    loss = surrogate_loss(twin.policy, twin.policy.shared_parameters(), played.rounds[0]).mean()
    gradient = torch.autograd.grad(loss, list(twin.policy.parameters()))
    learner.update(navigation(3), first_task=0)
    for after, before, g in zip(learner.policy.parameters(), twin.policy.parameters(), gradient, strict=True):
        torch.testing.assert_close(after, before - 0.5 * 0.1 * g, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("max_norm", [None, 0.05])
@pytest.mark.parametrize("spaces", [NAVIGATION, TWO_ARMS], ids=["continuous", "discrete"])
def test_the_outer_gradient_of_maml_is_the_finite_difference(spaces: SpacePair, max_norm: float | None) -> None:
    config = MAMLPolicyConfig(num_inner_steps=2, max_inner_norm=max_norm, divergence_weight=0.1, policy=TINY)
    learner = MAMLPolicy(spaces, config, generator=generator())
    learner.policy.double()
    rounds = [double(random_experience(learner.policy.float(), spaces, 2, seed=seed)) for seed in range(3)]
    learner.policy.double()
    assert_gradient_is_finite_difference(lambda: learner.outer_loss(rounds), learner.policy.named_parameters())


def test_the_outer_gradient_of_meta_sgd_is_the_finite_difference_in_parameters_and_rates() -> None:
    config = MetaSGDPolicyConfig(num_inner_steps=2, max_inner_norm=None, divergence_weight=0.1, policy=TINY)
    learner = MetaSGDPolicy(NAVIGATION, config, generator=generator())
    rounds = [double(random_experience(learner.policy, NAVIGATION, 2, seed=seed)) for seed in range(3)]
    learner.policy.double()
    learner.rates = {name: torch.nn.Parameter(rate.detach().double()) for name, rate in learner.rates.items()}
    learned = [*learner.policy.named_parameters(), *((f"rates.{name}", rate) for name, rate in learner.rates.items())]
    assert_gradient_is_finite_difference(lambda: learner.outer_loss(rounds), learned)


def test_tasks_side_by_side_are_what_each_is_alone() -> None:
    learner = MAMLPolicy(NAVIGATION, MAML, generator=generator())
    rounds = [random_experience(learner.policy, NAVIGATION, 3, seed=seed) for seed in range(3)]
    alone = torch.stack([learner.outer_loss([of_task(r, task) for r in rounds]) for task in range(3)])
    torch.testing.assert_close(learner.outer_loss(rounds), alone.mean())
    together = inner_step(learner.policy, learner.policy.shared_parameters(), rounds[0], rates=0.1, max_norm=1.0)
    for task in range(3):
        own = of_task(rounds[0], task)
        phi = inner_step(learner.policy, learner.policy.shared_parameters(), own, rates=0.1, max_norm=1.0)
        for name, value in phi.items():
            torch.testing.assert_close(value[0], together[name][task], rtol=1e-4, atol=1e-6)


# What every learner owes.


@every_learner
def test_adapting_leaves_the_learner_bit_identical(case: str) -> None:
    learner, tasks = build(case), navigation(2)
    learner.update(tasks, first_task=0)
    before, meta = learner.to_tensors(), learner.to_meta()
    adapted = adapt(learner, tasks, first_task=4, split=Split.HELD_OUT, generator=generator(1))
    play = Play(tasks, first_task=4, split=Split.HELD_OUT, num_episodes=8)
    adapt_to(learner, play.round(adapted.policy, adapted.parameters, generator=generator(2)), adapted)
    assert_same(learner.to_tensors(), before)
    assert learner.to_meta() == meta


@every_learner
def test_adapted_policies_do_not_change_when_their_learner_learns_on(case: str) -> None:
    learner, tasks = build(case), navigation(2)
    policies = [
        AdaptedPolicies.unadapted(learner.policy),
        adapt(learner, tasks, first_task=0, split=Split.HELD_OUT, generator=generator(1)),
        adapt(learner, tasks, first_task=0, split=Split.HELD_OUT, generator=generator(1), num_steps=0),
    ]
    observation = torch.randn(2, 8, 2, generator=generator(2))
    before = [p.act(observation, generator=generator(3)) for p in policies]
    learner.update(tasks, first_task=0)
    for actions, p in zip(before, policies, strict=True):
        torch.testing.assert_close(p.act(observation, generator=generator(3)), actions, rtol=0, atol=0)


@every_learner
def test_restored_from_its_file_it_goes_on_bit_for_bit(case: str) -> None:
    learner, tasks = build(case), navigation(2)
    learner.update(tasks, first_task=0)
    stored = safetensors.torch.load(safetensors.torch.save(learner.to_tensors()))
    restored = restore_policy_learner(stored, learner.to_meta())
    for step in range(1, 3):
        assert learner.update(tasks, first_task=2 * step) == restored.update(tasks, first_task=2 * step)
    assert_same(learner.to_tensors(), restored.to_tensors())
    assert learner.to_meta() == restored.to_meta()


@every_learner
def test_an_initialization_alone_adapts_the_same(case: str) -> None:
    learner, tasks = build(case), navigation(2)
    learner.update(tasks, first_task=0)
    published = learner.initialization()
    assert set(published) <= set(learner.to_tensors())
    kept = {name: tensor.clone() for name, tensor in published.items()}
    phi = [
        adapt(other, tasks, first_task=0, split=Split.HELD_OUT, generator=generator(1)).parameters
        for other in (learner, restore_policy_learner(published, learner.to_meta()))
    ]
    assert_same(dict(phi[0]), dict(phi[1]))
    learner.update(tasks, first_task=2)
    assert_same(published, kept)


@every_learner
def test_the_policy_of_one_task_acts_as_it_does_among_the_others(case: str) -> None:
    learner, tasks = build(case), navigation(3)
    adapted = adapt(learner, tasks, first_task=0, split=Split.HELD_OUT, generator=generator(1))
    observation = torch.randn(3, 5, 2, generator=generator(2))
    together = adapted.act(observation, generator=generator(3), is_greedy=True)
    for task in range(3):
        own = replace(adapted, parameters={name: phi[task : task + 1] for name, phi in adapted.parameters.items()})
        alone = own.act(observation[task : task + 1], generator=generator(3), is_greedy=True)
        torch.testing.assert_close(alone[0], together[task], rtol=1e-4, atol=1e-6)


@every_learner
def test_a_family_that_plays_one_episode_at_a_time_is_learned_as_well(case: str) -> None:
    spec = family_from_declaration("bernoulli_bandits", kwargs={"num_arms": 2})
    learner = build(case, TWO_ARMS)
    tasks = open_tasks(spec, None, num_trials=4, device="cpu")
    before = learner.initialization()
    learner.update(tasks, first_task=0)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in learner.initialization().items())


@every_learner
def test_every_setting_survives_json(case: str) -> None:
    _, config = CASES[case]
    assert config_from_json(type(config), config_to_json(config)) == config


def test_a_bandits_policy_learns_which_arm_pays_from_one_round() -> None:
    spec = family_from_declaration("bernoulli_bandits", kwargs={"num_arms": 2})
    config = MAMLPolicyConfig(
        inner_lr=2.0, round=replace(SHORT, num_episodes=64), max_inner_norm=None, policy=PolicyConfig(hidden_sizes=())
    )
    learner = MAMLPolicy(TWO_ARMS, config, generator=generator())
    tasks = open_tasks(spec, None, num_trials=200 * 64, device="cpu", rows_per_task=64)
    adapted = adapt(learner, tasks, first_task=0, split=Split.HELD_OUT, generator=generator(1))
    best = tasks.task_parameters()[::64].argmax(1)
    arm = adapted.act(torch.zeros(200, 1, 1), generator=generator(2), is_greedy=True).squeeze(1)
    assert (arm == best).float().mean().item() > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("case", ["maml", "maml of first order", "meta-sgd"])
def test_after_training_it_navigates_better_with_every_step(case: str) -> None:
    name, config = CASES[case]
    settings = replace(config, num_inner_steps=2, num_outer_steps=3, outer_lr=2e-3)
    learner = build_policy_learner(name, NAVIGATION, settings, generator=generator())
    tasks = navigation(20, limit=40)
    for step in range(40):
        learner.update(tasks, first_task=20 * step)
    returns = []
    for num_steps in range(3):
        adapted = adapt(learner, tasks, first_task=0, split=Split.HELD_OUT, generator=generator(1), num_steps=num_steps)
        play = Play(tasks, first_task=0, split=Split.HELD_OUT, num_episodes=8)
        episodes = play.round(adapted.policy, adapted.parameters, generator=generator(2))
        returns.append(episodes.mean_return.mean().item())
    assert returns[0] < returns[1] < returns[2]
    assert returns[2] > 0.6 * returns[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every_learner
def test_it_learns_on_a_gpu_and_is_restored_on_a_cpu(case: str) -> None:
    name, config = CASES[case]
    learner = build_policy_learner(name, NAVIGATION, config, generator=generator(), device="cuda")
    spec = family_from_declaration("navigation", max_episode_steps=12)
    tasks = open_tasks(spec, None, num_trials=16, device="cuda", rows_per_task=8)
    learner.update(tasks, first_task=0)
    tensors = {name: tensor.cpu() for name, tensor in learner.to_tensors().items()}
    first, second = (restore_policy_learner(tensors, learner.to_meta()) for _ in range(2))
    assert first.update(navigation(2), first_task=2) == second.update(navigation(2), first_task=2)


def test_an_unknown_learner_is_refused_by_name() -> None:
    with pytest.raises(UnknownLearnerError, match="maml-policy"):
        build_policy_learner("maml", NAVIGATION, generator=generator())


def test_a_file_of_another_shape_is_refused() -> None:
    learner = build("maml")
    tensors = learner.to_tensors()
    tensors["parameters.body.weight_0"] = torch.zeros(2, 2)
    with pytest.raises(ValueError, match="weight_0"):
        restore_policy_learner(tensors, learner.to_meta())


def test_adapted_policies_hold_no_graph() -> None:
    learner = MAMLPolicy(NAVIGATION, MAML, generator=generator())
    adapted = adapt(learner, navigation(2), first_task=0, split=Split.HELD_OUT, generator=generator(1))
    assert not any(phi.requires_grad for phi in adapted.parameters.values())
