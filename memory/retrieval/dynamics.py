"""Recognition of a task by what its actions do, where observations and actions are indices.

p(task | steps) ∝ p(task) Π_t p(o_t | s_t, a_t, task),    p(o | s, a, task) = (n(o) + c q(o)) / (n + c)

An outcome o is the next observation, the reward and whether the episode terminated. n counts the outcomes of the pair
(s, a) in the stored trials of the task. q is their distribution over the trials of all tasks, which is also the
prediction for a task that was never met; its prior probability is the share of the stored trials whose task was new.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from envs.spaces import ActionKind, ObservationKind, SpacePair
from memory.records import TrialRecord

PRIOR_VISITS = 0.3
"""c: the weight of all tasks in the prediction for one task, in visits of a pair."""

UNSEEN = 0.5
"""Visits that an outcome counts as that was never seen in a pair."""

LEAST_SHARE = 0.05
"""Smallest prior probability of a task that was met, and of one that was not."""

Pair = tuple[int, tuple[int, ...]]
Outcome = tuple[int, float, bool]


def has_countable_steps(spaces: SpacePair) -> bool:
    """Return whether observations and actions are indices."""
    return spaces.observation.kind is ObservationKind.DISCRETE and spaces.action.kind is not ActionKind.CONTINUOUS


class TaskDynamics:
    """The outcomes that were seen in each of many tasks."""

    def __init__(self) -> None:
        self._of_task: dict[str, dict[Pair, Counter[Outcome]]] = defaultdict(lambda: defaultdict(Counter))
        self._of_all: dict[Pair, Counter[Outcome]] = defaultdict(Counter)
        self._num_trials = 0

    def add(self, task: str, trial: TrialRecord) -> None:
        """Add a trial of a task."""
        self._num_trials += 1
        of_task = self._of_task[task]
        for pair, outcome in _steps(trial):
            of_task[pair][outcome] += 1
            self._of_all[pair][outcome] += 1

    def __contains__(self, task: str) -> bool:
        """Return whether a trial of a task was added."""
        return task in self._of_task

    def most_likely(self, tasks: Iterable[str], begun: TrialRecord) -> tuple[str, float]:
        """Return the most likely of some tasks, and the probability that a trial is played in it.

        Args:
            tasks: at least one task that was added; the trial is in one of them or in one that was never met.
            begun: the steps of the trial so far.
        """
        steps = list(_steps(begun))
        shared = [self._share(pair, outcome) for pair, outcome in steps]
        names = list(dict.fromkeys(tasks))
        met = min(max(1.0 - len(self._of_task) / self._num_trials, LEAST_SHARE), 1.0 - LEAST_SHARE)
        scores = [math.log(met / len(names)) + self._log_likelihood(name, steps, shared) for name in names]
        new = math.log(1.0 - met) + sum(math.log(share) for share in shared)
        best = max(range(len(names)), key=scores.__getitem__)
        return names[best], 1.0 / sum(math.exp(score - scores[best]) for score in (*scores, new))

    def _share(self, pair: Pair, outcome: Outcome) -> float:
        """Return q, the share of an outcome of a pair over all tasks."""
        counts = self._of_all.get(pair, Counter())
        return (counts[outcome] + UNSEEN) / (counts.total() + 2.0 * UNSEEN)

    def _log_likelihood(self, task: str, steps: list[tuple[Pair, Outcome]], shared: list[float]) -> float:
        of_task, total = self._of_task[task], 0.0
        for (pair, outcome), share in zip(steps, shared, strict=True):
            counts = of_task.get(pair)
            seen, visits = (0, 0) if counts is None else (counts[outcome], counts.total())
            total += math.log((seen + PRIOR_VISITS * share) / (visits + PRIOR_VISITS))
        return total


def _steps(trial: TrialRecord) -> Iterator[tuple[Pair, Outcome]]:
    """Yield the pair and the outcome of each step."""
    for episode in trial.episodes:
        seen = episode.observations[:, 0].astype(int).tolist()
        actions = episode.actions.reshape(len(episode.rewards), -1).astype(int).tolist()
        last = len(actions) - 1
        for index, (action, reward) in enumerate(zip(actions, episode.rewards.tolist(), strict=True)):
            is_end = episode.is_terminated and index == last
            yield (seen[index], tuple(action)), (seen[index + 1], round(reward, 3), is_end)
