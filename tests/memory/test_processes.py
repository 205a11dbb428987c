from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memory.folder import DataFolder
from memory.records import NUM_SLOTS, FamilyTotals, PrunePolicy
from memory.store import Store
from tests.memory.making import make_step

PRACTISED = make_step().practised
FRUGAL = PrunePolicy(
    max_episode_bytes=200_000, max_episode_age_s=None, max_rejected=10, max_learner_steps=20, orphan_age_s=-1.0
)


class Writer:
    """A process that commits, and a record of its acknowledgements."""

    def __init__(self, folder: DataFolder, family: str, *, count: int | None = None) -> None:
        command = [sys.executable, "-m", "tests.memory.writer", str(folder.path), family]
        self.family = family
        self._process = subprocess.Popen(
            command + ([] if count is None else [str(count)]),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", self._process.communicate()[1]

    def kill(self) -> dict[str, list[int]]:
        """Kill the process, and return its acknowledgements."""
        self._process.kill()
        return self.acknowledged()

    def acknowledged(self) -> dict[str, list[int]]:
        """Wait for the end of the process; return the acknowledged numbers by kind."""
        # Not communicate(): it would skip lines that are already in the buffer because they arrived with "ready".
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with self._process.stdout as out, self._process.stderr as err:
            said, errors = out.read(), err.read()
        self._process.wait(timeout=60)
        assert "Traceback" not in errors, errors
        found: dict[str, list[int]] = {"step": [], "version": [], "request": []}
        for line in said.splitlines():
            kind, _, number = line.partition(" ")
            if kind in found and number:
                found[kind].append(int(number))
        return found


def times(totals: FamilyTotals, steps: int) -> FamilyTotals:
    return FamilyTotals(
        env_steps=totals.env_steps * steps,
        episodes=totals.episodes * steps,
        trials=totals.trials * steps,
        meta_updates=totals.meta_updates * steps,
    )


def steps_by_slot(store: Store) -> dict[int, int]:
    """Return the learner step that recorded the trial in each slot of the family's reservoir."""
    (family_id,) = store.rehearsal.family_ids()
    return {trial.slot: trial.learner_step for trial in store.rehearsal.trials(family_id)}


def assert_sound(folder: DataFolder, acknowledged: dict[str, list[int]]) -> int:
    """Check that everything acknowledged is present and intact; return the number of committed learner steps."""
    with Store.open(folder, is_reader=True) as reader:
        assert reader.check() == []
        checkpoint = reader.checkpoints.live()
        committed = 0 if checkpoint is None else checkpoint.learner_steps
        assert committed >= max(acknowledged["step"], default=0)
        if checkpoint is not None:
            # The checkpoint's tensors belong to its own step: the row never refers to an older or newer file.
            tensors = reader.checkpoints.load_parameters(checkpoint.file)
            assert (tensors["core.weight"] == committed).all()
            assert checkpoint.meta == {"steps": committed}
            assert steps_by_slot(reader) == {(step - 1) % NUM_SLOTS: step for step in range(1, committed + 1)}
        assert sum(family.totals.env_steps for family in reader.families.all()) == PRACTISED.env_steps * committed
        versions = {entry.version for entry in reader.initializations.all()}
        assert versions >= set(acknowledged["version"])
        asked = {request.id for request in reader.requests.take()}
        assert asked >= set(acknowledged["request"])
    return committed


def kill_often(folder: DataFolder, *, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    acknowledged: dict[str, list[int]] = {"step": [], "version": [], "request": []}
    committed = 0
    with Store.open(folder) as control:
        for kill in range(kills):
            writer = Writer(folder, "cartpole")
            until = time.monotonic() + rng.uniform(0.0, 0.6)
            while time.monotonic() < until:
                # The daemon runs at the same time, and removes files without a reference, whatever their age.
                control.prune(FRUGAL)
                control.daemon_status.set({"kill": kill})
                time.sleep(rng.uniform(0.0, 0.03))
            for kind, numbers in writer.kill().items():
                acknowledged[kind] += numbers
            before, committed = committed, assert_sound(folder, acknowledged)
            assert committed >= before
        if kills >= 10:
            control.back_up(keep=1)
    assert acknowledged["step"] == sorted(set(acknowledged["step"]))
    assert len(acknowledged["step"]) > kills
    unacknowledged = committed - len(acknowledged["step"])
    assert 0 <= unacknowledged <= kills


def test_nothing_acknowledged_is_lost_when_the_learner_is_killed_fifteen_times(folder: DataFolder) -> None:
    kill_often(folder, kills=15, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
def test_nothing_acknowledged_is_lost_when_the_learner_is_killed_hundreds_of_times(
    folder: DataFolder, seed: int
) -> None:
    kill_often(folder, kills=150, seed=seed)


def test_two_processes_write_side_by_side_and_neither_loses_a_row(folder: DataFolder) -> None:
    Store.open(folder).close()
    writers = [Writer(folder, name, count=40) for name in ("a", "b")]
    acknowledged = [writer.acknowledged() for writer in writers]
    numbers = acknowledged[0]["step"] + acknowledged[1]["step"]
    assert sorted(numbers) == list(range(1, 81))
    with Store.open(folder, is_reader=True) as reader:
        assert reader.check() == []
        assert [family.totals for family in reader.families.all()] == [times(PRACTISED, 40)] * 2
        assert {entry.version for entry in reader.initializations.all()} >= set(
            acknowledged[0]["version"] + acknowledged[1]["version"]
        )


def test_a_backup_taken_while_another_process_writes_is_whole(folder: DataFolder) -> None:
    Store.open(folder).close()
    writer = Writer(folder, "cartpole")
    try:
        with Store.open(folder) as control:
            for _ in range(8):
                report = control.back_up(keep=2)
                with Store.open(DataFolder(report.path), is_reader=True) as copy:
                    assert copy.check() == []
                    assert_pointer_loads(copy)
    finally:
        writer.kill()


def assert_pointer_loads(store: Store) -> None:
    checkpoint = store.checkpoints.live()
    if checkpoint is not None:
        assert (store.checkpoints.load_parameters(checkpoint.file)["core.weight"] == checkpoint.learner_steps).all()


def test_a_killed_backup_leaves_nothing_that_looks_like_one(folder: DataFolder, tmp_path: Path) -> None:
    Store.open(folder).close()
    Writer(folder, "cartpole", count=60).acknowledged()
    program = (
        "import sys; from pathlib import Path; from memory.folder import DataFolder; from memory.store import Store;"
        "store = Store.open(DataFolder(Path(sys.argv[1]))); print('ready', flush=True);"
        "[store.back_up(keep=3) for _ in range(100)]"
    )
    rng = random.Random(5)
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", program, str(folder.path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.0, 0.4))
        process.kill()
        process.communicate()
    with Store.open(folder) as store:
        store.back_up(keep=3)
        assert list(folder.backups_path.glob(".*")) == []
        for path in store.backups():
            with Store.open(DataFolder(path), is_reader=True) as copy:
                assert copy.check() == []
