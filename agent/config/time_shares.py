"""The largest shares of the trainer's time that kinds of jobs may take, by the settings."""

from __future__ import annotations

from agent.config.settings import Settings
from memory.records import JobKind

NEW_FAMILIES_SHARE = 0.5
"""The share of admissions and of first practice together, if known families can be practised."""

NEW_FAMILIES_AHEAD_S = 30.0
"""Seconds that new families may take before the known ones have as much: a few families are admitted at once."""


def time_shares(settings: Settings) -> dict[JobKind, float]:
    """Return the share of each kind of job that has a budget."""
    return {
        JobKind.ADMIT: NEW_FAMILIES_SHARE,
        JobKind.EVALUATE: settings.evaluation.share,
        JobKind.CONSOLIDATE: settings.consolidation.share,
    }
