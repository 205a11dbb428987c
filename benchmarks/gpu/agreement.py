"""The comparison of recorded training with eager training from the same seed."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from agent.learners.rl2.trials import TrialBatch
from benchmarks.gpu.training import NUM_WARM_UP, Row, Trainer
from envs.family import FamilySpec

MAX_CHECKED_STEPS = 20
"""Limit of an episode's steps in the comparison of recorded and eager training.

An eager step takes a millisecond or more.
"""

MAX_OTHER_ACTIONS = 0.005
MAX_OTHERS_RATIO = 4.0
MAX_DRIFT = 0.1
"""Limits of the difference between recorded and eager training: see :func:`disagreement`."""


def disagreement(spec: FamilySpec, row: Row, *, device: torch.device) -> str:
    """Return how recorded training differs from eager training of the same seed; empty if it does not.

    Sums on a GPU differ slightly from run to run (atomic additions). After an update parameters differ by this, and
    occasionally an action. Settings that learn fast soon have more such differences. The criteria are therefore:

    - Before the first update, trials must be the same to the last action.
    - After it, recorded training may have other actions than eager training ``MAX_OTHERS_RATIO`` times as often as a
      second run of eager training has.
    - The distance between the parameters may be ``MAX_DRIFT`` of the distance that they have moved. Programs with
      mixed-up buffers differ by the whole distance.

    ``tests/agent/learners/rl2/test_gpu.py`` compares small training number by number.

    Recorded rollouts continue to draw after the last trial has ended, so all trainers start each rollout and each
    update from the same random state. Episodes are limited to ``MAX_CHECKED_STEPS``.
    """
    if spec.max_episode_steps is not None:
        spec = replace(spec, max_episode_steps=min(spec.max_episode_steps, MAX_CHECKED_STEPS))
    trainers = [
        Trainer(spec, replace(row, is_captured=flag, num_learners=1), device=device, seed=0)
        for flag in (False, False, True)
    ]
    eager, _again, recorded = trainers
    start = eager.learner.initialization()
    try:
        for iteration in range(NUM_WARM_UP):
            played, played_again, replayed = (_iterate_from(trainer, seed=iteration) for trainer in trainers)
            share, usual_share = (_other_actions(played, other) for other in (replayed, played_again))
            if share > (max(MAX_OTHER_ACTIONS, MAX_OTHERS_RATIO * usual_share) if iteration else 0.0):
                return f"{share:.2%} of the actions of iteration {iteration} differ ({usual_share:.2%} when run again)"
        expected, given = eager.learner.initialization(), recorded.learner.initialization()
    finally:
        for trainer in trainers:
            trainer.close()
    drift = _distance(given, expected) / _distance(expected, start)
    return "" if drift <= MAX_DRIFT else f"parameters lie apart by {drift:.0%} of the way they have come"


def _other_actions(played: TrialBatch, other: TrialBatch) -> float:
    """Return the share of one batch's steps at which the other batch has another action or no step."""
    num_steps = min(played.num_steps, other.num_steps)
    is_same = torch.zeros_like(played.is_valid)
    is_same[:num_steps] = (played.action[:num_steps] == other.action[:num_steps]) & other.is_valid[:num_steps]
    return (~is_same)[played.is_valid].float().mean().item()


def _distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return float(torch.stack([(one[name] - tensor).norm() for name, tensor in other.items()]).norm())


def _iterate_from(trainer: Trainer, *, seed: int) -> TrialBatch:
    with trainer.on_stream():
        trainer.learner.generator.manual_seed(seed)
        trials = trainer.collect()
        trainer.learner.generator.manual_seed(seed)
        trainer.learn(trials)
    return trials
