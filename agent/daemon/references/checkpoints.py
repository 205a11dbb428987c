"""The files in which measurements of references keep their state: ``measurements/ID.safetensors`` in the data folder.

The measuring process writes them. The daemon names them and removes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import structlog

from memory.records import Family

log = structlog.get_logger(__name__)


class MeasurementCheckpoints:
    """The checkpoints of measurements, one for each family whose measurement was interrupted.

    Args:
        path: their folder, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def prepare(self, family: Family, families: Iterable[Family]) -> Path:
        """Return the path of a family's checkpoint, and make its folder.

        Files of other families are removed, unless a family among ``families`` still has no reference. An error is
        logged: without a checkpoint, a measurement that is interrupted begins again.
        """
        kept = {self._file(other) for other in families if other.reference_return is None} | {self._file(family)}
        try:
            self._path.mkdir(mode=0o700, exist_ok=True)
            for file in self._path.iterdir():
                if file not in kept:
                    file.unlink(missing_ok=True)
        except OSError as error:
            log.warning("checkpoints of measurements cannot be kept", folder=str(self._path), error=str(error))
        return self._file(family)

    def remove(self, family: Family) -> None:
        """Remove a family's checkpoint, if there is one: its measurement has ended."""
        try:
            self._file(family).unlink(missing_ok=True)
        except OSError as error:
            log.warning("checkpoint of a measurement cannot be removed", family=family.name, error=str(error))

    def _file(self, family: Family) -> Path:
        return self._path / f"{family.id}.safetensors"
