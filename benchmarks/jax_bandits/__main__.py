"""RL² on Bernoulli bandits in JAX, with the whole iteration compiled as one program: a peer for comparison.

The peer trains the same as ``agent.learners.rl2`` with ``reads=False``, on the tasks of ``envs.tensor.bandits``: the
same inputs, encoder, GRU, LayerNorm, head and PopArt critic, the same losses, Adam and clipping. Rollout (a
``lax.scan`` over steps), advantages and every epoch's minibatches are in one ``jit`` with a donated state, so that
nothing returns to Python between iterations. Optimisations that learnd has by hand and a compiler does not find are
included: the gradients of the recurrent weights are one product for all steps (``--plain`` leaves them to autograd).
Neither the learning rate nor the entropy bonus falls.

JAX is an optional dependency of this benchmark only: ``pip install "learnd[jax]"``, or name any interpreter with
``jax`` and ``optax`` by ``--jax-python``. The training process (``benchmarks.jax_bandits.training``) imports nothing
from learnd; it receives learnd's settings as JSON. It is restricted to one processor.

Run: ``python -m benchmarks.jax_bandits [--hidden 64 256] [--pulls 10 100] [--seconds 10] [--json FILE]``.

Shapes: T steps, B trials, A arms, C context, X core input, H hidden.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.jax_bandits.peer import JAX_HINT, TRIALS, Peer, jax_rate


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.jax_bandits",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--pulls", type=int, nargs="+", default=[10, 100], choices=sorted(TRIALS))
    parser.add_argument("--seconds", type=float, default=10.0, help="CPU-seconds for each rate")
    parser.add_argument("--plain", action="store_true", help="leave the GRU's gradient to autograd")
    parser.add_argument("--jax-python", default=sys.executable, help="an interpreter that has jax and optax")
    parser.add_argument("--json", type=Path, help="write the report here too")
    return parser.parse_args()


def main() -> None:
    """Measure each size in a separate process, print, and write the report if requested."""
    arguments = _arguments()
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
