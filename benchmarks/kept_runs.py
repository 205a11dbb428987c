"""Finished runs stored as JSON files, so that an interrupted benchmark continues with the missing ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic_core import to_jsonable_python


class Record(Protocol):
    """A dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Run = TypeVar("Run", bound=Record)


def kept_or_measured(
    path: Path | None, kind: type[Run], measure: Callable[[], Run], *, settings: Mapping[str, Any]
) -> Run:
    """Return a run that an earlier call finished, or measure and store a new one.

    Args:
        path: the run's file; None stores nothing.
        kind: the run's dataclass, whose fields are JSON values.
        measure: a function that makes a new run.
        settings: the settings of the measurement as JSON values; stored with the run.

    Raises:
        SystemExit: the file contains a run with other settings.
    """
    if path is not None and path.exists():
        kept = json.loads(path.read_text())
        if kept.get("settings") != to_jsonable_python(settings):
            raise SystemExit(f"{path} is a run with other settings: give another --folder, or remove it")
        return kind(**kept["run"])
    run = measure()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(json.dumps({"settings": settings, "run": asdict(run)}, indent=1) + "\n")
        unfinished.replace(path)
    return run
