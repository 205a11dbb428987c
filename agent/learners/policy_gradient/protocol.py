"""What every learner that adapts policies does, whatever its algorithm.

A learner is built as ``Learner(spaces, config, generator=…)``; ``agent.learners.policy_gradient.registry`` builds and
restores it by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from agent.learners.policy_gradient.episodes import EpisodeBatch
from agent.learners.policy_gradient.policy import AdaptedPolicies
from envs.family import Split
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch


class PolicyLearner(Protocol):
    """A meta-learner of policies over the tasks of a family.

    Its whole state is ``to_tensors()`` and ``to_meta()``: restored from them, it goes on bit for bit as if it had never
    stopped. ``initialization()`` is the part of the tensors, under the same names, that is published and adapts;
    restored from that alone, a learner adapts the same and begins with a fresh optimiser.
    """

    @property
    def spaces(self) -> SpacePair:
        """The spaces it was built for."""
        ...

    @property
    def num_updates(self) -> int:
        """Outer steps taken."""
        ...

    def update(self, tasks: TaskBatch, *, first_task: int) -> dict[str, float]:
        """Take one outer step on training tasks from ``first_task`` on, as many as ``tasks`` holds.

        Returns:
            Named metrics; "return", of an episode before adaptation, is always there.

        Raises:
            WorkerFaultError: the family's worker failed; the learner has not learned from the tasks.
        """
        ...

    def adapt(
        self,
        tasks: TaskBatch,
        *,
        first_task: int,
        split: Split,
        generator: torch.Generator,
        num_steps: int | None = None,
    ) -> AdaptedPolicies:
        """Play a round of episodes and learn from it, several times; the learner is left bit for bit as it was.

        Args:
            tasks: M tasks.
            first_task: index of the first in its split.
            split: training or held-out tasks.
            generator: draws the actions.
            num_steps: rounds; None takes the learner's own number.
        """
        ...

    def adapt_to(self, episodes: EpisodeBatch, policies: AdaptedPolicies | None = None) -> AdaptedPolicies:
        """One step on episodes already played; the learner is left bit for bit as it was.

        Args:
            episodes: a round of M tasks.
            policies: those that played it; None for the learner's own, unadapted.
        """
        ...

    def unadapted(self) -> AdaptedPolicies:
        """The policy that adaptation begins with, a copy."""
        ...

    def initialization(self) -> dict[str, Tensor]:
        """What is published: copies of the tensors that ``adapt`` reads."""
        ...

    def to_tensors(self) -> dict[str, Tensor]:
        """``initialization()`` and beside it all that resuming needs: optimiser, random state."""
        ...

    def to_meta(self) -> dict[str, Any]:
        """JSON values: ``learner`` (its name), ``spaces``, ``config``, ``num_updates``."""
        ...

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> PolicyLearner:
        """The learner of which :meth:`to_tensors` (or :meth:`initialization`) and :meth:`to_meta` tell."""
        ...
