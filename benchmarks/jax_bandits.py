"""RL² on Bernoulli bandits in JAX, with the whole iteration compiled as one program: a peer for comparison.

The peer trains the same as ``agent.learners.rl2`` with ``reads=False``, on the tasks of ``envs.tensor.bandits``: the
same inputs, encoder, GRU, LayerNorm, head and PopArt critic, the same losses, Adam and clipping. Rollout (a
``lax.scan`` over steps), advantages and every epoch's minibatches are in one ``jit`` with a donated state, so that
nothing returns to Python between iterations. Optimisations that learnd has by hand and a compiler does not find are
included: the gradients of the recurrent weights are one product for all steps (``--plain`` leaves them to autograd).
Neither the learning rate nor the entropy bonus falls.

JAX is an optional dependency of this benchmark only: ``pip install "learnd[jax]"``, or name any interpreter with
``jax`` and ``optax`` by ``--jax-python``. The training process imports nothing from learnd; it receives learnd's
settings as JSON. It is restricted to one processor.

Run: ``python -m benchmarks.jax_bandits [--hidden 64 256] [--pulls 10 100] [--seconds 10] [--json FILE]``.

Shapes: T steps, B trials, A arms, C context, X core input, H hidden.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    import jax

JAX_HINT = (
    'install the extra (pip install "learnd[jax]"), or name an interpreter that has jax and optax with --jax-python'
)
NUM_CONTEXT = 9
TRIALS = {10: 1024, 100: 512}
"""B by the number of pulls."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """The settings of a peer. Attributes without description have the meaning of ``RL2Config``'s settings of that name.

    Attributes:
        hidden_size: H, and also X and the critic's width.
        num_pulls: T.
        num_trials: B.
        num_arms: A.
        num_minibatches: minibatches per epoch.
        is_plain: whether autograd computes the recurrent weights' gradient, step by step.
        batch_weight: κ of ``agent.learners.rl2.advantages``.
    """

    hidden_size: int
    num_pulls: int
    num_trials: int
    num_arms: int = 5
    num_minibatches: int = 2
    is_plain: bool = False
    num_epochs: int
    discount: float
    gae_lambda: float
    clip: float
    learning_rate: float
    entropy_coefficient: float
    value_coefficient: float
    max_gradient_norm: float
    adam_epsilon: float
    scale_rate: float
    batch_weight: float

    @classmethod
    def of_size(
        cls, hidden_size: int, num_pulls: int, *, num_trials: int | None = None, is_plain: bool = False
    ) -> Peer:
        """Return the peer of one row of the table, with learnd's settings.

        Args:
            hidden_size: H.
            num_pulls: T.
            num_trials: B; None takes the number in ``TRIALS``, which is about enough for stable learning.
            is_plain: see the attribute.
        """
        # Imported here only, because the interpreter that trains may not have learnd.
        from agent.learners.rl2.advantages import BATCH_WEIGHT
        from agent.learners.rl2.config import RL2Config
        from agent.learners.rl2.learner import CLIP, SCALE_RATE, VALUE_COEFFICIENT
        from agent.learners.rl2.optimizer import ADAM_EPSILON

        config = RL2Config()
        of_config = {field.name for field in fields(RL2Config)} & {field.name for field in fields(cls)}
        settings = {name: getattr(config, name) for name in of_config} | {
            "hidden_size": hidden_size,
            "discount": config.discount_for(float(num_pulls)),
            "gae_lambda": config.gae_lambda_for(float(num_pulls)),
            "clip": CLIP,
            "value_coefficient": VALUE_COEFFICIENT,
            "adam_epsilon": ADAM_EPSILON,
            "scale_rate": SCALE_RATE,
        }
        return cls(
            num_pulls=num_pulls,
            num_trials=num_trials or TRIALS[num_pulls],
            is_plain=is_plain,
            batch_weight=BATCH_WEIGHT,
            **settings,
        )


@dataclass(frozen=True, kw_only=True)
class PeerRate:
    """The speed of a peer.

    Attributes:
        peer: the settings.
        steps: environment steps, each collected once and trained on in every epoch.
        cpu_s: CPU time of the whole iterations.
        rollout_cpu_s: CPU time of the rollouts, compiled and run separately.
        wall_s: wall time.
        first_return: mean trial return of the first iteration.
        last_return: mean trial return of the last iteration.
    """

    peer: Peer
    steps: int
    cpu_s: float
    rollout_cpu_s: float
    wall_s: float
    first_return: float
    last_return: float


class Scales(NamedTuple):
    """PopArt's running moments, and the mean square of advantages."""

    mean: jax.Array
    mean_square: jax.Array
    advantage_square: jax.Array
    num_updates: jax.Array


class State(NamedTuple):
    """The state that one iteration passes to the next."""

    parameters: dict[str, jax.Array]
    optimizer: Any
    scales: Scales
    key: jax.Array


class Trials(NamedTuple):
    """The [T, B] data of the trials played."""

    previous_action: jax.Array
    context: jax.Array
    action: jax.Array
    log_prob: jax.Array
    reward: jax.Array


def is_installed() -> bool:
    """Return whether this interpreter has the packages of the peer."""
    return all(importlib.util.find_spec(name) for name in ("jax", "optax"))


def jax_rate(peer: Peer, *, seconds: float, python: str = sys.executable) -> PeerRate | None:
    """Measure the peer in a separate process on one processor; return None if that interpreter has no JAX.

    Args:
        peer: the settings.
        seconds: CPU time of training, after compiling and one iteration of warm-up.
        python: an interpreter with JAX; it does not need learnd.

    Raises:
        RuntimeError: the peer failed.
    """
    command = [python, __file__, "--one", json.dumps(asdict(peer)), "--seconds", str(seconds)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode == NO_JAX:
        return None
    if ran.returncode:
        raise RuntimeError(f"measuring the JAX peer: {' '.join(command)} ended with {ran.returncode}: {ran.stderr}")
    values = json.loads(ran.stdout)
    return PeerRate(**{**values, "peer": Peer(**values["peer"])})


NO_JAX = 3
"""Exit status of an interpreter without JAX."""


def initial_state(peer: Peer, seed: int) -> State:
    """Draw the initial parameters as learnd does: orthogonal with the same gains, and zero biases."""
    import jax
    import jax.numpy as jnp

    key, *keys = jax.random.split(jax.random.key(seed, impl="rbg"), 9)
    size, arms = peer.hidden_size, peer.num_arms

    def orthogonal(key: jax.Array, rows: int, columns: int, gain: float = 1.0) -> jax.Array:
        return jax.nn.initializers.orthogonal(gain)(key, (rows, columns), jnp.float32)

    gates = jax.random.split(keys[2], 3)
    parameters = {
        "action": orthogonal(keys[0], arms, size),
        "context": orthogonal(keys[1], NUM_CONTEXT, size),
        "context_bias": jnp.zeros(size),
        "recurrent": jnp.concatenate([orthogonal(gate, size, size) for gate in gates], axis=1),
        "recurrent_bias": jnp.zeros(3 * size),
        "input": jax.nn.initializers.glorot_uniform()(keys[3], (3, size, size), jnp.float32)
        .transpose(1, 0, 2)
        .reshape(size, 3 * size),
        "input_bias": jnp.zeros(3 * size),
        "norm": jnp.ones(size),
        "norm_bias": jnp.zeros(size),
        "head": orthogonal(keys[4], size, arms, 0.01),
        "head_bias": jnp.zeros(arms),
        "critic": orthogonal(keys[5], 2 * size, size, 2**0.5),
        "critic_bias": jnp.zeros(size),
        "value": orthogonal(keys[6], size, 1, 0.1),
        "value_bias": jnp.zeros(1),
    }
    scales = Scales(jnp.zeros(()), jnp.ones(()), jnp.ones(()), jnp.zeros(()))
    return State(parameters, _optimizer(peer).init(parameters), scales, key)


def iteration(peer: Peer, state: State) -> tuple[State, jax.Array]:
    """Collect and train on one trial batch; return the new state and the batch's mean trial return."""
    import jax

    key, play_key, train_key = jax.random.split(state.key, 3)
    trials, features = rollout(peer, state.parameters, play_key)
    parameters, scales, targets = _targets(peer, state.parameters, state.scales, trials, features)
    turns = jax.vmap(partial(jax.random.permutation, x=peer.num_trials))(jax.random.split(train_key, peer.num_epochs))
    rows = turns.reshape(peer.num_epochs * peer.num_minibatches, -1)

    def step(carry: Any, rows: jax.Array) -> tuple[Any, None]:
        parameters, moments = carry
        part, aims = jax.tree.map(lambda values: values[:, rows], (trials, targets))
        gradient = jax.grad(partial(_loss, peer))(parameters, part, *aims)
        moves, moments = _optimizer(peer).update(gradient, moments)
        return (jax.tree.map(lambda p, move: p + move, parameters, moves), moments), None

    (parameters, optimizer), _ = jax.lax.scan(step, (parameters, state.optimizer), rows)
    return State(parameters, optimizer, scales, key), trials.reward.sum(0).mean()


def rollout(peer: Peer, parameters: dict[str, jax.Array], key: jax.Array) -> tuple[Trials, jax.Array]:
    """Play one trial on each of B new bandits; return the trials and [T, B, H + X], the inputs of the critic."""
    import jax
    import jax.numpy as jnp

    arms_key, pays_key, choice_key = jax.random.split(key, 3)
    shape = (peer.num_pulls, peer.num_trials)
    arms = jax.random.uniform(arms_key, (peer.num_trials, peer.num_arms))
    pays = jax.random.uniform(pays_key, shape)
    choices = jax.random.uniform(choice_key, (*shape, 1))
    rows = jnp.arange(peer.num_trials)

    def step(carry: Any, drawn: Any) -> tuple[Any, Any]:
        hidden, previous_action, previous_reward = carry
        t, pay, choice = drawn
        context = _context(peer, t, previous_reward)
        encoded = _encode(parameters, previous_action, context)
        gates = encoded @ parameters["input"] + parameters["input_bias"]
        recurrent = hidden @ parameters["recurrent"] + parameters["recurrent_bias"]
        hidden = _gru_step(gates, recurrent, hidden)
        normalised = _normalise(parameters, hidden)
        log_probs = jax.nn.log_softmax(normalised @ parameters["head"] + parameters["head_bias"])
        cumulative = jnp.cumsum(jnp.exp(log_probs), axis=-1)
        action = jnp.minimum((cumulative < choice * cumulative[:, -1:]).sum(-1), peer.num_arms - 1)
        reward = (pay < arms[rows, action]).astype(jnp.float32)
        played = Trials(previous_action, context, action, log_probs[rows, action], reward)
        return (hidden, action, reward), (played, jnp.concatenate([normalised, encoded], axis=-1))

    hidden = jnp.zeros((peer.num_trials, peer.hidden_size))
    began = (hidden, jnp.zeros(peer.num_trials, jnp.int32), jnp.zeros(peer.num_trials))
    _, (trials, features) = jax.lax.scan(step, began, (jnp.arange(peer.num_pulls), pays, choices))
    return trials, features


def _targets(
    peer: Peer, parameters: dict[str, jax.Array], scales: Scales, trials: Trials, features: jax.Array
) -> tuple[dict[str, jax.Array], Scales, tuple[jax.Array, jax.Array]]:
    """Return the targets of an update, [T, B] each, and update PopArt's scales and last layer.

    The targets are advantages minus the usual advantage of their step, in units of their root mean square, and
    normalised returns.
    """
    import jax
    import jax.numpy as jnp

    mean, spread = scales.mean, _spread(scales)
    value = _judge(parameters, features) * spread + mean
    following = jnp.concatenate([value[1:], jnp.zeros_like(value[:1])])
    delta = trials.reward + peer.discount * following - value

    def back(later: jax.Array, delta: jax.Array) -> tuple[jax.Array, jax.Array]:
        advantage = delta + peer.discount * peer.gae_lambda * later
        return advantage, advantage

    _, advantage = jax.lax.scan(back, jnp.zeros_like(delta[0]), delta, reverse=True)
    returns = advantage + value
    num_updates = scales.num_updates + 1
    rate = jnp.maximum(1.0 / num_updates, peer.scale_rate)
    moved = Scales(
        mean + rate * (returns.mean() - mean),
        scales.mean_square + rate * (jnp.square(returns).mean() - scales.mean_square),
        scales.advantage_square + rate * (jnp.square(advantage).mean() - scales.advantage_square),
        num_updates,
    )
    ratio = spread / _spread(moved)
    last = {
        "value": parameters["value"] * ratio,
        "value_bias": parameters["value_bias"] * ratio + (mean - moved.mean) / _spread(moved),
    }
    weight = peer.batch_weight
    usual = (advantage.sum(1, keepdims=True) + weight * advantage.mean()) / (advantage.shape[1] + weight)
    aims = ((advantage - usual) / jnp.sqrt(moved.advantage_square), (returns - moved.mean) / _spread(moved))
    return {**parameters, **last}, moved, aims


def _loss(
    peer: Peer, parameters: dict[str, jax.Array], trials: Trials, advantage: jax.Array, wanted: jax.Array
) -> jax.Array:
    """Return the sum of PPO's clipped loss, the critic's loss and the entropy bonus, each a mean over steps."""
    import jax
    import jax.numpy as jnp

    encoded = _encode(parameters, trials.previous_action, trials.context)
    gates = encoded @ parameters["input"] + parameters["input_bias"]
    unroll = _unroll_by_autograd if peer.is_plain else _unroll_by_hand()
    hidden = unroll(gates, parameters["recurrent"], parameters["recurrent_bias"])
    normalised = _normalise(parameters, hidden)
    log_probs = jax.nn.log_softmax(normalised @ parameters["head"] + parameters["head_bias"])
    log_prob = jnp.take_along_axis(log_probs, trials.action[..., None], axis=-1)[..., 0]
    ratio = jnp.exp(log_prob - trials.log_prob)
    clipped = jnp.clip(ratio, 1.0 - peer.clip, 1.0 + peer.clip)
    policy_loss = -jnp.minimum(ratio * advantage, clipped * advantage).mean()
    value_loss = 0.5 * jnp.square(_judge(parameters, jnp.concatenate([normalised, encoded], axis=-1)) - wanted).mean()
    entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
    return policy_loss + peer.value_coefficient * value_loss - peer.entropy_coefficient * entropy


def _unroll_by_autograd(gates: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
    import jax
    import jax.numpy as jnp

    def step(hidden: jax.Array, gates: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden = _gru_step(gates, hidden @ weight + bias, hidden)
        return hidden, hidden

    return jax.lax.scan(step, jnp.zeros((gates.shape[1], weight.shape[0])), gates)[1]


def _unroll_by_hand() -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
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


def _gru_step(gates: jax.Array, recurrent: jax.Array, hidden: jax.Array) -> jax.Array:
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


def _context(peer: Peer, t: jax.Array, previous_reward: jax.Array) -> jax.Array:
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


def _encode(parameters: dict[str, jax.Array], previous_action: jax.Array, context: jax.Array) -> jax.Array:
    import jax

    encoded = context @ parameters["context"] + parameters["context_bias"]
    return jax.nn.relu(encoded + parameters["action"][previous_action] * context[..., 3:4])


def _normalise(parameters: dict[str, jax.Array], hidden: jax.Array) -> jax.Array:
    import jax

    return jax.nn.standardize(hidden, epsilon=1e-5) * parameters["norm"] + parameters["norm_bias"]


def _judge(parameters: dict[str, jax.Array], features: jax.Array) -> jax.Array:
    import jax

    judged = jax.nn.relu(features @ parameters["critic"] + parameters["critic_bias"])
    return (judged @ parameters["value"] + parameters["value_bias"])[..., 0]


def _spread(scales: Scales) -> jax.Array:
    import jax.numpy as jnp

    return jnp.sqrt(jnp.maximum(scales.mean_square - jnp.square(scales.mean), 1e-6))


def _optimizer(peer: Peer) -> Any:
    import optax

    return optax.chain(
        optax.clip_by_global_norm(peer.max_gradient_norm), optax.adam(peer.learning_rate, eps=peer.adam_epsilon)
    )


def measure(peer: Peer, *, seconds: float, seed: int = 0) -> PeerRate:
    """Train for about this many CPU-seconds, after compiling and one iteration of warm-up."""
    import jax

    run = jax.jit(partial(iteration, peer), donate_argnums=0)
    state, first_return = jax.block_until_ready(run(initial_state(peer, seed)))
    began, began_wall, steps = time.process_time(), time.perf_counter(), 0
    mean_return = first_return
    while time.process_time() - began < seconds:
        state, mean_return = jax.block_until_ready(run(state))
        steps += peer.num_pulls * peer.num_trials
    cpu_s, wall_s = time.process_time() - began, time.perf_counter() - began_wall
    rollout_s = _rollout_seconds(peer, state, steps=steps, seconds=seconds / 5)
    return PeerRate(
        peer=peer,
        steps=steps,
        cpu_s=cpu_s,
        rollout_cpu_s=rollout_s,
        wall_s=wall_s,
        first_return=float(first_return),
        last_return=float(mean_return),
    )


def _rollout_seconds(peer: Peer, state: State, *, steps: int, seconds: float) -> float:
    """Measure the CPU-seconds for collecting this many steps, by separately compiled rollouts."""
    import jax

    play = jax.jit(partial(rollout, peer))
    jax.block_until_ready(play(state.parameters, state.key))
    began, played = time.process_time(), 0
    while time.process_time() - began < seconds:
        jax.block_until_ready(play(state.parameters, state.key))
        played += peer.num_pulls * peer.num_trials
    return (time.process_time() - began) / played * steps


def _hold_to_one_processor() -> None:
    """Restrict the process to one processor, before JAX is loaded and sizes its thread pools."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
    os.environ["JAX_PLATFORMS"] = "cpu"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--pulls", type=int, nargs="+", default=[10, 100], choices=sorted(TRIALS))
    parser.add_argument("--seconds", type=float, default=10.0, help="CPU-seconds for each rate")
    parser.add_argument("--plain", action="store_true", help="leave the GRU's gradient to autograd")
    parser.add_argument("--jax-python", default=sys.executable, help="an interpreter that has jax and optax")
    parser.add_argument("--json", type=Path, help="write the report here too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure each size in a separate process, print, and write the report if requested."""
    arguments = _arguments()
    if arguments.one:
        if not is_installed():
            raise SystemExit(NO_JAX)
        _hold_to_one_processor()
        own = measure(Peer(**json.loads(arguments.one)), seconds=arguments.seconds)
        print(json.dumps(asdict(own)))
        return
    rates = []
    for hidden_size in arguments.hidden:
        for pulls in arguments.pulls:
            peer = Peer.of_size(hidden_size, pulls, is_plain=arguments.plain)
            rate = jax_rate(peer, seconds=arguments.seconds, python=arguments.jax_python)
            if rate is None:
                print(f"no peer: {arguments.jax_python} has no jax; {JAX_HINT}")
                return
            print(
                f"JAX, hidden size {hidden_size}, {pulls} pulls: {rate.steps / rate.cpu_s:,.0f} trained steps / CPU-s "
                f"(rollout {rate.steps / rate.rollout_cpu_s:,.0f}); return {rate.first_return:.2f} → "
                f"{rate.last_return:.2f}",
                flush=True,
            )
            rates.append(rate)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(rate) for rate in rates], indent=2) + "\n")


if __name__ == "__main__":
    main()
