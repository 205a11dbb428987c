from __future__ import annotations

import pytest
import torch
from torch import nn

from agent.learners.rl2 import core as gru
from agent.learners.rl2.core import GRUCore, gate_fused_gru


def random_gru(num_steps: int = 6, num_trials: int = 3, width: int = 4, size: int = 5) -> tuple[torch.Tensor, ...]:
    """x, h_0, W_i, b_i, W_h, b_h."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)

    weights = draw(3 * size, width), draw(3 * size), draw(3 * size, size), draw(3 * size)
    return draw(num_steps, num_trials, width), draw(num_trials, size), *weights


def plain_gru(  # noqa: PLR0917
    inputs: torch.Tensor,
    hidden: torch.Tensor,
    weight_input: torch.Tensor,
    bias_input: torch.Tensor,
    weight_hidden: torch.Tensor,
    bias_hidden: torch.Tensor,
) -> torch.Tensor:
    outputs = []
    for step in inputs:
        gates, recurrent = step @ weight_input.t() + bias_input, hidden @ weight_hidden.t() + bias_hidden
        (ir, iz, inn), (hr, hz, hn) = gates.chunk(3, -1), recurrent.chunk(3, -1)
        r, z = torch.sigmoid(ir + hr), torch.sigmoid(iz + hz)
        hidden = (1 - z) * torch.tanh(inn + r * hn) + z * hidden
        outputs.append(hidden)
    return torch.stack(outputs)


def test_gradients_of_the_fused_gru_pass_gradcheck_in_float64() -> None:
    assert torch.autograd.gradcheck(gate_fused_gru, random_gru())


@pytest.mark.parametrize("block_steps", [1, 7, 30, 100], ids=lambda steps: f"blocks_of_{steps}")
def test_gradients_of_the_fused_gru_are_those_of_autograd_in_float64(
    block_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gru, "BLOCK_NUMBERS", block_steps * 3 * 5)
    inputs = random_gru(num_steps=30)
    weights = torch.randn(30, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(gate_fused_gru(*inputs), plain_gru(*inputs))
    for fused, plain in zip(
        torch.autograd.grad((gate_fused_gru(*inputs) * weights).sum(), inputs),
        torch.autograd.grad((plain_gru(*inputs) * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(fused, plain, rtol=1e-10, atol=1e-12)


def test_the_core_is_torchs_gru_with_the_same_parameters() -> None:
    core = GRUCore(7, 5, generator=torch.Generator().manual_seed(0))
    reference = nn.GRU(7, 5)
    reference.load_state_dict(
        {
            "weight_ih_l0": core.weight_input,
            "weight_hh_l0": core.weight_hidden,
            "bias_ih_l0": core.bias_input,
            "bias_hh_l0": core.bias_hidden,
        }
    )
    inputs, initial = torch.randn(11, 4, 7), torch.randn(4, 5)
    torch.testing.assert_close(core(inputs, initial), reference(inputs, initial.unsqueeze(0))[0])


def test_stepping_the_core_gives_what_unrolling_it_gives() -> None:
    core = GRUCore(7, 5, generator=torch.Generator().manual_seed(0))
    inputs, hidden = torch.randn(11, 4, 7), torch.zeros(4, 5)
    unrolled = core(inputs, hidden)
    for t in range(11):
        hidden = core.step(inputs[t], hidden)
        torch.testing.assert_close(hidden, unrolled[t], rtol=1e-5, atol=1e-6)
