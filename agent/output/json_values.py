"""Records as JSON: what every `--json` answer is written with."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any


def to_json_values(value: Any) -> Any:
    """Turn records into JSON values: enums become their values, not-a-number and infinity become null."""
    if isinstance(value, Enum):
        return value.value
    if hasattr(type(value), "__dataclass_fields__"):
        from dataclasses import asdict  # here, because it loads inspect: a tenth of what `learnd status --json` takes

        return to_json_values(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): to_json_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json_values(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value


def to_json_text(value: Any, *, is_indented: bool = True) -> str:
    """Return records as JSON text in ASCII: no encoding lacks a character of it, no terminal acts on it."""
    return json.dumps(to_json_values(value), indent=2 if is_indented else None, allow_nan=False)
