"""The returns of published versions, read from the store."""

from __future__ import annotations

from collections.abc import Iterable

from agent.config.settings import ConsolidationSettings
from agent.trainer.families import held_out_trials
from agent.trainer.gate import KnownReturn
from agent.trainer.score_scale import scale_of
from memory.records import Family, Initialization, InitializationState


def stored_return(version: Initialization, family: Family) -> KnownReturn | None:
    """Return the return stored with a version; None if the version was not scored on the family.

    What an earlier family of the same name earned does not count.
    """
    if version.created_at < family.created_at:
        return None
    found = next((score for score in version.scores if score.family == family.name), None)
    return None if found is None else KnownReturn.stored(found, scale_of(family))


def best_returns(
    versions: Iterable[Initialization], families: Iterable[Family], section: ConsolidationSettings
) -> dict[str, KnownReturn]:
    """Return each family's best return over the published versions that played as many of the gate's tasks.

    Args:
        versions: published versions and rejected candidates.
        families: the families; an earlier family of the same name does not count.
        section: the numbers of held-out trials.
    """
    known = {family.name: family for family in families}
    best: dict[str, KnownReturn] = {}
    for version in versions:
        if version.state is not InitializationState.PUBLISHED:
            continue
        for score in version.scores:
            family = known.get(score.family)
            stored = None if family is None else stored_return(version, family)
            if family is None or stored is None or score.num_trials < held_out_trials(family, section):
                continue
            if family.name not in best or stored.mean > best[family.name].mean:
                best[family.name] = stored
    return best
