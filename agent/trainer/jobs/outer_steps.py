"""Outer steps: how slow weights are made of the published parameters φ and the learner's own, W (``fast``).

The daemon's practice between two consolidations is the inner loop; what it led to, W - φ, is what every outer step
here works with. The choice is ``consolidation.outer_step``; whatever is proposed is a candidate, which the gate judges.

- Reptile (Nichol et al. 2018, arXiv:1803.02999, eq. 1): φ ← φ + ε (W - φ), one rate ε for all parameters.
- MAML, first order (Finn et al. 2017, arXiv:1703.03400, section 5.2): from Reptile's point θ, again and again
  θ ← θ + β mean_i ∇J_i(U_k(θ)), U_k the k ordinary updates that adapt a copy of the learner to family i.
  Departures: it starts from Reptile's point, or the practice since the last version would be thrown away; "tasks" are
  families; the outer step is Adam's.
- Meta-SGD (Li et al. 2017, arXiv:1707.09835, eq. 4 and algorithm 1): θ = φ + α ∘ (W - φ), the rates α learned by
  ∂/∂α mean_i J_i(θ) = mean_i ∇J_i(θ) · (W - φ). Departures: one rate a tensor, and not one an entry, for a gradient of
  a few hundred trials says too little of each; rates are held within [0, 1], so that θ lies between what has been
  tried; the inner direction is that of the practice, and not of one gradient. The rates go on from version to version.

Everything is drawn from a generator of its own, seeded by how far practice has come, on training tasks that practice
does not reach: a consolidation changes nothing of the learner, and the same state gives the same candidate.
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
"""First training task of outer steps; practice counts up from 0."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Parameters that an outer step proposes.

    Attributes:
        origin: how they came about, for the record.
        tensors: the parameters.
        rates: Meta-SGD's rate of each tensor, for the next step to go on from; empty for the others.
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
    """What the chosen outer step proposes.

    Args:
        session: the learner's state, which is left as it is.
        families: all that are known and can be asked.
        published: φ.
        fast: W.
        rates: what Meta-SGD has learned up to the published version; empty at first.

    Raises:
        JobInterruptedError: control has asked to stop.
        UnscoredError: a family failed, and has a strike for it.
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
    log.error("an outer step gave parameters that are not finite; Reptile's stands in", origin=proposal.origin)
    return reptile


def between(
    slow: Mapping[str, Tensor], fast: Mapping[str, Tensor], *, rate: float, rates: Mapping[str, float] | None = None
) -> dict[str, Tensor]:
    """The step from ``slow`` towards ``fast``: φ + ε (W - φ).

    Parameters that ``slow`` does not have (a pair of spaces met since) or has in another shape are taken from
    ``fast``; so are those that are not floating point.

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
    """First-order MAML from ``start``: where a few ordinary updates of any family lead furthest."""
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
    """Meta-SGD's rates, a tensor each, learned where they lead: on fresh trials of every family."""
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
    """Fresh training trials of the known families, by other parameters than the learner's.

    Args:
        session: the learner's state, which is left as it is.
    """

    def __init__(self, session: TrainerSession) -> None:
        self._session = session
        self._seed = session.learner.seed + sum(session.learner.num_updates(f) for f in session.learner.families)
        self._generator = torch.Generator(device=session.device).manual_seed(self._seed)
        self._num_played: dict[str, int] = {}

    def gradient(self, family: Family, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """∇J of the family at these parameters."""
        policy = copy.deepcopy(self._session.learner.policy)
        policy.load_state_dict(tensors)
        with scoring_boundary(self._session, family):
            return self._gradient(family, policy)

    def adapted_gradient(self, family: Family, tensors: Mapping[str, Tensor], *, num_updates: int) -> dict[str, Tensor]:
        """∇J of the family where this many ordinary updates lead from these parameters."""
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
    """Whether both have the tensor, in the same shape, and can be mixed."""
    return name in slow and slow[name].shape == fast[name].shape and fast[name].is_floating_point()


def _repeat(update: Callable[[], None], *, at_most: int, limit_s: float) -> int:
    """Update until the number or the time is reached; the number made."""
    began = time.monotonic()
    for made in range(1, at_most + 1):
        update()
        if time.monotonic() - began >= limit_s:
            return made
    return at_most
