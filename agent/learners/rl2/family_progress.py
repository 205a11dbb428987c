"""The progress of a family's training, which determines its step sizes and how its next trials are played."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.learners.rl2.step_size import next_rate_share
from agent.learners.rl2.trials import TrialBatch, longest_trial, mean_episode_steps
from agent.learners.rl2.warm_start import WarmStart
from envs.spaces import SpacePair


@dataclass
class FamilyProgress:
    """The learner's data of a family, except its critic.

    Attributes:
        spaces: the family's space pair.
        start: what the policy began with in the family's spaces.
        num_updates: updates so far.
        episode_steps: mean steps of an episode in the last trial batch; 1 before the first batch.
        longest_trial: steps of the longest trial in the last trial batch; 1 before the first batch.
        rate_share: share of the learning rate that updates on segments use (:mod:`agent.learners.rl2.step_size`).
    """

    spaces: SpacePair
    start: WarmStart = WarmStart.FRESH
    num_updates: int = 0
    episode_steps: float = 1.0
    longest_trial: float = 1.0
    rate_share: float = 1.0

    def rate_share_for(self, trials: TrialBatch) -> float:
        """Return the share of the learning rate for an update with a trial batch."""
        return 1.0 if trials.segment is None else self.rate_share

    def add_update(self, trials: TrialBatch, *, kl: float) -> None:
        """Count an update with a trial batch.

        Args:
            trials: the batch.
            kl: how far the update changed the policy (:func:`agent.learners.rl2.step_size.next_rate_share`).
        """
        self.num_updates += 1
        self.episode_steps, self.longest_trial = mean_episode_steps(trials), longest_trial(trials)
        if trials.segment is not None:
            self.rate_share = next_rate_share(self.rate_share, kl)

    def to_json(self) -> dict[str, Any]:
        """Return the progress as JSON values."""
        return {
            "spaces": self.spaces.to_json(),
            "num_updates": self.num_updates,
            "episode_steps": self.episode_steps,
            "longest_trial": self.longest_trial,
            "rate_share": self.rate_share,
            "start": str(self.start),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FamilyProgress:
        """Return the progress that :meth:`to_json` described; earlier versions of learnd wrote fewer values."""
        return cls(
            spaces=SpacePair.from_json(values["spaces"]),
            start=WarmStart(values.get("start", WarmStart.FRESH)),
            num_updates=values["num_updates"],
            episode_steps=values.get("episode_steps", 1.0),
            longest_trial=values.get("longest_trial", 1.0),
            rate_share=values.get("rate_share", 1.0),
        )
