"""Adam takes the steps of Kingma & Ba 2015."""

from __future__ import annotations

import torch

from agent.learners.adam import Adam


def test_two_steps_are_those_of_the_paper() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = Adam([parameter], lr=0.1, betas=(0.9, 0.99), eps=1e-3)
    value, m, v = torch.tensor([1.0, -2.0], dtype=torch.float64), 0.0, 0.0
    for t in (1, 2):
        optimizer.zero_grad()
        (parameter**3).sum().backward()
        optimizer.step()
        gradient = 3.0 * value**2
        m, v = 0.9 * m + 0.1 * gradient, 0.99 * v + 0.01 * gradient**2
        value = value - 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.99**t)).sqrt() + 1e-3)
        torch.testing.assert_close(parameter.detach(), value)


def test_a_step_records_no_gradient_and_keeps_the_mode() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = Adam([parameter], lr=0.1, fused=True)
    parameter.sum().backward()
    optimizer.step()
    assert torch.is_grad_enabled()
    assert parameter.is_leaf
    assert not optimizer.state[parameter]["exp_avg"].requires_grad


def test_a_group_that_is_added_is_stepped_at_its_own_rate() -> None:
    first, added = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = Adam([first], lr=0.1)
    optimizer.add_param_group({"params": [added], "lr": 0.5})
    (first + added).sum().backward()
    optimizer.step()
    torch.testing.assert_close(torch.cat([first, added]).detach(), torch.tensor([-0.1, -0.5]))
