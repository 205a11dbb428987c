"""The candidate of families of environments: the learner's parameters of the one policy that plays them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from torch import Tensor

from agent.learners.config_json import ConfigValueError
from agent.learners.evaluation.trials import HeldOutReturns
from agent.learners.family_parts import without_parts
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.parameters import IncompatibleParametersError
from agent.learners.rl2.removed_settings import RemovedSettingError, stored_config
from agent.trainer.gate import KnownReturn, Part, StoredTrialsLoss, Yardstick, compare, yardstick_of
from agent.trainer.known_returns import stored_return
from agent.trainer.practice.protocol import Proposals, PublishedVersion
from memory.records import Family

log = structlog.get_logger(__name__)

Score = Callable[[Mapping[str, Tensor]], dict[str, HeldOutReturns]]
"""A function that returns the returns of parameters on the gate's tasks, for the families that they know."""


Losses = Callable[[Mapping[str, Tensor]], dict[str, float]]
"""A function that returns the KL of parameters on stored trials, for the families that cannot be played."""


def propose_policies(
    families: Sequence[Family],
    *,
    learner: RL2Learner,
    base: PublishedVersion | None,
    score: Score,
    losses: Losses,
) -> Proposals:
    """Return the learner's parameters and the published policy, compared on the same tasks with the same yardsticks.

    Args:
        families: the families to score; the parameters are proposed even if there are none.
        learner: the learner; it is not changed.
        base: the published version.
        score: returns the returns of parameters on ``families``.
        losses: returns what parameters have lost of the families that cannot be played.

    Raises:
        UnscoredError: a family failed, and has a strike for it.
        JobInterruptedError: the daemon requested a stop.
    """
    before = _published_returns(families, base, score)
    own = learner.initialization()
    returns = score(own)
    lost = {} if base is None or base.tensors is None or before.played is None else losses(base.tensors)
    yardsticks = _yardsticks(families, before.known, returns)

    def part(origin: str, tensors: Mapping[str, Tensor], found: Mapping[str, HeldOutReturns]) -> Part:
        comparisons = (compare(played, yardsticks[name]) for name, played in found.items() if name in yardsticks)
        return Part(
            origin=origin,
            tensors=dict(tensors),
            comparisons=tuple(comparisons),
            losses=_compared(losses(tensors), lost),
        )

    unchanged = None
    if before.played is not None and base is not None and base.tensors is not None and _has_config(base, learner):
        unchanged = part("published policy", without_parts(base.tensors), before.played)
    return Proposals(parts=(part("current weights", own, returns),), unchanged=unchanged)


def _has_config(base: PublishedVersion, learner: RL2Learner) -> bool:
    """Return whether the version was made with the learner's settings, so that it can be published again."""
    try:
        return stored_config(base.initialization.provenance["config"]) == learner.config
    except (ConfigValueError, KeyError, RemovedSettingError):
        return False


def _compared(own: Mapping[str, float], published: Mapping[str, float]) -> tuple[StoredTrialsLoss, ...]:
    return tuple(
        StoredTrialsLoss(family=name, divergence=divergence, published=published.get(name))
        for name, divergence in own.items()
    )


@dataclass(frozen=True, kw_only=True)
class _PublishedReturns:
    """The published version's returns by family, and those that were played rather than read from the store."""

    known: dict[str, KnownReturn]
    played: dict[str, HeldOutReturns] | None = None


def _published_returns(families: Sequence[Family], base: PublishedVersion | None, score: Score) -> _PublishedReturns:
    """Return the published version's returns: from play, or the stored ones if it cannot be played.

    It is played once, also if candidates are repaired and proposed again.
    """
    if base is None:
        return _PublishedReturns(known={})
    if base.tensors is not None:
        try:
            if not base.played:
                base.played.update(score(base.tensors))
            known = {name: KnownReturn.played(returns) for name, returns in base.played.items()}
            return _PublishedReturns(known=known, played=base.played)
        except IncompatibleParametersError:
            log.exception("the published version is of another shape; using its stored returns")
    version = base.initialization
    stored = {f.name: stored_return(version, f) for f in families}
    return _PublishedReturns(known={name: known for name, known in stored.items() if known is not None})


def _yardsticks(
    families: Sequence[Family], known: Mapping[str, KnownReturn], returns: Mapping[str, HeldOutReturns]
) -> dict[str, Yardstick]:
    """Return the yardstick of each family that the learner knows; it is the same for all candidates."""
    return {
        family.name: yardstick_of(family, published=known.get(family.name), first=returns[family.name])
        for family in families
        if family.name in returns
    }
