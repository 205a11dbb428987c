"""The JSON values of versions and rejected candidates."""

from __future__ import annotations

from typing import Any

from memory.records import Initialization


def version_values(version: Initialization) -> dict[str, Any]:
    """Return the JSON values of a version or of a rejected candidate."""
    return {
        "version": version.version,
        "state": version.state,
        "is_current": version.is_current,
        "parent": version.parent,
        "created_at": version.created_at,
        "reason": version.reason,
        "mean_score": mean_score(version),
        "scores": version.scores,
        "provenance": version.provenance,
        "sha256": version.file.sha256,
        "size_bytes": version.file.size_bytes,
    }


def mean_score(version: Initialization) -> float | None:
    """Mean score over the families that have one."""
    scores = [score.score for score in version.scores if score.score is not None]
    return sum(scores) / len(scores) if scores else None
