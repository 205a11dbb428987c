"""The peer's policy and critic in JAX: inputs, encoder, GRU with a gradient by hand, LayerNorm, critic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import jax

    from benchmarks.jax_bandits.peer import Peer

NUM_CONTEXT = 9


def unroll_by_autograd(gates: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
    """Return [T, B, H] from [T, B, 3H] W_i x + b_i; autograd has the gradient of each step."""
    import jax
    import jax.numpy as jnp

    def step(hidden: jax.Array, gates: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden = gru_step(gates, hidden @ weight + bias, hidden)
        return hidden, hidden

    return jax.lax.scan(step, jnp.zeros((gates.shape[1], weight.shape[0])), gates)[1]


def unroll_by_hand() -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    """Return an unroll whose backward loop carries only dL/dh; the weights' gradient is one product over T·B."""
    import jax
    import jax.numpy as jnp

    def forward(gates: jax.Array, weight: jax.Array, bias: jax.Array) -> tuple[jax.Array, Any]:
        def step(hidden: jax.Array, gates: jax.Array) -> tuple[jax.Array, Any]:
            recurrent = hidden @ weight + bias
            reset, update, candidate = _gates(gates, recurrent)
            after = candidate + update * (hidden - candidate)
            return after, (after, hidden, reset, update, candidate, recurrent[:, -hidden.shape[1] :])

        first = jnp.zeros((gates.shape[1], weight.shape[0]))
        _, (hidden, *kept) = jax.lax.scan(step, first, gates)
        return hidden, (weight, kept)

    def backward(residual: Any, grad: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        weight, (before, reset, update, candidate, recurrent) = residual
        slope_x = (1 - update) * (1 - candidate * candidate)
        slope_z = (before - candidate) * update * (1 - update)
        slope_r = slope_x * recurrent * reset * (1 - reset)
        slope = jnp.concatenate([slope_r, slope_z, slope_x * reset], axis=-1)

        def step(later: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
            grad, slope, update = now
            total = grad + later
            earlier = total * update + (slope * jnp.tile(total, (1, 3))) @ weight.T
            return earlier, total

        _, totals = jax.lax.scan(step, jnp.zeros_like(grad[0]), (grad, slope, update), reverse=True)
        grad_recurrent = slope * jnp.tile(totals, (1, 1, 3))
        grad_gates = jnp.concatenate([grad_recurrent[..., : 2 * weight.shape[0]], slope_x * totals], axis=-1)
        grad_weight = jnp.einsum("tbh,tbg->hg", before, grad_recurrent)
        return grad_gates, grad_weight, grad_recurrent.sum((0, 1))

    by_hand = jax.custom_vjp(lambda gates, weight, bias: forward(gates, weight, bias)[0])
    by_hand.defvjp(forward, backward)
    unroll: Callable[[jax.Array, jax.Array, jax.Array], jax.Array] = by_hand
    return unroll


def gru_step(gates: jax.Array, recurrent: jax.Array, hidden: jax.Array) -> jax.Array:
    """Return [B, H], the hidden state after a step, from W_i x + b_i and W_h h + b_h."""
    _, update, candidate = _gates(gates, recurrent)
    return candidate + update * (hidden - candidate)


def _gates(gates: jax.Array, recurrent: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return r, z and n from [B, 3H] W_i x + b_i and W_h h + b_h."""
    import jax
    import jax.numpy as jnp

    size = gates.shape[-1] // 3
    reset = jax.nn.sigmoid(gates[:, :size] + recurrent[:, :size])
    update = jax.nn.sigmoid(gates[:, size : 2 * size] + recurrent[:, size : 2 * size])
    return reset, update, jnp.tanh(gates[:, 2 * size :] + reset * recurrent[:, 2 * size :])


def context_of(peer: Peer, t: jax.Array, previous_reward: jax.Array) -> jax.Array:
    """Return [B, C], the previous reward and ends, and the time, as in ``PolicyState.context`` on bandits."""
    import jax.numpy as jnp

    started, left = (t > 0).astype(jnp.float32), (peer.num_pulls - t).astype(jnp.float32)
    of_time = jnp.stack(
        [started, started * 0.0, started, started * 0.0, started * 0.0 + 1.0, jnp.log(left) * 0.25, 1.0 / left]
    )
    of_time = jnp.append(of_time, left / peer.num_pulls)
    return jnp.concatenate(
        [jnp.log1p(previous_reward)[:, None], jnp.broadcast_to(of_time, (peer.num_trials, NUM_CONTEXT - 1))], axis=-1
    )


def encode(parameters: dict[str, jax.Array], previous_action: jax.Array, context: jax.Array) -> jax.Array:
    """Return [B, X], the input of the GRU."""
    import jax

    encoded = context @ parameters["context"] + parameters["context_bias"]
    return jax.nn.relu(encoded + parameters["action"][previous_action] * context[..., 3:4])


def normalise(parameters: dict[str, jax.Array], hidden: jax.Array) -> jax.Array:
    """Return the hidden state after LayerNorm."""
    import jax

    return jax.nn.standardize(hidden, epsilon=1e-5) * parameters["norm"] + parameters["norm_bias"]


def judge(parameters: dict[str, jax.Array], features: jax.Array) -> jax.Array:
    """Return the critic's normalised values of [..., H + X] features."""
    import jax

    judged = jax.nn.relu(features @ parameters["critic"] + parameters["critic_bias"])
    return (judged @ parameters["value"] + parameters["value_bias"])[..., 0]
