"""The jobs that the daemon runs itself, in a thread with its own store: prune and backup."""

from __future__ import annotations

from agent.config.settings import MemorySettings
from memory.records import PrunePolicy
from memory.store import Store


def prune_policy(memory: MemorySettings, store: Store) -> PrunePolicy:
    """Return the limits for prune that keep the size of the whole store within ``memory.max_size``."""
    stats = store.stats.memory_stats()
    episode_bytes = sum(family.size_bytes for family in stats.families)
    other_bytes = max(0, stats.size_bytes - stats.free_bytes - episode_bytes)
    return PrunePolicy(
        max_episode_bytes=max(0, memory.max_size - other_bytes),
        max_episode_age_s=memory.max_age,
        max_rejected=memory.keep_rejected,
    )
