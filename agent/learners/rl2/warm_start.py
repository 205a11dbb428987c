"""The ways in which a policy can begin in the spaces of a new family."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from enum import StrEnum

import torch

from agent.learners.rl2.in_trial_memory.protocol import read_meaning
from agent.learners.rl2.policy import RL2Policy
from envs.spaces import SpacePair


class WarmStart(StrEnum):
    """A way to begin in the spaces of a new family. All families with images share one encoder of images."""

    FRESH = "fresh"
    """New parameters."""

    COPIED = "copied"
    """A copy of the parts that depend on no size, from the most practised spaces with reads of the same meaning."""

    NEAREST = "nearest"
    """A copy of all parts, from the most practised spaces of equal sizes."""

    SHARED = "shared"
    """The network that families of equal spaces share. Only the family's critic is new."""


def possible_starts(policy: RL2Policy, spaces: SpacePair, practised: Sequence[SpacePair]) -> tuple[WarmStart, ...]:
    """Return the ways to begin that differ from each other. If the policy knows the spaces, there is only ``SHARED``.

    Args:
        policy: the policy.
        spaces: the spaces to begin in.
        practised: the spaces of families that were practised, the most practised first.
    """
    if policy.knows(spaces):
        return (WarmStart.SHARED,)
    copies = (WarmStart.COPIED, WarmStart.NEAREST)
    return (WarmStart.FRESH, *(start for start in copies if donor_of(policy, spaces, start, practised) is not None))


def donor_of(
    policy: RL2Policy, spaces: SpacePair, start: WarmStart, practised: Sequence[SpacePair]
) -> SpacePair | None:
    """Return the spaces whose parts are copied for a start; None if there are none."""

    def sizes(pair: SpacePair) -> tuple[object, ...]:
        return pair.observation, pair.action.kind, pair.action.choices, pair.action.width

    def fits(pair: SpacePair) -> bool:
        if start is WarmStart.COPIED:
            return read_meaning(pair, policy.config) is read_meaning(spaces, policy.config)
        return start is WarmStart.NEAREST and sizes(pair) == sizes(spaces)

    return next((pair for pair in practised if fits(pair)), None)


def add_spaces(
    policy: RL2Policy,
    spaces: SpacePair,
    *,
    start: WarmStart,
    practised: Sequence[SpacePair],
    generator: torch.Generator,
) -> None:
    """Add spaces to a policy in one of the ways of :class:`WarmStart`, unless it knows them.

    Raises:
        ValueError: the start is ``SHARED``, and the policy does not know the spaces.
    """
    if policy.knows(spaces):
        return
    if start is WarmStart.SHARED:
        raise ValueError(f"no family of equal spaces shares its parameters: {spaces.key}")
    policy.add_pair(spaces, generator=generator)
    donor = donor_of(policy, spaces, start, practised)
    if donor is None:
        return
    if start is WarmStart.NEAREST:
        policy.pair(spaces).load_state_dict(policy.pair(donor).state_dict())
    else:
        policy.pair(spaces).copy_size_free(policy.pair(donor))


def with_spaces(
    policy: RL2Policy,
    spaces: SpacePair,
    *,
    start: WarmStart,
    practised: Sequence[SpacePair],
    generator: torch.Generator,
) -> RL2Policy:
    """Return a copy of a policy with spaces added as :func:`add_spaces` would add them; change nothing.

    Args:
        policy: the policy.
        spaces: the spaces.
        start: the way to begin.
        practised: the spaces of families that were practised, the most practised first.
        generator: the source of initial parameters; it does not advance.
    """
    same = torch.Generator()
    same.set_state(generator.get_state())
    copied = deepcopy(policy)
    add_spaces(copied, spaces, start=start, practised=practised, generator=same)
    return copied
