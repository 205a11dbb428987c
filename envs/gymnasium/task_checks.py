"""Comparisons between tasks of a worker. They check that the tasks have equal spaces, are independent, and differ.

Every comparison is limited in time. If tasks cannot be compared, the finding says so, and no fault is reported.

Shapes: T steps, k rows, D observation width.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from envs.effort import Effort, TimeLimit
from envs.family import FamilySpec, Split
from envs.gymnasium.batch import WorkerTaskBatch
from envs.gymnasium.task_drawing import Task, draw_tasks, vary_one
from envs.gymnasium.variations import COMBINATIONS, Variation
from envs.random_actions import random_actions
from envs.random_play import Progress
from envs.spaces import ActionSpec

FEWEST_RUNS = 6
"""Runs of two copies that a comparison of copies may need."""

MAX_TASKS = 256
MAX_STEPS = 200
MAX_ROUNDS = 8
MAX_DRAWS = 64
HELD_STEPS = 10
"""Steps for which an action is repeated in every second round: new random actions at each step hardly move some
environments."""


@dataclass(frozen=True, kw_only=True)
class WorldFinding:
    """The result of stepping a copy alone and in turn with another copy.

    Attributes:
        is_compared: whether a copy could be compared: it replays, and there was enough time.
        differing_step: the first step at which the copy's result changed because another copy was stepped; None if
            there is no such step.
        depends_on_actions: whether the change depends on the other copy's actions, as in a shared simulation; with a
            shared counter or setting it does not.
        is_slow: whether there was not enough time to compare.
    """

    is_compared: bool
    differing_step: int | None = None
    depends_on_actions: bool = False
    is_slow: bool = False


@dataclass(kw_only=True)
class VariationFindings:
    """The result of comparing tasks that differ in one variation.

    Attributes:
        is_compared: whether tasks could be compared: they replay, and there was enough time.
        is_slow: whether there was not enough time to compare.
        undone: attributes that a reset overwrites → the drawn value, and the value after the reset.
        without_effect: variations that changed no observation, reward or end of an episode.
        num_steps: number of steps in which the tasks were compared.
    """

    is_compared: bool = True
    is_slow: bool = False
    undone: dict[str, tuple[str, str]] = field(default_factory=dict)
    without_effect: list[Variation] = field(default_factory=list)
    num_steps: int = 0


@dataclass(frozen=True, kw_only=True)
class CompareTime:
    """The time of comparisons.

    Attributes:
        effort: the limits of each comparison, without its resets.
        limit: the limit of all comparisons, with their resets.
        begin_s: the time in which one task usually begins.
    """

    effort: Effort
    limit: TimeLimit
    begin_s: float = 0.0

    def allows(self, num_begins: int) -> bool:
        """Return whether there is time to begin so many tasks."""
        return num_begins * self.begin_s < self.limit.left_s()


def compare_spaces(tasks: WorkerTaskBatch, limits: CompareTime, report: Progress) -> int:
    """Begin many tasks of both splits, because the worker compares the spaces of each task that it begins.

    Returns:
        The number of tasks of each split that were begun.

    Raises:
        FamilySpecError: a task has other spaces than the first task.
    """
    end, begun, count = time.monotonic() + limits.effort.spaces_s, 0, 1
    while begun < MAX_TASKS and time.monotonic() < end and limits.allows(len(Split) * count):
        for split in Split:
            tasks.begin_chosen(draw_tasks(tasks.spec, split, begun, count))
        begun += count
        count = min(2 * count, tasks.num_trials)
        report("comparing spaces", begun)
    return begun


def compare_copies(tasks: WorkerTaskBatch, limits: CompareTime, report: Progress) -> WorldFinding:
    """Step one copy alone, then step it again in turn with another copy, and compare the results.

    If the results differ although seed and actions are equal, the two copies share something: a global simulation,
    class attributes, or a module's globals. Only the steps up to which the copy replays when it is alone are compared.
    """
    generator = torch.Generator().manual_seed(0)
    clock = _Clock(limits.effort.world_s)
    finding = WorldFinding(is_compared=False, is_slow=True)
    for attempt, row in enumerate((0, 1)):
        if not limits.allows(2 * FEWEST_RUNS):
            break
        target, *others = draw_tasks(tasks.spec, Split.TRAINING, MAX_DRAWS * attempt, MAX_DRAWS)
        other = next((task for task in others if task.drawn() != target.drawn()), others[0])
        alone, mixed = [target, target], [other, other]
        mixed[row] = target
        actions = _action_rows(tasks.spaces.action, generator, num_rows=2)
        found = _compare_copy(tasks, _CopyRun(alone, mixed, row, actions), limits, clock)
        report("comparing copies", attempt + 1)
        if found.differing_step is not None:
            return found
        if found.is_slow:
            return finding
        finding = found if found.is_compared or attempt == 0 else finding
        if clock.left() <= 0:
            break
    return finding


@dataclass(frozen=True)
class _CopyRun:
    """The inputs of one comparison: a task alone, the same task with another one, its row, and both rows' actions."""

    alone: list[Task]
    mixed: list[Task]
    row: int
    actions: list[Tensor]


def _compare_copy(tasks: WorkerTaskBatch, run: _CopyRun, limits: CompareTime, clock: _Clock) -> WorldFinding:
    clock.lap()
    only = [row == run.row for row in range(2)]
    # The first run steps half of the rows, so its time gives an estimate for the four or five further runs.
    alone = _play(tasks, run.alone, run.actions, only, longest_s=limits.effort.world_s / 8)
    actions = run.actions[: len(alone) - 1]
    if 6 * (lap_s := clock.lap()) > min(limits.effort.most_s, limits.limit.left_s() + lap_s):
        return WorldFinding(is_compared=False, is_slow=True)
    again = _play(tasks, run.alone, actions, only)
    together = _play(tasks, run.mixed, actions, [True, True])
    num_replayed = _first_difference(alone, again, run.row, run.row)
    if num_replayed == 0:
        return WorldFinding(is_compared=False)
    differing = _first_difference(alone[:num_replayed], together, run.row, run.row)
    if differing == num_replayed:
        return WorldFinding(is_compared=True)
    # Repeat both runs, so that rare noise is not mistaken for an effect of the other copy.
    once_more = _play(tasks, run.alone, actions, only)
    mixed_again = _play(tasks, run.mixed, actions, [True, True])
    num_replayed = _first_difference(alone, once_more, run.row, run.row)
    if num_replayed > differing == _first_difference(alone, mixed_again, run.row, run.row):
        steered = _play(tasks, run.mixed, [_steered(action, run.row) for action in actions], [True, True])
        depends = _first_difference(together, steered, run.row, run.row) < min(len(together), len(steered))
        return WorldFinding(is_compared=True, differing_step=differing, depends_on_actions=depends)
    return WorldFinding(is_compared=False)


def compare_variations(tasks: WorkerTaskBatch, limits: CompareTime, report: Progress) -> VariationFindings:
    """Compare tasks that have the same seed and the same actions and differ in one variation only."""
    spec, effort = tasks.spec, limits.effort
    findings = VariationFindings()
    untold = [variation for variation in spec.variations if variation.distribution not in COMBINATIONS]
    compared: set[str] = set()
    clock = _Clock(effort.variations_s)
    base, pairs = _pairs(spec, untold[: tasks.num_trials - 2], first_task=0)
    if not limits.allows(1 + len(pairs)):
        findings.is_compared, findings.is_slow = False, True
        return findings
    tasks.begin_chosen([base, *pairs.values()])
    findings.undone = tasks.undone_attributes()
    if 3 * clock.lap() > effort.most_s or not limits.allows(2 + len(pairs)):
        findings.is_compared, findings.is_slow = False, True
        return findings
    generator, clock = torch.Generator().manual_seed(0), _Clock(effort.variations_s)
    for attempt in range(MAX_ROUNDS):
        base, pairs = _pairs(spec, untold[: tasks.num_trials - 2], first_task=MAX_DRAWS * attempt)
        actions = _action_rows(tasks.spaces.action, generator, num_rows=1, is_held=attempt % 2 == 1)
        rows = _Rows(tasks, [base, base, *pairs.values()])
        findings.is_compared = rows.play_until_all_differ(actions, clock)
        findings.is_slow = not findings.is_compared and not rows.differing[0]
        findings.num_steps += rows.num_steps
        report("comparing tasks", attempt + 1)
        compared |= pairs.keys()
        differing = {name for name, differs in zip(pairs, rows.differing[1:], strict=True) if differs}
        untold = [variation for variation in untold if variation.name not in differing]
        if not compared & {v.name for v in untold} or not findings.is_compared:
            break
        if 1.5 * clock.lap() > clock.left() or not limits.allows(2 + len(untold)):
            break
    findings.without_effect = [variation for variation in untold if variation.name in compared]
    return findings


def _pairs(spec: FamilySpec, variations: Sequence[Variation], *, first_task: int) -> tuple[Task, dict[str, Task]]:
    """Return a task, and by the name of each variation the same task with another value of that variation.

    A variation that only ever takes one value is left out.
    """
    base, *donors = draw_tasks(spec, Split.TRAINING, first_task, MAX_DRAWS)
    pairs = {}
    for variation in variations:
        drawn = base.drawn()[variation.name]
        others = (donor.drawn()[variation.name] for donor in donors)
        other = next((value for value in others if value != drawn), drawn)
        if other != drawn:
            pairs[variation.name] = vary_one(spec.variations, base, variation.name, other)
    return base, pairs


class _Rows:
    """A set of running tasks that take the same actions; each is compared with the task in row 0.

    Args:
        tasks: the batch in which the tasks are begun.
        chosen: the tasks. The first two must be the same task, to check whether it replays.
    """

    def __init__(self, tasks: WorkerTaskBatch, chosen: list[Task]) -> None:
        self._tasks = tasks
        self._size = len(chosen)
        self._active = _mask(tasks, [True] * self._size)
        first = tasks.begin_chosen(chosen)
        self.differing = (first != first[0]).any(1)[1:].tolist()
        self.num_steps = 0

    def play_until_all_differ(self, actions: Sequence[Tensor], clock: _Clock) -> bool:
        """Step until every task except the second differs from the first, the actions are used, or time has run out.

        Returns:
            Whether tasks were compared: False if the second task, which equals the first, differed too, or if there was
            no time for a step.
        """
        for action in actions:
            if self.differing[0]:
                return False
            if all(self.differing[1:]) or clock.left() <= 0:
                return self.num_steps > 0 or all(self.differing[1:])
            taken = action.expand(self._tasks.num_trials, *action.shape[1:])
            seen = _seen(self._tasks, taken, self._active, self._size)
            now = (seen != seen[0]).any(1)[1:].tolist()
            self.differing = [before or differs for before, differs in zip(self.differing, now, strict=True)]
            self.num_steps += 1
        return not self.differing[0]


def _play(
    tasks: WorkerTaskBatch, chosen: list[Task], actions: Sequence[Tensor], active: list[bool], longest_s: float = 60.0
) -> list[Tensor]:
    """Play tasks in the first rows and return their results [k, 2 D + 3]: the first observations, then each step.

    After ``longest_s`` no further step is taken, but at least one step is taken.
    """
    first = tasks.begin_chosen(chosen)
    seen = [torch.cat([first, torch.zeros(len(chosen), first.shape[1] + 3)], dim=1)]
    mask, end = _mask(tasks, active), time.monotonic() + longest_s
    for action in actions:
        if len(seen) > 1 and time.monotonic() > end:
            break
        rows = torch.cat([action, action[:1].expand(tasks.num_trials - len(chosen), *action.shape[1:])])
        seen.append(_seen(tasks, rows, mask, len(chosen)))
    return seen


def _seen(tasks: WorkerTaskBatch, action: Tensor, active: Tensor, num_rows: int) -> Tensor:
    """Take a step and return the results of the first rows [k, 2 D + 3]."""
    transition = tasks.step(action, active)
    ends = torch.stack([transition.reward, transition.terminated.float(), transition.truncated.float()], dim=1)
    return torch.cat([transition.observation, transition.final_observation, ends], dim=1)[:num_rows]


def _steered(action: Tensor, row: int) -> Tensor:
    """Return the actions of two rows, with the other row's action replaced by the action of ``row``."""
    return action[[row, row]]


def _first_difference(one: list[Tensor], other: list[Tensor], row: int, other_row: int) -> int:
    """Return the index of the first result in which a row differs; without one, the length of the shorter list."""
    for place, (seen, compared) in enumerate(zip(one, other, strict=False)):
        if not torch.equal(seen[row], compared[other_row]):
            return place
    return min(len(one), len(other))


def _mask(tasks: WorkerTaskBatch, active: list[bool]) -> Tensor:
    return torch.tensor([*active, *([False] * (tasks.num_trials - len(active)))])


def _action_rows(
    action: ActionSpec, generator: torch.Generator, *, num_rows: int, is_held: bool = False
) -> list[Tensor]:
    """Return random actions of ``MAX_STEPS`` steps, [k] or [k, n] each.

    With ``is_held`` each action is repeated for ``HELD_STEPS`` steps.
    """
    drawn = [random_actions(action, num_rows, generator) for _ in range(MAX_STEPS)]
    return [drawn[step - step % HELD_STEPS] for step in range(MAX_STEPS)] if is_held else drawn


class _Clock:
    """A budget of time.

    Args:
        budget_s: the budget in seconds.
    """

    def __init__(self, budget_s: float) -> None:
        self._end = time.monotonic() + budget_s
        self._lap = time.monotonic()

    def left(self) -> float:
        """Return the remaining seconds; negative after the end."""
        return self._end - time.monotonic()

    def lap(self) -> float:
        """Return the seconds since the last call, or since the start for the first call."""
        before, self._lap = self._lap, time.monotonic()
        return self._lap - before
