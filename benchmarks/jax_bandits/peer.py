"""The settings of a peer in JAX and its rate, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path

ROOT = Path(__file__).parents[2]

JAX_HINT = (
    'install the extra (pip install "learnd[jax]"), or name an interpreter that has jax and optax with --jax-python'
)
NO_JAX = 3
"""Exit status of an interpreter without JAX."""

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


def jax_rate(peer: Peer, *, seconds: float, python: str = sys.executable) -> PeerRate | None:
    """Measure the peer in a separate process on one processor; return None if that interpreter has no JAX.

    Args:
        peer: the settings.
        seconds: CPU time of training, after compiling and one iteration of warm-up.
        python: an interpreter with JAX; it does not need learnd.

    Raises:
        RuntimeError: the peer failed.
    """
    command = [python, "-m", "benchmarks.jax_bandits.training", json.dumps(asdict(peer)), str(seconds)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode == NO_JAX:
        return None
    if ran.returncode:
        raise RuntimeError(f"measuring the JAX peer: {' '.join(command)} ended with {ran.returncode}: {ran.stderr}")
    values = json.loads(ran.stdout)
    return PeerRate(**{**values, "peer": Peer(**values["peer"])})
