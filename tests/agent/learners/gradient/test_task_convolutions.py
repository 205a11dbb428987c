from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from agent.learners.config_json import config_from_json, config_to_json
from agent.learners.gradient.networks import NetworkConfig, TaskNetwork, build_network
from agent.learners.gradient.task_convolutions import TaskConvolutions
from envs.few_shot.tasks import FewShotShapes


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network() -> TaskConvolutions:
    return TaskConvolutions((1, 12, 12), 5, channels=(4, 6), generator=seeded())


def test_it_is_convolution_pooling_batch_normalisation_and_a_linear_layer() -> None:
    net, x = network(), torch.rand(7, 1, 12, 12, generator=seeded(1))
    p = dict(net.named_parameters())
    hidden = x
    for layer, fan_in in enumerate((1, 4)):
        hidden = F.max_pool2d(F.conv2d(hidden, p[f"kernel_{layer}"].view(-1, fan_in, 3, 3), padding=1), 2)
        hidden = F.batch_norm(hidden, None, None, training=True).relu()
    torch.testing.assert_close(net(x), hidden.flatten(1) @ p["weight"] + p["bias"], rtol=1e-4, atol=1e-5)


def test_strided_convolutions_halve_by_themselves() -> None:
    net = TaskConvolutions((1, 11, 12), 5, channels=(4, 6), is_strided=True, generator=seeded())
    x = torch.rand(7, 1, 11, 12, generator=seeded(1))
    p = dict(net.named_parameters())
    hidden = x
    for layer, fan_in in enumerate((1, 4)):
        hidden = F.conv2d(hidden, p[f"kernel_{layer}"].view(-1, fan_in, 3, 3), padding=1, stride=2)
        hidden = F.batch_norm(hidden, None, None, training=True).relu()
    torch.testing.assert_close(net(x), hidden.flatten(1) @ p["weight"] + p["bias"], rtol=1e-4, atol=1e-5)


def test_a_head_that_begins_at_zero_prefers_no_class() -> None:
    net = TaskConvolutions((1, 12, 12), 5, channels=(4, 6), has_zero_head=True, generator=seeded())
    assert not net(torch.rand(7, 1, 12, 12, generator=seeded(1))).any()


def test_tasks_side_by_side_equal_tasks_one_by_one() -> None:
    net = network()
    stacked = {
        name: parameter + 0.1 * torch.randn(3, *parameter.shape, generator=seeded(2))
        for name, parameter in net.named_parameters()
    }
    x = torch.rand(3, 7, 1, 12, 12, generator=seeded(1))
    together = net.forward_tasks(stacked, x)
    alone = [net.forward_tasks({name: p[m : m + 1] for name, p in stacked.items()}, x[m : m + 1]) for m in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert isinstance(net, TaskNetwork)


def test_shared_parameters_are_taken_as_one() -> None:
    net, x = network(), torch.rand(3, 7, 1, 12, 12, generator=seeded(1))
    shared = {name: parameter.unsqueeze(0) for name, parameter in net.named_parameters()}
    each = {name: parameter.expand(3, *parameter.shape[1:]) for name, parameter in shared.items()}
    torch.testing.assert_close(net.forward_tasks(shared, x), net.forward_tasks(each, x))


def test_its_second_derivatives_are_those_of_finite_differences() -> None:
    net = TaskConvolutions((1, 8, 8), 2, channels=(3, 3), generator=seeded()).double()
    x = torch.rand(1, 4, 1, 8, 8, generator=seeded(1)).double()
    parameters = {name: parameter.unsqueeze(0) for name, parameter in net.named_parameters()}

    def slope_norm(kernel: torch.Tensor) -> torch.Tensor:
        inner = {**parameters, "kernel_0": kernel}
        loss = F.cross_entropy(net.forward_tasks(inner, x)[0], torch.tensor([0, 1, 0, 1]))
        (gradient,) = torch.autograd.grad(loss, kernel, create_graph=True)
        return gradient.square().sum()

    kernel = parameters["kernel_0"].detach().requires_grad_()
    (found,) = torch.autograd.grad(slope_norm(kernel), kernel)
    direction = torch.randn(kernel.shape, generator=seeded(3)).double()
    ends = [
        float(slope_norm((kernel + sign * 1e-6 * direction).detach().requires_grad_()).detach()) for sign in (1, -1)
    ]
    torch.testing.assert_close((ends[0] - ends[1]) / 2e-6, float((found * direction).sum()), rtol=1e-3, atol=1e-8)


def test_images_get_convolutions_and_vectors_a_perceptron() -> None:
    image = FewShotShapes(input_shape=(1, 28, 28), output_size=5, is_classification=True)
    built = build_network(image, NetworkConfig(channels=(8, 8)), generator=seeded())
    assert isinstance(built, TaskConvolutions)
    assert built(torch.rand(3, 1, 28, 28)).shape == (3, 5)
    config = NetworkConfig(channels=(8, 8), is_strided=True, has_zero_head=True)
    assert config_from_json(NetworkConfig, config_to_json(config)) == config


def test_settings_written_before_strides_are_read_as_they_were_meant() -> None:
    assert config_from_json(NetworkConfig, {"hidden_sizes": [40, 40], "channels": [8, 8]}) == NetworkConfig(
        channels=(8, 8)
    )
