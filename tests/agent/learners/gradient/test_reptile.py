"""Reptile: a number worked by hand, its identities, its minibatches, its inner Adam."""

from __future__ import annotations

import pytest
import torch

from agent.learners.gradient.reptile import InnerOptimizer, Reptile, ReptileConfig, minibatch_picks
from envs.few_shot.tasks import FewShotBatch
from tests.agent.learners.cases import LINE, SHAPES, SMALL, generator, one_point, set_line, sinusoids


def test_one_outer_step_on_a_line_is_the_number_worked_by_hand() -> None:
    config = ReptileConfig(
        inner_optimizer=InnerOptimizer.SGD,
        inner_lr=0.1,
        num_inner_steps=1,
        inner_batch_size=None,
        outer_lr=0.5,
        network=LINE,
    )
    learner = Reptile(SHAPES, config, generator=generator())
    set_line(learner.network, weight=1.0, bias=0.0)
    x, y = one_point(1.0, 0.0)
    metrics = learner.update(FewShotBatch(support_x=x, support_y=y, query_x=x, query_y=y))
    # L = (w + b)² = 1 on both points: φ = (.8, -.2), and θ goes half of the way there; L(φ) = .6² = .36.
    parameters = dict(learner.network.named_parameters())
    assert parameters["weight_0"].item() == pytest.approx(0.9)
    assert parameters["bias_0"].item() == pytest.approx(-0.1)
    assert metrics == {"loss": pytest.approx(1.0), "adapted_loss": pytest.approx(0.36)}


def test_with_one_inner_step_it_is_joint_training_by_sgd() -> None:
    config = ReptileConfig(
        inner_optimizer=InnerOptimizer.SGD,
        inner_lr=0.05,
        num_inner_steps=1,
        inner_batch_size=None,
        outer_lr=1.0,
        network=SMALL,
    )
    learner, batch = Reptile(SHAPES, config, generator=generator()), sinusoids(4)
    x, y = torch.cat([batch.support_x, batch.query_x], 1), torch.cat([batch.support_y, batch.query_y], 1)
    loss = (learner.network(x.flatten(0, 1)) - y.flatten(0, 1)).square().mean()
    names, parameters = zip(*learner.network.named_parameters(), strict=True)
    gradient = torch.autograd.grad(loss, parameters)
    expected = {name: (p - 0.05 * g).detach() for name, p, g in zip(names, parameters, gradient, strict=True)}
    learner.update(batch)
    torch.testing.assert_close({name: p.detach() for name, p in learner.network.named_parameters()}, expected)


def test_the_batched_form_moves_to_the_mean_of_what_serial_steps_from_the_same_start_reach() -> None:
    config = ReptileConfig(num_inner_steps=4, inner_batch_size=None, outer_lr=0.5, network=SMALL)
    batch = sinusoids(3)
    learners = [Reptile(SHAPES, config, generator=generator()) for _ in range(4)]
    learners[3].update(batch)
    for task in range(3):
        rows = slice(task, task + 1)
        learners[task].update(
            FewShotBatch(
                support_x=batch.support_x[rows],
                support_y=batch.support_y[rows],
                query_x=batch.query_x[rows],
                query_y=batch.query_y[rows],
            )
        )
    for name, batched in learners[3].network.named_parameters():
        serial = torch.stack([dict(learner.network.named_parameters())[name] for learner in learners[:3]])
        torch.testing.assert_close(batched, serial.mean(0))


def test_the_inner_adam_is_torchs_without_momentum() -> None:
    config = ReptileConfig(
        inner_optimizer=InnerOptimizer.ADAM, inner_lr=0.01, num_adapt_steps=5, adapt_batch_size=None, network=SMALL
    )
    learner, batch = Reptile(SHAPES, config, generator=generator()), sinusoids(1)
    adapted = learner.adapt(batch.support_x, batch.support_y).parameters
    adam = torch.optim.Adam(learner.network.parameters(), lr=0.01, betas=(0.0, 0.999), eps=1e-8)
    for _ in range(5):
        adam.zero_grad()
        (learner.network(batch.support_x[0]) - batch.support_y[0]).square().mean().backward()
        adam.step()
    for name, parameter in learner.network.named_parameters():
        torch.testing.assert_close(adapted[name][0], parameter.detach(), rtol=1e-4, atol=1e-6)


def test_minibatches_go_through_the_whole_set_before_any_example_comes_again() -> None:
    picks = minibatch_picks(10, 4, 5, generator())
    first, second = (torch.cat([p for p in picks[start : start + 2] if p is not None]) for start in (0, 2))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert first.tolist() != second.tolist()
    assert minibatch_picks(10, 3, None, generator()) == [None] * 3


@pytest.mark.parametrize("is_transductive", [True, False])
def test_transduction_is_a_matter_of_what_the_predictor_sees(*, is_transductive: bool) -> None:
    config = ReptileConfig(is_transductive=is_transductive, network=SMALL)
    learner, batch = Reptile(SHAPES, config, generator=generator()), sinusoids(2)
    predict = learner.adapt(batch.support_x, batch.support_y)
    assert predict.is_transductive == is_transductive
    # A perceptron normalises nothing, so both settings predict the same.
    together = Reptile(SHAPES, ReptileConfig(network=SMALL), generator=generator()).adapt(
        batch.support_x, batch.support_y
    )
    torch.testing.assert_close(predict(batch.query_x), together(batch.query_x))
