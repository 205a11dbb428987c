"""The protocol that learners of policies implement.

A learner is built as ``Learner(spaces, config, generator=…)``. ``agent.learners.factory`` builds and restores it by
name; ``agent.learners.policy_gradient.loops`` adapts any of them to tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from agent.learners.policy_gradient.loops import AdaptingLearner
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch


class PolicyLearner(AdaptingLearner, Protocol):
    """A meta-learner of policies over the tasks of a family.

    ``to_tensors()`` and ``to_meta()`` are its whole state: a learner restored from them continues bit for bit as if it
    had never stopped. ``initialization()`` is the part of the tensors, under the same names, that is published and used
    for adapting. A learner restored from the initialization alone adapts in the same way and starts with a fresh
    optimiser.
    """

    @property
    def spaces(self) -> SpacePair:
        """The spaces for which it was built."""
        ...

    @property
    def num_updates(self) -> int:
        """The number of outer steps taken."""
        ...

    def update(self, tasks: TaskBatch, *, first_task: int) -> dict[str, float]:
        """Take one outer step on training tasks from ``first_task`` on, as many as ``tasks`` holds.

        Returns:
            Named metrics; always "return", of an episode before adaptation.

        Raises:
            WorkerFaultError: the family's worker failed; the learner has not learned from the tasks.
        """
        ...

    def initialization(self) -> dict[str, Tensor]:
        """Return the tensors to publish: copies of those that adapting reads."""
        ...

    def to_tensors(self) -> dict[str, Tensor]:
        """Return ``initialization()`` and everything else that resuming needs: optimiser, random state."""
        ...

    def to_meta(self) -> dict[str, Any]:
        """Return JSON values: ``learner`` (its name), ``spaces``, ``config``, ``num_updates``."""
        ...

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> PolicyLearner:
        """Restore a learner from :meth:`to_tensors` (or :meth:`initialization`) and :meth:`to_meta`."""
        ...
