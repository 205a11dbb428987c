"""The returns of a published version on held-out tasks, for each kind of family, outside the trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from agent.learners.evaluation.few_shot import held_out_tasks
from agent.learners.evaluation.trials import EVALUATION_TASKS, HeldOutReturns, held_out_returns
from agent.learners.factory import restore
from agent.learners.family_parts import part_of
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.parameters import policy_from_initialization
from agent.learners.rl2.policy import RL2Policy
from agent.trainer.families import is_tensor_native, learner_name, spaces_of
from agent.trainer.practice.few_shot_candidates import described_in
from envs.limits import WorkerLimits
from envs.registry import open_few_shot, open_tasks
from memory.records import Family, Initialization


class PublishedReturns(Protocol):
    """The part of a published version for one kind of family, which can be scored."""

    @property
    def unit(self) -> str:
        """Return the noun of what is counted while a family is scored, in the plural."""
        ...

    def returns(self, family: Family, *, num_trials: int, progress: Callable[[int], None]) -> HeldOutReturns | None:
        """Return the version's returns on a family's held-out tasks; None if it does not know the family.

        Args:
            family: an admitted family of this kind.
            num_trials: held-out trials or tasks, rounded up to whole batches.
            progress: called with the number of units so far.

        Raises:
            EnvsError: the family failed.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class PublishedPolicy:
    """A version's policy, which plays families of environments.

    Attributes:
        config: the settings with which it was learned.
        policy: the policy.
        limits: limits of the workers.
    """

    config: RL2Config
    policy: RL2Policy
    limits: WorkerLimits
    unit: str = "steps"

    @classmethod
    def of_version(
        cls, config: RL2Config, tensors: Mapping[str, Tensor], families: Sequence[Family], *, limits: WorkerLimits
    ) -> PublishedPolicy:
        """Return the policy of a version for these families.

        Raises:
            IncompatibleParametersError: the parameters do not fit the settings.
        """
        policy = policy_from_initialization(config, tensors, [spaces_of(family) for family in families])
        return cls(config=config, policy=policy, limits=limits)

    def returns(self, family: Family, *, num_trials: int, progress: Callable[[int], None]) -> HeldOutReturns | None:
        """Play the family's held-out tasks; None if the version does not know its spaces."""
        if not self.policy.knows(spaces_of(family)):
            return None
        tasks = open_tasks(
            family.require_spec(),
            spaces_of(family),
            num_trials=min(num_trials, self.config.num_trials_for(is_tensor_native=is_tensor_native(family))),
            device="cpu",
            limits=self.limits,
        )
        try:
            return held_out_returns(
                self.policy, tasks, first_task=EVALUATION_TASKS, num_trials=num_trials, progress=progress
            )
        finally:
            tasks.close()


@dataclass(frozen=True, kw_only=True)
class PublishedFewShot:
    """A version's initializations of few-shot families.

    Attributes:
        version: the record of the version.
        tensors: its parameters.
    """

    version: Initialization
    tensors: Mapping[str, Tensor]
    unit: str = "tasks"

    def returns(self, family: Family, *, num_trials: int, progress: Callable[[int], None]) -> HeldOutReturns | None:
        """Adapt to the family's held-out tasks; None if the version has no initialization of the family."""
        described = described_in(self.version).get(family.name)
        if described is None or described["name"] != learner_name(family):
            return None
        return held_out_tasks(
            restore(part_of(self.tensors, described["name"]), described["meta"]),
            open_few_shot(family.require_spec()),
            first_task=EVALUATION_TASKS,
            num_tasks=num_trials,
            chance=family.random_return or 0.0,
            progress=progress,
        )
