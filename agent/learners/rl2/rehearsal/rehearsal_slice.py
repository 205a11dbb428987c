"""The steps of rehearsal during one slice of practice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rehearsal.lessons import Lesson, divergences

TRIALS_PER_STEP = 12
"""Trials of a step of rehearsal at most, of all families together."""

TOLERANCE = 0.004
"""Weighted KL in nats below which a family is not rehearsed."""

FULL_LOSS = 0.05
"""Weighted KL in nats, summed over the rehearsed families, from which as many steps are rehearsed as practised."""

FOLLOWING = 0.2
"""Rate at which a family's KL follows that of the steps of rehearsal within a slice."""


def _always() -> bool:
    return True


class RehearsalSlice:
    """The rehearsal of other families during one slice of practice.

    Args:
        learner: the learner.
        lessons: one for each space pair.
        losses: the measured KL of each family of the lessons, by name.
        weights: how much the KL of each of these families counts, in the same order.
        least_loss: KL in nats that a family counts as losing at least.

    Attributes:
        names: the families that are rehearsed.
    """

    def __init__(
        self,
        learner: RL2Learner,
        lessons: Sequence[Lesson],
        losses: Mapping[str, float],
        *,
        weights: Sequence[float],
        least_loss: float = 0.0,
    ) -> None:
        self._learner, self._lessons, self.names = learner, lessons, tuple(losses)
        self._losses, self._weights = torch.tensor(list(losses.values())), torch.tensor(weights)
        self._least_loss = least_loss
        self._credit = 0.0
        """Environment steps that may be rehearsed."""
        self.num_steps = 0
        self.measured: tuple[str, ...] = ()
        """The families that were measured at the start of the slice."""
        self.may_step: Callable[[], bool] = _always
        """Returns whether there is time for a step of rehearsal after a minibatch."""
        self.spent_s = 0.0
        """Seconds that the steps of rehearsal took."""

    @property
    def losses(self) -> dict[str, float]:
        """The KL of each rehearsed family, as the steps of rehearsal found it."""
        return dict(zip(self.names, self._losses.tolist(), strict=True))

    @property
    def num_families(self) -> int:
        """The number of families that are rehearsed."""
        return len(self.names)

    def is_losing(self, names: Iterable[str]) -> bool:
        """Return whether one of these families still diverges by more than the tolerance."""
        losses = self.losses
        return any(losses.get(name, 0.0) > TOLERANCE for name in names)

    def after_minibatch(self, num_env_steps: int) -> None:
        """Take a step of rehearsal if one is due.

        Args:
            num_env_steps: environment steps of the minibatch. At most as many are rehearsed; fewer if little is lost.
        """
        if not self._lessons or not self.may_step():
            return
        self._credit += num_env_steps * min(1.0, float(self._weighted.sum()) / FULL_LOSS)
        if self._credit > 0.0:
            began = time.monotonic()
            self._credit -= self.step()
            self.spent_s += time.monotonic() - began

    @property
    def _weighted(self) -> Tensor:
        return self._losses.clamp(min=self._least_loss) * self._weights

    def step(self) -> float:
        """Take a step of rehearsal, and return its number of environment steps."""
        divergence, num_steps = self._draw_divergence()
        self._learner.descend(divergence)
        return float(num_steps)

    def drawn_divergence(self) -> Tensor | None:
        """Return the mean KL on some of the trials, for an optimiser step of another loss; None without any trials."""
        return self._draw_divergence()[0] if self._lessons else None

    def _draw_divergence(self) -> tuple[Tensor, Tensor]:
        """Return the mean KL on some of the trials, and their number of steps.

        Families are drawn in proportion to what is being lost of them.
        """
        lesson = self._drawn_lesson()
        chances = self._chances(lesson)
        trials = self._draw(chances, min(TRIALS_PER_STEP, len(chances)))
        sums, steps = divergences(
            self._learner.policy, lesson, trials.to(lesson.is_valid.device), num_families=len(self.names)
        )
        self.num_steps += 1
        found, counted = (sums.detach() / steps.clamp(min=1.0)).cpu(), steps.cpu()
        # A policy that diverged is found before the slice is committed; nothing can be drawn in proportion to its KL.
        is_known = (counted > 0) & found.isfinite()
        self._losses = torch.where(is_known, torch.lerp(self._losses, found, FOLLOWING), self._losses)
        return sums.sum() / steps.sum(), counted.sum()

    def _drawn_lesson(self) -> Lesson:
        if len(self._lessons) == 1:
            return self._lessons[0]
        weights = torch.stack([self._chances(lesson).sum() for lesson in self._lessons])
        return self._lessons[int(self._draw(weights, 1))]

    def _chances(self, lesson: Lesson) -> Tensor:
        """Return a weight for each trial, so that each family's trials together weigh what is being lost of it."""
        family = lesson.family_of_trial.cpu()
        num_trials = torch.bincount(family, minlength=len(self._losses)).clamp(min=1)
        return (self._weighted / num_trials)[family].clamp(min=1e-9)

    def _draw(self, weights: Tensor, count: int) -> Tensor:
        generator = self._learner.generator
        return torch.multinomial(weights.to(generator.device), count, generator=generator).cpu()
