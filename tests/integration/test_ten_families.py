"""Ten families are added at once to a running service, removed, and added again under the same names."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psutil
import pytest

from memory.folder import DataFolder
from memory.records import CurveMetric
from memory.store import Store
from tests.envs.hostile.leftovers import await_no_process
from tests.service import Service

NUM_FAMILIES = 10
NAMES = [f"family-{number}" for number in range(NUM_FAMILIES)]
ROUNDS = 2

LEAVER = """
import subprocess
import tempfile
from pathlib import Path

from gymnasium.envs.classic_control import CartPoleEnv


class Leaver(CartPoleEnv):
    has_child = False

    def __init__(self, token):
        super().__init__()
        Path(f"/dev/shm/{token}-{id(self)}").write_bytes(bytes(4096))
        Path(tempfile.mkdtemp(), "file").write_bytes(bytes(4096))
        self.kept = open("/dev/null")
        if not Leaver.has_child:
            Leaver.has_child = True
            subprocess.Popen(["sleep", token], start_new_session=True)
"""
"""An environment that leaves a process, a file, shared memory and an open descriptor."""

CONFIG = """
[stream]
embedded_default = false
[learner]
threads = 1
[reference]
default = "none"
[practise]
slice_s = 0.2
[jobs]
evaluate = "off"
consolidate = "off"
[rl2]
num_trials_gymnasium = 2
hidden_size = 8
input_size = 8
scorer_size = 4
critic_size = 8
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_families_added_removed_and_added_again_leak_nothing_and_keep_their_curves_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, token = tmp_path / "temporary", f"6{tmp_path.stat().st_ino}.0"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "leaver.py").write_text(LEAVER)
    service = Service(tmp_path / "data", config=CONFIG)
    service.start()
    try:
        at_rest = 0
        for _ in range(ROUNDS):
            _add_at_once(service, tmp_path / "leaver.py", token)
            _await_practice(service)
            _check_curves(service)
            _remove_all(service)
            assert await_no_process(token) == []
            assert list(temporary.glob("learnd-worker-*")) == []
            assert list(Path("/dev/shm").glob(f"{token}*")) == []
            at_rest = at_rest or _trainer(service).num_fds()
            _await_descriptors(service, at_rest)
        assert service.metric("learnd_learner_restarts_total") == 0
        service.stop()
    finally:
        service.end()
    _check_history(service.folder)


def _add_at_once(service: Service, file: Path, token: str) -> None:
    """Declare all families in one folder, which the running service takes over in one look."""
    folder = service.folder / "env.d"
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        text = f'entry = "{file}"\nmax_steps = 20\nepisodes = 1\n[kwargs]\ntoken = "{token}"\n'
        (folder / f"{name}.toml").write_text(text)


def _await_practice(service: Service) -> None:
    def are_practised() -> bool:
        with Store.open(DataFolder(service.folder), is_reader=True) as store:
            families = store.families.all()
        return len(families) == NUM_FAMILIES and all(family.totals.meta_updates > 0 for family in families)

    service.wait_for(are_practised, timeout_s=600, what="to practise ten families")


def _remove_all(service: Service) -> None:
    """Remove the files and the families, and wait until only the daemon and the trainer are left."""
    for name in NAMES:
        (service.folder / "env.d" / f"{name}.toml").unlink()
    for name in NAMES:
        service.learnd("env", "remove", name, "--yes")
    service.wait_for(lambda: len(service.processes()) == 2, timeout_s=120, what="to end the families' processes")


def _await_descriptors(service: Service, most: int) -> None:
    """Wait until the trainer has closed its ends of the pipes, just after the processes have ended."""
    service.wait_for(
        lambda: _trainer(service).num_fds() <= most, timeout_s=30, what=f"to have at most {most} descriptors"
    )


def _trainer(service: Service) -> psutil.Process:
    trainer = service.learner()
    assert trainer is not None
    return trainer


def _check_curves(service: Service) -> None:
    """Check that each family has a curve that begins with its own practice, whatever had its name before."""
    with Store.open(DataFolder(service.folder), is_reader=True) as store:
        for name in NAMES:
            family = store.families.get(name)
            points = store.curves.points(name, CurveMetric.TRIAL_RETURN)
            steps = [point.env_steps for point in points]
            assert steps == sorted(set(steps))
            assert points[0].at >= family.created_at
            assert 0 < points[0].meta_updates <= steps[0] <= family.totals.env_steps
            assert points[-1].meta_updates <= family.totals.meta_updates


def _check_history(folder: Path) -> None:
    """Check that the families of all rounds are in the store, with what each of them practised."""
    with Store.open(DataFolder(folder), is_reader=True) as store:
        families = store.families.all(with_removed=True)
        assert sorted(family.name for family in families) == sorted(NAMES * ROUNDS)
        assert all(family.totals.meta_updates > 0 for family in families)
        assert store.curves.latest() == []
