"""The largest shares of the trainer's time that kinds of jobs may take, by the settings."""

from __future__ import annotations

from agent.config.settings import Settings
from memory.records import JobKind


def time_shares(settings: Settings) -> dict[JobKind, float]:
    """Return the share of each kind of job that has a budget."""
    return {JobKind.EVALUATE: settings.evaluation.share, JobKind.CONSOLIDATE: settings.consolidation.share}
