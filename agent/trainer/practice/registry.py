"""The registry of practices: the one place that chooses an implementation by the kind of a family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from agent.learners.rl2.config import RL2Config
from agent.trainer.families import of_kind
from agent.trainer.practice.few_shot import FewShotPractice
from agent.trainer.practice.protocol import Practice
from agent.trainer.practice.published import PublishedFewShot, PublishedPolicy, PublishedReturns
from agent.trainer.practice.rl2 import RL2Practice
from agent.trainer.practice.slices import Slices
from envs.kinds import FamilyKind
from envs.limits import WorkerLimits
from memory.records import Family, Initialization
from memory.retrieval.key_upkeep import KeyUpkeep

if TYPE_CHECKING:
    from agent.trainer.session import TrainerSession


def build_practices(session: TrainerSession) -> dict[FamilyKind, Practice]:
    """Return the practice of each kind of family, with the learners that the session holds now."""
    slices = Slices(
        length_s=session.settings.practise.slice_s,
        heartbeat=session.heartbeat,
        clock=session.clock,
        next_task=session.next_task,
        commit=session.commit,
        restore=session.restore_last_commit,
    )
    return {
        FamilyKind.ENVIRONMENTS: RL2Practice(
            learner=session.learner,
            specialists=session.specialists,
            rehearsal=session.rehearsal,
            environments=session.environments,
            plays=session.plays,
            slices=slices,
            faults=session.faults,
            families=session.store.families,
            curves=session.store.curves,
            context_keys=KeyUpkeep.of(session.store),
            settings=session.settings,
        ),
        FamilyKind.FEW_SHOT: FewShotPractice(
            learners=session.few_shot,
            slices=slices,
            faults=session.faults,
            store=session.store,
            settings=session.settings,
            device=session.device,
        ),
    }


def published_returns(
    version: Initialization,
    tensors: Mapping[str, Tensor],
    families: Sequence[Family],
    *,
    config: RL2Config,
    limits: WorkerLimits,
) -> dict[FamilyKind, PublishedReturns]:
    """Return, for each kind of family, what scores a published version.

    Args:
        version: the record of the version.
        tensors: its parameters.
        families: the families to score.
        config: RL²'s settings of the version.
        limits: limits of the workers.
    """
    played = of_kind(FamilyKind.ENVIRONMENTS, families)
    return {
        FamilyKind.ENVIRONMENTS: PublishedPolicy.of_version(config, tensors, played, limits=limits),
        FamilyKind.FEW_SHOT: PublishedFewShot(version=version, tensors=tensors),
    }
