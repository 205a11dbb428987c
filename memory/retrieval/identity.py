"""The identity of a stored trial's task: trials of equal identities were played in the same task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_PLACES = frozenset({"split", "index", "seed", "label"})
"""Parts of a stored task that say where it was drawn, and not what it is."""


def task_identity(family: str, task: Mapping[str, Any], digest: bytes) -> str:
    """Return a text that is equal for stored trials of the same task, however often it was drawn.

    It is the first of these that there is:

    - the values that were drawn for the task
    - the digest of ``info["context"]``, which its environment gave
    - its place among the tasks of the family
    - the digest

    Args:
        family: name of the family.
        task: the task as it is stored.
        digest: digest of the context or of the first observation.
    """
    said = {name: value for name, value in task.items() if name not in _PLACES and value not in ({}, None, [], "")}
    context = said.pop("context", None)
    if said:
        return json.dumps([family, said], sort_keys=True)
    if context is not None:
        return json.dumps([family, context])
    if "index" in task:
        return json.dumps([family, task.get("split"), task["index"]])
    return digest.hex()
