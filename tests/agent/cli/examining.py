"""Support for the tests of doctor's checks: a context with a store, a daemon's health page, verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from agent.cli.doctor_findings import CheckContext, Finding, Verdict
from agent.config.loading import load_settings
from memory.folder import DataFolder
from memory.store import Store
from tests.agent.cli.pages import serving


@contextmanager
def examined(folder: DataFolder, **overrides: Any) -> Iterator[CheckContext]:
    """Yield a context for the checks, with a store that is open for reading."""
    settings = load_settings(None, {"data_dir": folder.path, **overrides})
    with Store.open(folder, is_reader=True) as store:
        yield CheckContext(settings=settings, folder=folder, store=store, tell=lambda _: None)


def answering(status: int, text: bytes) -> AbstractContextManager[int]:
    """Serve a daemon's health page with the given status; the context is its port."""
    return serving(lambda _path, _headers: (status, text))


def verdicts(findings: Iterator[Finding]) -> dict[str, Verdict]:
    return {finding.check: finding.verdict for finding in findings}


def damage_an_episode(folder: DataFolder) -> None:
    with Store.open(folder) as store, store._connection.transaction("damaging an episode"):
        store._connection.execute("UPDATE episodes SET payload = zeroblob(length(payload)) WHERE id = 1")
