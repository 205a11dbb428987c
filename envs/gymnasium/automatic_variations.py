"""Variations of learnd's own, which fit any environment, such as ``--vary auto`` and ``--vary numbers``.

A declaration names them before the environment is known. :func:`complete` opens the environment once and replaces them
by complete variations, so that the stored family says exactly how its tasks differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from envs.errors import FamilySpecError
from envs.family import FamilySpec
from envs.gymnasium.batch import WorkerTaskBatch
from envs.gymnasium.interface import action_sizes
from envs.gymnasium.variations import Distribution, InterfaceChange, Variation, VariationTarget, is_open
from envs.limits import WorkerLimits
from envs.spaces import ObservationKind, SpacePair

MAX_PERMUTED = 256
"""The largest number of choices or values that are permuted or scaled: a stored task holds a number for each."""


def complete(
    spec: FamilySpec,
    *,
    limits: WorkerLimits | None = None,
    on_wait: Callable[[], None] | None = None,
    within_s: float = math.inf,
    tell_unchecked: Callable[[str], None] = lambda _what: None,
) -> FamilySpec:
    """Return the family with every automatic variation replaced by complete ones.

    A family without automatic variations is returned as it is, and its environment is not opened.

    Args:
        spec: the family as declared.
        limits: limits of the worker that opens the environment.
        on_wait: called repeatedly while the worker works.
        within_s: time for finding out which numbers among the environment's attributes matter.
        tell_unchecked: called with what there was no time for.

    Raises:
        FamilySpecError: an automatic variation does not fit the environment.
        WorkerFaultError: the environment could not be opened.
    """
    if not is_open(spec.variations):
        return spec
    declared = tuple(v for v in spec.variations if v.distribution is not Distribution.AUTO)
    asked = [v for v in spec.variations if v.distribution is Distribution.AUTO]
    plain = WorkerTaskBatch(
        replace(spec, variations=declared), num_trials=1, device="cpu", limits=limits, on_wait=on_wait
    )
    with closing(plain):
        factors = [float(v.options["amount"]) for v in asked if v.name in {"auto", "numbers"}]
        numbers = plain.effective_numbers(max(factors), within_s=within_s) if factors else {}
        if not numbers.get("is_whole", True):
            tell_unchecked("whether further numbers among the environment's attributes could vary")
        environment = _Environment(spec=spec, spaces=plain.spaces, declared=declared, numbers=numbers)
    completed: dict[str, Variation] = {}
    for variation in asked:
        for found in environment.variations(variation):
            completed.setdefault(found.name, found)
    return replace(spec, variations=(*declared, *completed.values()))


@dataclass(frozen=True, kw_only=True)
class _Environment:
    """The facts about an environment that completing a variation needs.

    Attributes:
        spec: the family as declared.
        spaces: its spaces.
        declared: the variations that are complete as declared; their names are taken.
        numbers: the answer of :meth:`WorkerTaskBatch.effective_numbers`.
    """

    spec: FamilySpec
    spaces: SpacePair
    declared: tuple[Variation, ...]
    numbers: Mapping[str, Any]

    def variations(self, asked: Variation) -> list[Variation]:
        """Return the complete variations of an automatic one.

        Raises:
            FamilySpecError: there are none.
        """
        amount, form = float(asked.options["amount"]), str(asked.options["form"])
        if asked.name == "auto":
            return self._all_that_fit(amount)
        if asked.name == "actions":
            return self._actions() or self._refuse(asked, f"it has one choice, or more than {MAX_PERMUTED}.")
        if asked.name == "observations":
            return self._observations(form, amount) or self._refuse(
                asked,
                f"its observations have one number or more than {MAX_PERMUTED}, are images, or an index is to be "
                "scaled.",
            )
        if asked.name == "sticky":
            return [_sticky(amount)]
        if asked.name == "rewards":
            return [_delay(amount)]
        return self._numbers(amount) or self._refuse(asked, self._without_numbers())

    def _all_that_fit(self, factor: float) -> list[Variation]:
        """Return the variations of ``--vary auto``.

        Vectors are scaled and not permuted, because a policy needs far more practice to find out the order of their
        values. Each change of the interface is made in a share of the tasks, so that tasks with few changes lead to
        those with many (``docs/lab/variations.md``).
        """
        is_index = self.spaces.observation.kind is ObservationKind.DISCRETE
        changes = [
            *self._actions(),
            *self._observations("permute" if is_index else "scale", AUTO_SCALE),
            _sticky(AUTO_STICKINESS),
            _delay(AUTO_DELAY),
        ]
        return [
            *(replace(change, options={**change.options, "share": AUTO_SHARE}) for change in changes),
            *self._numbers(factor),
        ]

    def _actions(self) -> list[Variation]:
        action = self.spaces.action
        sizes = list(action_sizes(action))
        if max(sizes) > MAX_PERMUTED:
            return []
        signs = [_interface(InterfaceChange.ACTION_SIGNS, Distribution.SIGNS, size=action.num_numbers)]
        orders = [_interface(InterfaceChange.ACTIONS, Distribution.PERMUTATIONS, sizes=sizes)]
        return (orders if max(sizes) > 1 else []) + (signs if action.has_numbers else [])

    def _observations(self, form: str, amount: float) -> list[Variation]:
        size, is_index = self.spaces.observation.size, self.spaces.observation.kind is ObservationKind.DISCRETE
        if self.spaces.observation.kind is ObservationKind.IMAGE:
            return []
        if size > MAX_PERMUTED or (size == 1 and (is_index or form == "permute")) or (is_index and form != "permute"):
            return []
        if form == "permute":
            return [_interface(InterfaceChange.OBSERVATIONS, Distribution.PERMUTATIONS, sizes=[size])]
        if form == "flip":
            return [_interface(InterfaceChange.OBSERVATION_SIGNS, Distribution.SIGNS, size=size)]
        factors, name = Distribution.FACTORS, InterfaceChange.OBSERVATION_SCALES
        return [_interface(name, factors, low=1.0 / amount, high=amount, size=size)]

    def _numbers(self, factor: float) -> list[Variation]:
        taken = {variation.name for variation in self.declared}
        found = self.numbers["numbers"].items()
        return [_scaled_number(name, value, factor) for name, value in found if name not in taken]

    def _without_numbers(self) -> str:
        if self.numbers["is_replayed"] is None:
            return "it is too slow to find out in time which numbers change its dynamics."
        if not self.numbers["is_replayed"]:
            return "the environment does not replay from its seed, so it is unknown which numbers change its dynamics."
        return "no float among its public attributes changes its dynamics, or each is varied already."

    def _refuse(self, asked: Variation, found: str) -> NoReturn:
        raise FamilySpecError(
            operation="completing variation",
            subject=f"{asked.name} of {self.spec.entry}",
            found=found,
            hint="Leave it out, or write --vary auto, which takes what fits.",
        )


AUTO_SHARE = 0.5
"""Share of the tasks in which ``--vary auto`` makes each change of the interface."""

AUTO_SCALE = 2.0
"""Largest factor of a value of an observation under ``--vary auto``."""

AUTO_STICKINESS = 0.25
"""Largest probability of a repeated action under ``--vary auto``: the value of Machado et al. (2018)."""

AUTO_DELAY = 3.0
"""Largest delay of rewards in steps under ``--vary auto``."""


def _interface(
    name: InterfaceChange, distribution: Distribution, *, low: float = 0.0, high: float = 1.0, **options: Any
) -> Variation:
    return Variation(
        name=name.value,
        target=VariationTarget.INTERFACE,
        distribution=distribution,
        low=low,
        high=high,
        options=options,
    )


def _sticky(largest: float) -> Variation:
    return _interface(InterfaceChange.STICKY_ACTIONS, Distribution.UNIFORM, high=largest)


def _delay(longest: float) -> Variation:
    return _interface(InterfaceChange.REWARD_DELAY, Distribution.INTEGER, high=longest)


def _scaled_number(name: str, value: float, factor: float) -> Variation:
    """Return the variation of a number between its value divided and multiplied by the factor."""
    low, high = (float(f"{bound:.6g}") for bound in sorted((value / factor, value * factor)))
    distribution = Distribution.LOG_UNIFORM if value > 0 else Distribution.UNIFORM
    return Variation(name=name, distribution=distribution, low=low, high=high)
