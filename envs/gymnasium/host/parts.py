"""The parts of composite spaces, and their names in messages."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces

ONE_OF: Any = getattr(spaces, "OneOf", ())
"""The class of OneOf spaces; no class in a Gymnasium that has none."""


def named_parts(space: Any) -> list[tuple[Any, Any]]:
    """Return the keys or positions of the parts of a Dict, Tuple or OneOf, each with its part."""
    return list(space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces))


def part_name(name: str, path: tuple[Any, ...]) -> str:
    """Return the name of a part of a space: ``part 'a']['b' of the observation space,``."""
    return f"part {']['.join(map(repr, path))} of the {name}," if path else name
