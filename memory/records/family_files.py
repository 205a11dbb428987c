"""Files that declare families."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class FamilyFile:
    """A file that declared a family.

    Attributes:
        path: its absolute path.
        family_id: id of the family.
        declaration: the spec that it declared, as JSON values. The family's own spec may have been completed since.
        content: its keys and values, as JSON values; None if an older learnd recorded it.
        is_gone: whether the file does not exist any more, so that its family was paused.
    """

    path: str
    family_id: int
    declaration: Mapping[str, Any]
    content: Mapping[str, Any] | None
    is_gone: bool
