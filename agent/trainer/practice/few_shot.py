"""The practice of few-shot families: each has a learner of its own, which adapts to tasks of examples.

The totals of a few-shot family count examples as environment steps, tasks as trials and as episodes, and outer steps as
meta-updates.
"""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
import torch
from torch import Tensor

from agent.config.settings import Settings
from agent.learners.evaluation.few_shot import adapted_returns, held_out_tasks
from agent.learners.evaluation.trials import EVALUATION_TASKS, HeldOutReturns
from agent.learners.protocol import FewShotLearner
from agent.policies.version_header import KnownFewShotFamily, VersionHeader
from agent.trainer.families import held_out_trials, learner_name, shapes_of
from agent.trainer.faults import FamilyFaults, family_boundary
from agent.trainer.gate import Part
from agent.trainer.heartbeat import JobInterruptedError
from agent.trainer.practice.few_shot_candidates import PROVENANCE, FewShotCandidates
from agent.trainer.practice.few_shot_learners import FewShotLearners
from agent.trainer.practice.protocol import Evaluation, Proposals, PublishedVersion
from agent.trainer.practice.slices import Slices
from agent.trainer.score_scale import scale_of
from envs.errors import EnvsError
from envs.family import Split
from envs.few_shot.tasks import FewShotBatch
from memory.records import CurveMetric, CurvePoint, Family, FamilyTotals
from memory.store import Store

log = structlog.get_logger(__name__)

PROBED_TASKS = 16
"""Number of training tasks that are scored at the start of a slice, before learning from them, for the return curve."""

PROBED_AT_ONCE = 4
PROBED_SHARE = 0.1
"""Share of a slice after which no more tasks are scored, because some learners adapt in fifty steps per task."""

NOT_LOSSES = frozenset({"accuracy"})
"""Metrics of an update that are not losses. They are not recorded; the trial return is recorded instead."""


@dataclass
class _Slice:
    """The totals of a slice of practice so far."""

    returns: Tensor
    examples: int = 0
    tasks: int = 0
    updates: int = 0
    sampled_s: float = 0.0
    updated_s: float = 0.0
    losses: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def take(self, batch: FewShotBatch, metrics: dict[str, float]) -> None:
        self.examples += batch.num_examples
        self.tasks += batch.num_tasks
        self.updates += 1
        for part, value in metrics.items():
            if part not in NOT_LOSSES:
                self.losses[part].append(value)

    @property
    def totals(self) -> FamilyTotals:
        return FamilyTotals(env_steps=self.examples, episodes=self.tasks, trials=self.tasks, meta_updates=self.updates)


@dataclass(frozen=True, kw_only=True)
class FewShotPractice:
    """The practice of few-shot families.

    Attributes:
        learners: the learners and open tasks of the families.
        slices: the length, the counters, the heartbeat and the commit of slices.
        faults: records the faults of families that cannot be scored.
        store: the families and their curves.
        settings: the numbers of held-out tasks.
        device: the device of the learners.
    """

    learners: FewShotLearners
    slices: Slices
    faults: FamilyFaults
    store: Store
    settings: Settings
    device: torch.device

    carries_over = False

    def check(self, family: Family) -> None:
        """Check that the family's stored shapes can be read."""
        shapes_of(family)

    # Practice

    def prepare(self, family: Family) -> None:
        """Do nothing: no worker plays for the family."""

    def practise(self, family: Family, *, reason: str) -> dict[str, Any]:
        """Run outer steps of the family's learner for a slice of time, and commit the slice."""
        start, name = self.slices.begin(), learner_name(family)
        tasks, learner = self.learners.training_tasks_of(family), self.learners.learner_of(family, name)
        num_tasks = self.learners.recipe_of(family).tasks_per_update
        first_task = self.slices.next_task.get(name, 0)
        work = _Slice(returns=self._probe(family, learner, first_task))
        while True:
            try:
                self.slices.heartbeat.beat_or_give_up()
            except JobInterruptedError:
                if work.updates == 0:
                    raise
                break
            began = time.monotonic()
            batch = tasks.sample(
                num_tasks, split=Split.TRAINING, first_task=first_task + work.tasks, device=self.device
            )
            sampled = time.monotonic()
            metrics = learner.update(batch)
            work.sampled_s += sampled - began
            work.updated_s += time.monotonic() - sampled
            work.take(batch, metrics)
            self.slices.refuse_divergence(name, metrics)
            if start.passed_s >= self.slices.length_s:
                break
        self.slices.refuse_divergence(name, metrics, has_finite_parameters=is_finite(learner))
        self.slices.next_task[name] = first_task + work.tasks
        return self.slices.commit_slice(
            family,
            practised=work.totals,
            returns=work.returns,
            losses=work.losses,
            seconds={"rollout": work.sampled_s, "update": work.updated_s},
            started_at=start.started_at,
            reason=reason,
        )

    def _probe(self, family: Family, learner: FewShotLearner, first_task: int) -> Tensor:
        """Return the returns [n] on the next training tasks, before learning from them."""
        tasks, began = self.learners.tasks_of(family), time.monotonic()
        returns = []
        for offset in range(0, PROBED_TASKS, PROBED_AT_ONCE):
            batch = tasks.sample(
                PROBED_AT_ONCE, split=Split.TRAINING, first_task=first_task + offset, device=self.device
            )
            returns.append(adapted_returns(learner, batch))
            self.slices.heartbeat.beat()
            if time.monotonic() - began >= PROBED_SHARE * self.slices.length_s:
                break
        return torch.cat(returns)

    # Scores

    def evaluate(self, family: Family) -> Evaluation:
        """Adapt the family's learner to the held-out tasks of evaluations, with 1, 2, 5, … shots.

        A family that was never practised is also scored once with another family's learner, if that learner can.
        """
        learner = self.learners.learner_of(family, learner_name(family))
        returns = self._evaluation_returns(family, learner, chance=family.random_return or 0.0)
        return Evaluation(returns=returns, more_points=self._lent_points_if_any(family))

    def _evaluation_returns(
        self, family: Family, learner: FewShotLearner, *, chance: float, is_brief: bool = False
    ) -> HeldOutReturns:
        return held_out_tasks(
            learner,
            self.learners.tasks_of(family),
            first_task=EVALUATION_TASKS,
            num_tasks=held_out_trials(family, self.settings.evaluation),
            chance=chance,
            device=self.device,
            is_brief=is_brief,
            progress=lambda _tasks: self.slices.heartbeat.beat_or_give_up(),
        )

    def _lent_points_if_any(self, family: Family) -> tuple[CurvePoint, ...]:
        """Return the lent score, or nothing if the lender fails, which is no fault of this family."""
        try:
            with family_boundary(family):
                return self._lent_points(family)
        except EnvsError:
            log.exception("another family's learner could not score this family", family=family.name)
            return ()

    def _lent_points(self, family: Family) -> tuple[CurvePoint, ...]:
        """Return the score of another family's amortised head on a family that was never practised; computed once.

        VERSA's head is inferred from the support set by a network (Gordon et al. 2019, arXiv:1805.09921), so it needs
        no practice on new classes, and takes any number of them.
        """
        scale = scale_of(family)
        if scale is None or family.totals.meta_updates > 0:
            return ()
        if self.store.curves.points(family.name, CurveMetric.LENT_SCORE):
            return ()
        lender = self.learners.lender_to(family, self.store.families.all())
        if lender is None:
            return ()
        learner = self.learners.learner_of(lender, learner_name(lender))
        returns = self._evaluation_returns(family, learner, chance=scale.random_return, is_brief=True)
        score = scale.score(returns.mean)
        log.info("scored by another family's learner", family=family.name, lender=lender.name, score=score)
        error = scale.error(returns.standard_error)
        return (CurvePoint(metric=CurveMetric.LENT_SCORE, label=lender.name, value=score, standard_error=error),)

    # Versions

    def propose(
        self, families: Sequence[Family], *, base: PublishedVersion | None, unplayable: Sequence[Family] = ()
    ) -> Proposals:
        """Propose one part, which has the best initialization of each family."""
        del unplayable  # Their learners are not practised meanwhile, so that nothing of them can be lost.
        candidates = FewShotCandidates(
            learners=self.learners,
            faults=self.faults,
            settings=self.settings.consolidation,
            device=self.device,
            heartbeat=self.slices.heartbeat,
        )
        return Proposals(parts=(candidates.best(families, base=base, known=self.store.families.all()),))

    def repair(self, families: Sequence[Family], *, base: PublishedVersion | None) -> bool:
        """Change nothing: what one few-shot family learns cannot harm another, because each has its own learner."""
        del families, base
        return False

    def export(self, part: Part, header: VersionHeader) -> VersionHeader:
        """Add the families of which the part has an initialization."""
        described = part.provenance.get(PROVENANCE, {})
        known = {name: KnownFewShotFamily.of_chosen(values) for name, values in described.items()}
        return dataclasses.replace(header, few_shot_families=known)


def is_finite(learner: FewShotLearner) -> bool:
    """Return whether every tensor of the learner's initialization is finite."""
    return all(bool(tensor.isfinite().all()) for tensor in learner.initialization().values())
