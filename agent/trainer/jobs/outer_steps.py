"""Outer steps: compute slow weights from the published parameters φ and the learner's present parameters W (``fast``).

The daemon's practice between two consolidations is the inner loop. Every outer step uses its result, W - φ. The setting
``consolidation.outer_step`` selects the outer step. Its result is a candidate, which the gate may still reject.

- Reptile (Nichol et al. 2018, arXiv:1803.02999, eq. 1): φ ← φ + ε (W - φ), one rate ε for all parameters.
- MAML, first order (Finn et al. 2017, arXiv:1703.03400, section 5.2): start at Reptile's point θ and repeat
  θ ← θ + β mean_i ∇J_i(U_k(θ)), where U_k are the k ordinary updates that adapt a copy of the learner to family i.
  Departures from the paper:
  - It starts at Reptile's point, because otherwise the practice since the last version would be lost.
  - The "tasks" of the paper are families.
  - The outer step is Adam's.
- Meta-SGD (Li et al. 2017, arXiv:1707.09835, eq. 4 and algorithm 1): θ = φ + α ∘ (W - φ), where the rates α are learned
  by ∂/∂α mean_i J_i(θ) = mean_i ∇J_i(θ) · (W - φ). The rates are carried over from version to version.
  Departures from the paper:
  - There is one rate per tensor, not one per entry: a gradient of a few hundred trials is too noisy for single entries.
  - Rates are clamped to [0, 1], so θ lies between φ and W.
  - The inner direction is the result of practice, not one gradient.

Outer steps use their own generator, seeded by the number of updates, and training tasks that practice does not reach.
So a consolidation does not change the learner, and the same state gives the same candidate.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
import torch
from torch import Tensor

from agent.config.settings import OuterStep
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.return_gradient import return_gradient
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.trials import TrialBatch
from agent.trainer.faults import scoring_boundary
from agent.trainer.session import TrainerSession, is_tensor_native, learner_name
from envs.family import Split
from memory.records import Family

log = structlog.get_logger(__name__)

OUTER_TASKS = 1_000_000_000
"""Index of the first training task of outer steps; practice counts up from 0."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Parameters that an outer step proposes.

    Attributes:
        origin: a text on how they were computed, for the provenance.
        tensors: the parameters.
        rates: Meta-SGD's rate of each tensor, from which the next step continues; empty for the other outer steps.
    """

    origin: str
    tensors: dict[str, Tensor]
    rates: dict[str, float] = field(default_factory=dict)


def slow_weights(
    session: TrainerSession,
    families: Sequence[Family],
    *,
    published: Mapping[str, Tensor],
    fast: Mapping[str, Tensor],
    rates: Mapping[str, float],
) -> Proposal:
    """Return the proposal of the outer step that the settings select.

    If MAML or Meta-SGD gives parameters that are not finite, return Reptile's proposal.

    Args:
        session: the trainer's state, which is not changed.
        families: all known families that can be scored.
        published: φ.
        fast: W.
        rates: the rates of Meta-SGD as of the published version; empty at first.

    Raises:
        JobInterruptedError: the daemon has requested a stop.
        UnscoredError: a family failed and got a strike.
    """
    rate = session.settings.consolidation.rate
    reptile = Proposal(origin=f"slow weights, rate {rate:g}", tensors=between(published, fast, rate=rate))
    if session.settings.consolidation.outer_step is OuterStep.REPTILE:
        return reptile
    if session.settings.consolidation.outer_step is OuterStep.MAML:
        proposal = maml(session, families, start=reptile.tensors)
    else:
        proposal = meta_sgd(session, families, published=published, fast=fast, rates=rates)
    if all(bool(tensor.isfinite().all()) for tensor in proposal.tensors.values()):
        return proposal
    log.error("outer step gave parameters that are not finite; using Reptile's instead", origin=proposal.origin)
    return reptile


def between(
    slow: Mapping[str, Tensor], fast: Mapping[str, Tensor], *, rate: float, rates: Mapping[str, float] | None = None
) -> dict[str, Tensor]:
    """Return the step from ``slow`` towards ``fast``: φ + ε (W - φ).

    A parameter is copied from ``fast`` if ``slow`` does not have it (its pair of spaces is newer than the version), has
    it in another shape, or if it is not floating point.

    Args:
        slow: φ.
        fast: W.
        rate: ε.
        rates: ε of single tensors, by name.
    """
    return {
        name: slow[name].lerp(value, (rates or {}).get(name, rate)) if _is_shared(name, slow, fast) else value.clone()
        for name, value in fast.items()
    }


def maml(session: TrainerSession, families: Sequence[Family], *, start: Mapping[str, Tensor]) -> Proposal:
    """Run first-order MAML from ``start``: maximise the return after a few ordinary updates on any family."""
    section = session.settings.consolidation
    play = _Play(session)
    theta = {name: tensor.clone() for name, tensor in start.items()}
    learned = {name: torch.nn.Parameter(theta[name]) for name, _ in session.learner.policy.named_parameters()}
    optimizer = torch.optim.Adam(learned.values(), lr=section.maml_rate, maximize=True)

    def update() -> None:
        parts = [play.adapted_gradient(family, theta, num_updates=section.inner_updates) for family in families]
        for name, parameter in learned.items():
            parameter.grad = torch.stack([part[name] for part in parts]).mean(0)
        optimizer.step()
        theta.update({name: parameter.detach() for name, parameter in learned.items()})

    num_updates = _repeat(update, at_most=section.outer_updates, limit_s=section.outer_limit_s)
    origin = f"slow weights, rate {section.rate:g}, then {num_updates} updates of MAML"
    return Proposal(origin=origin, tensors={name: tensor.detach().clone() for name, tensor in theta.items()})


def meta_sgd(
    session: TrainerSession,
    families: Sequence[Family],
    *,
    published: Mapping[str, Tensor],
    fast: Mapping[str, Tensor],
    rates: Mapping[str, float],
) -> Proposal:
    """Learn Meta-SGD's rates, one per tensor, on fresh trials of every family, and return φ + α ∘ (W - φ)."""
    section = session.settings.consolidation
    play = _Play(session)
    names = [n for n, _ in session.learner.policy.named_parameters() if _is_shared(n, published, fast)]
    alpha = torch.nn.Parameter(torch.tensor([rates.get(name, section.rate) for name in names]))
    optimizer = torch.optim.Adam([alpha], lr=section.meta_sgd_rate, maximize=True)

    def proposed() -> dict[str, Tensor]:
        return between(published, fast, rate=section.rate, rates=dict(zip(names, alpha.tolist(), strict=True)))

    def update() -> None:
        slope = torch.zeros_like(alpha)
        theta = proposed()
        for family in families:
            gradient = play.gradient(family, theta)
            slope += torch.stack([(gradient[n] * (fast[n] - published[n])).sum().cpu() for n in names])
        alpha.grad = slope / len(families)
        optimizer.step()
        with torch.no_grad():
            alpha.clamp_(0.0, 1.0)

    num_updates = _repeat(update, at_most=section.outer_updates, limit_s=section.outer_limit_s)
    values = alpha.tolist()
    origin = (
        f"slow weights, rates {min(values):.2f} to {max(values):.2f} (mean {sum(values) / len(values):.2f}) after "
        f"{num_updates} updates of Meta-SGD"
    )
    return Proposal(origin=origin, tensors=proposed(), rates=dict(zip(names, values, strict=True)))


class _Play:
    """A source of fresh training trials and gradients of the known families, at any parameters.

    Args:
        session: the trainer's state, which is not changed.
    """

    def __init__(self, session: TrainerSession) -> None:
        self._session = session
        self._seed = session.learner.seed + sum(session.learner.num_updates(f) for f in session.learner.families)
        self._generator = torch.Generator(device=session.device).manual_seed(self._seed)
        self._num_played: dict[str, int] = {}

    def gradient(self, family: Family, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ∇J of the family at these parameters."""
        policy = copy.deepcopy(self._session.learner.policy)
        policy.load_state_dict(tensors)
        with scoring_boundary(self._session, family):
            return self._gradient(family, policy)

    def adapted_gradient(self, family: Family, tensors: Mapping[str, Tensor], *, num_updates: int) -> dict[str, Tensor]:
        """Return ∇J of the family at the result of ``num_updates`` ordinary updates from these parameters."""
        session = self._session
        learner = RL2Learner.from_tensors(
            session.config, session.learner.to_tensors(), session.learner.to_meta(), device=session.device
        )
        learner.load_initialization(tensors)
        learner.generator.manual_seed(self._seed + sum(self._num_played.values()))
        num_epochs = session.config.num_epochs_for(is_tensor_native=is_tensor_native(family))
        with scoring_boundary(session, family):
            for _ in range(num_updates):
                learner.update(learner_name(family), self._trials(family, learner.policy), num_epochs=num_epochs)
                session.heartbeat.beat_or_give_up()
            return self._gradient(family, learner.policy)

    def _gradient(self, family: Family, policy: RL2Policy) -> dict[str, Tensor]:
        trials = self._trials(family, policy)
        trial_steps = float(trials.lengths.float().mean())
        config = self._session.config
        gradient = return_gradient(
            policy,
            trials,
            discount=config.discount_for(trial_steps),
            gae_lambda=config.gae_lambda_for(trial_steps),
        )
        self._session.heartbeat.beat_or_give_up()
        return gradient

    def _trials(self, family: Family, policy: RL2Policy) -> TrialBatch:
        session, name = self._session, learner_name(family)
        played = self._num_played.get(name, 0)
        tasks = session.tasks_of(family)
        trials = collect_trials(
            policy,
            tasks,
            first_task=OUTER_TASKS + session.next_task.get(name, 0) + played,
            split=Split.TRAINING,
            generator=self._generator,
            progress=lambda _steps: session.heartbeat.beat_or_give_up(),
            num_episodes=session.learner.num_episodes(name, tasks.spec.episodes_per_trial),
        )
        self._num_played[name] = played + trials.num_trials
        return trials


def _is_shared(name: str, slow: Mapping[str, Tensor], fast: Mapping[str, Tensor]) -> bool:
    """Return whether both have the tensor in the same shape and in floating point."""
    return name in slow and slow[name].shape == fast[name].shape and fast[name].is_floating_point()


def _repeat(update: Callable[[], None], *, at_most: int, limit_s: float) -> int:
    """Repeat ``update`` until ``at_most`` updates or ``limit_s`` seconds are reached; return the number of updates."""
    began = time.monotonic()
    for made in range(1, at_most + 1):
        update()
        if time.monotonic() - began >= limit_s:
            return made
    return at_most
