"""Hostile environments are admitted or refused with the right reason, and leave nothing behind."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from envs.effort import Effort
from envs.errors import WorkerFaultError
from envs.examination import examine
from envs.family import FamilySource, FamilySpec, Split
from envs.gymnasium.batch import WorkerTaskBatch
from envs.limits import WorkerLimits
from tests.envs.families import all_active
from tests.envs.hostile.expected import (
    ENVIRONMENTS,
    EXPECTED,
    KNOWN_TO_STAY,
    NOT_REFUSED,
    Expected,
    copied,
    family_of,
)
from tests.envs.hostile.leftovers import SHARED_MEMORY, await_no_process, count, processes_of, shared_memory_of
from tests.envs.hostile.surroundings import surroundings

SHORT = Effort(contract_steps=20, contract_s=20.0, spaces_s=0.05, enough_s=0.05)
LIMITS = WorkerLimits(
    memory_mib=700,
    step_timeout_s=20.0,
    start_timeout_s=60.0,
    watch_interval_s=0.1,
    max_processes=64,
    disk_mib=64,
    num_cores=1,
)
NUM_COPIES = 2


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the mark of everything that the test's environment leaves; its temporary files are the test's own."""
    token = f"600.{secrets.randbelow(10**12):012d}1"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("HOSTILE_TOKEN", token)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with surroundings(tmp_path, monkeypatch):
        yield token
    for path in shared_memory_of(token):
        path.unlink()


def limits_of(expected: Expected, folder: Path) -> WorkerLimits:
    return replace(
        LIMITS,
        hidden=(str(folder / "store"),),
        step_timeout_s=expected.step_timeout_s,
        start_timeout_s=expected.start_timeout_s,
    )


def practise(spec: FamilySpec, limits: WorkerLimits) -> None:
    """Play some steps as practice does, and close."""
    tasks = WorkerTaskBatch(spec, num_trials=NUM_COPIES, device="cpu", limits=limits)
    try:
        tasks.begin(0, split=Split.TRAINING)
        for _ in range(30):
            tasks.step(torch.zeros(NUM_COPIES, dtype=torch.int64), all_active(NUM_COPIES))
    finally:
        tasks.close()


def test_every_environment_has_an_expectation() -> None:
    names = {path.stem for path in ENVIRONMENTS.glob("*.py")} - {"__init__", "calm"}
    assert names == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_hostile_environment_costs_its_own_family_and_leaves_nothing(name: str, token: str, tmp_path: Path) -> None:
    if name in NOT_REFUSED:
        pytest.skip(NOT_REFUSED[name])
    expected, temporary = EXPECTED[name], tmp_path / "temporary"
    spec, limits = family_of(name, tmp_path), limits_of(expected, tmp_path)
    before = count(temporary)
    found = examine(spec, limits=limits, num_copies=NUM_COPIES, effort=SHORT, report=lambda phase, units: None)
    refused = found.refusals[0] if found.refusals else None
    told = " ".join(finding.found for finding in found.findings)
    assert (None if refused is None else refused.kind) == expected.kind, told
    assert expected.words in told
    assert "Traceback" not in told
    if refused is None:
        practise(spec, limits)
    assert await_no_process(token) == []
    assert count(temporary) == before
    if name in KNOWN_TO_STAY:
        pytest.xfail(KNOWN_TO_STAY[name])
    assert shared_memory_of(token) == []


def test_what_is_left_is_found(token: str) -> None:
    shared = SHARED_MEMORY / f"hostile_{token}"
    shared.write_bytes(b"x")
    with subprocess.Popen(["/bin/sleep", token]) as process:
        assert processes_of(token) == [process.pid]
        process.kill()
    assert await_no_process(token) == []
    assert shared_memory_of(token) == [shared]


def test_a_family_whose_folder_was_deleted_does_not_start_and_says_so(token: str, tmp_path: Path) -> None:
    spec = family_of("deletes_its_folder", tmp_path)
    shutil.rmtree(tmp_path / "code")
    with pytest.raises(WorkerFaultError, match=f"the folder {tmp_path / 'code'} does not exist"):
        practise(spec, LIMITS)
    assert await_no_process(token) == []


def test_a_sound_environment_is_admitted_by_the_same_check(token: str, tmp_path: Path) -> None:
    code = copied("calm", tmp_path)
    spec = FamilySpec(name="calm", source=FamilySource.GYMNASIUM, entry="calm:Calm", import_paths=(str(code),))
    found = examine(spec, limits=LIMITS, num_copies=NUM_COPIES, effort=SHORT, report=lambda phase, units: None)
    assert found.findings == []
    assert await_no_process(token) == []
