"""Training of the peer: rollout, targets, loss and minibatches as one compiled iteration.

As a program (``python -m benchmarks.jax_bandits.training PEER_AS_JSON SECONDS``) it prints the peer's rate as JSON. It
needs JAX and Optax, and nothing of learnd.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.jax_bandits.network import (
    NUM_CONTEXT,
    context_of,
    encode,
    gru_step,
    judge,
    normalise,
    unroll_by_autograd,
    unroll_by_hand,
)
from benchmarks.jax_bandits.peer import NO_JAX, Peer, PeerRate

if TYPE_CHECKING:
    import jax


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
        context = context_of(peer, t, previous_reward)
        encoded = encode(parameters, previous_action, context)
        gates = encoded @ parameters["input"] + parameters["input_bias"]
        recurrent = hidden @ parameters["recurrent"] + parameters["recurrent_bias"]
        hidden = gru_step(gates, recurrent, hidden)
        normalised = normalise(parameters, hidden)
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
    value = judge(parameters, features) * spread + mean
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

    encoded = encode(parameters, trials.previous_action, trials.context)
    gates = encoded @ parameters["input"] + parameters["input_bias"]
    unroll = unroll_by_autograd if peer.is_plain else unroll_by_hand()
    hidden = unroll(gates, parameters["recurrent"], parameters["recurrent_bias"])
    normalised = normalise(parameters, hidden)
    log_probs = jax.nn.log_softmax(normalised @ parameters["head"] + parameters["head_bias"])
    log_prob = jnp.take_along_axis(log_probs, trials.action[..., None], axis=-1)[..., 0]
    ratio = jnp.exp(log_prob - trials.log_prob)
    clipped = jnp.clip(ratio, 1.0 - peer.clip, 1.0 + peer.clip)
    policy_loss = -jnp.minimum(ratio * advantage, clipped * advantage).mean()
    value_loss = 0.5 * jnp.square(judge(parameters, jnp.concatenate([normalised, encoded], axis=-1)) - wanted).mean()
    entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
    return policy_loss + peer.value_coefficient * value_loss - peer.entropy_coefficient * entropy


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


def is_installed() -> bool:
    """Return whether this interpreter has the packages of the peer."""
    return all(importlib.util.find_spec(name) for name in ("jax", "optax"))


def print_rate() -> None:
    """Train the peer of the command line and print its rate; exit with ``NO_JAX`` without JAX."""
    peer, seconds = sys.argv[1:]
    if not is_installed():
        raise SystemExit(NO_JAX)
    _hold_to_one_processor()
    print(json.dumps(asdict(measure(Peer(**json.loads(peer)), seconds=float(seconds)))))


if __name__ == "__main__":
    print_rate()
