"""A gated recurrent unit over whole trials, with its gates fused by hand.

r_t = σ(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)
z_t = σ(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)
n_t = tanh(W_in x_t + b_in + r_t (W_hn h_{t-1} + b_hn))
h_t = (1 - z_t) n_t + z_t h_{t-1}

(Cho et al. 2014, arXiv:1406.1078, in the form that ``torch.nn.GRU`` computes, with its parameter layout.)

Why not ``torch.nn.GRU``: on CPUs its backward pass forms the weights' gradient step by step. Here the input's product
is one for all steps, and so are the weights' gradients; what is left in the loop is one product and a handful of
elementwise operations a step.

Shapes: T steps, B trials, X input width, H hidden width.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _GateFusedGRU(torch.autograd.Function):
    """h_1 … h_T from the inputs' gates (W_i x_t + b_i for all t), h_0 and the recurrent weights."""

    @staticmethod
    def forward(ctx: Any, input_gates: Tensor, initial: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        num_steps, num_trials, width = input_gates.shape
        size = width // 3
        hidden = input_gates.new_empty(num_steps + 1, num_trials, size)
        hidden[0] = initial
        gates = input_gates.clone()
        recurrent = torch.empty_like(gates)
        weight_t = weight.t()
        steps = zip(
            hidden[:-1].unbind(),
            hidden[1:].unbind(),
            recurrent.unbind(),
            recurrent[..., : 2 * size].unbind(),
            recurrent[..., 2 * size :].unbind(),
            gates[..., : 2 * size].unbind(),
            gates[..., :size].unbind(),
            gates[..., size : 2 * size].unbind(),
            gates[..., 2 * size :].unbind(),
            strict=True,
        )
        for before, after, recurrent_gates, recurrent_rz, candidate, rz, r, z, n in steps:
            torch.addmm(bias, before, weight_t, out=recurrent_gates)
            rz.add_(recurrent_rz).sigmoid_()
            n.addcmul_(r, candidate).tanh_()
            torch.lerp(n, before, z, out=after)
        ctx.save_for_backward(hidden, gates, recurrent, weight)
        return hidden[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        hidden, gates, recurrent, weight = ctx.saved_tensors
        num_steps, num_trials, width = gates.shape
        size = width // 3
        r, z, n = gates.unflatten(-1, (3, size)).unbind(-2)
        # How each pre-activation moves with h_t, for all steps at once; the loop only carries dL/dh back.
        slope = torch.empty_like(gates)
        slope_r, slope_z, slope_n = slope.view(num_steps, num_trials, 3, size).unbind(-2)
        slope_x = torch.mul(1 - z, torch.addcmul(torch.ones_like(n), n, n, value=-1))
        torch.mul(slope_x, r, out=slope_n)
        torch.mul(slope_n * (1 - r), recurrent[..., 2 * size :], out=slope_r)
        torch.mul((hidden[:-1] - n).mul_(z), 1 - z, out=slope_z)
        grads = grad_outputs[0].clone(memory_format=torch.contiguous_format)
        grad_before = torch.zeros_like(hidden[0])
        steps = zip(
            grads.unbind(),
            grads.unsqueeze(2).unbind(),
            slope.unbind(),
            slope.view(num_steps, num_trials, 3, size).unbind(),
            z.unbind(),
            strict=True,
        )
        for grad, grad_column, slope_t, slope_gates, z_t in reversed(list(steps)):
            grad.add_(grad_before)
            slope_gates.mul_(grad_column)
            torch.mul(grad, z_t, out=grad_before)
            grad_before.addmm_(slope_t, weight)
        flat = slope.view(-1, width)
        grad_weight = flat.t() @ hidden[:-1].reshape(-1, size)
        grad_bias = flat.sum(0)
        grad_input = slope
        if ctx.needs_input_grad[0]:
            torch.mul(slope_x, grads, out=slope_n)
        return grad_input, grad_before, grad_weight, grad_bias


def gate_fused_gru(
    input_gates: Float[Tensor, "T B G"],
    initial: Float[Tensor, "B H"],
    weight: Float[Tensor, "G H"],
    bias: Float[Tensor, " G"],
) -> Float[Tensor, "T B H"]:
    """Run a GRU over T steps.

    Args:
        input_gates: W_i x_t + b_i, gates in the order r, z, n (G = 3H).
        initial: h_0.
        weight: W_h, gates in the same order.
        bias: b_h.

    Returns:
        h_1 … h_T.
    """
    result: Tensor = _GateFusedGRU.apply(input_gates, initial, weight, bias)  # type: ignore[no-untyped-call]
    return result


class GRUCore(nn.Module):
    """The recurrent core.

    Args:
        input_size: X.
        hidden_size: H.
        generator: draws the initial parameters: input weights Glorot-uniform, recurrent weights orthogonal per gate.
    """

    def __init__(self, input_size: int, hidden_size: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_input = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hidden = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias_input = nn.Parameter(torch.zeros(3 * hidden_size))
        self.bias_hidden = nn.Parameter(torch.zeros(3 * hidden_size))
        for gate in range(3):
            rows = slice(gate * hidden_size, (gate + 1) * hidden_size)
            nn.init.xavier_uniform_(self.weight_input.data[rows], generator=generator)
            nn.init.orthogonal_(self.weight_hidden.data[rows], generator=generator)

    def forward(self, inputs: Float[Tensor, "T B X"], initial: Float[Tensor, "B H"]) -> Float[Tensor, "T B H"]:
        """h_1 … h_T."""
        input_gates = nn.functional.linear(inputs, self.weight_input, self.bias_input)
        return gate_fused_gru(input_gates, initial, self.weight_hidden, self.bias_hidden)

    def step(self, inputs: Float[Tensor, "B X"], hidden: Float[Tensor, "B H"]) -> Float[Tensor, "B H"]:
        """h_t from x_t and h_{t-1}, without a graph of its own."""
        size = self.hidden_size
        gates = torch.addmm(self.bias_input, inputs, self.weight_input.t())
        recurrent = torch.addmm(self.bias_hidden, hidden, self.weight_hidden.t())
        rz = (gates[:, : 2 * size] + recurrent[:, : 2 * size]).sigmoid_()
        candidate = torch.addcmul(gates[:, 2 * size :], rz[:, :size], recurrent[:, 2 * size :]).tanh_()
        return torch.lerp(candidate, hidden, rz[:, size:])
