"""Conversion of records to JSON, for the output of every `--json` option."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any


def to_json_values(value: Any) -> Any:
    """Convert records to JSON values: enums become their values, not-a-number and infinity become null."""
    if isinstance(value, Enum):
        return value.value
    if hasattr(type(value), "__dataclass_fields__"):
        from dataclasses import (
            asdict,
        )  # not at the top: it loads inspect, a tenth of the time of `learnd status --json`

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
    """Return records as JSON text in ASCII, which every encoding has and which contains no control characters."""
    return json.dumps(to_json_values(value), indent=2 if is_indented else None, allow_nan=False)
