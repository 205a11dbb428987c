"""Tests of failing workers: the fault names the family and the reason, and no process is left behind."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from envs.errors import FaultReason, WorkerFaultError
from envs.family import FamilySpec, Split
from envs.gymnasium.answers import missing_key
from envs.gymnasium.batch import WorkerTaskBatch
from envs.limits import WorkerLimits
from tests.envs.families import LIMITS, all_active, broken, family, opened, sound
from tests.repository import ROOT

QUICK = replace(LIMITS, step_timeout_s=1.0, watch_interval_s=0.1)
WHOLE = {
    "Raises": (FaultReason.RAISED, "ValueError: the tower fell over"),
    "RaisesAtOnce": (FaultReason.RAISED, "ValueError: the tower fell over"),
    "RaisesWhileResetting": (FaultReason.RAISED, "no tower to build"),
    "CallsSysExit": (FaultReason.EXITED, r"sys\.exit\(3\)"),
    "CallsOsExit": (FaultReason.EXITED, "status 7"),
    "LeavesChild": (FaultReason.EXITED, "status 0"),
    "KillsItself": (FaultReason.KILLED, "SIGKILL"),
    "Segfaults": (FaultReason.KILLED, "SIGSEGV"),
    "Hangs": (FaultReason.HUNG, "within 1 s"),
    "HangsUninterruptibly": (FaultReason.HUNG, "within 1 s"),
    "AllocatesTooMuch": (FaultReason.OVER_MEMORY, "memory it is allowed"),
    "ResetsWithoutInfo": (FaultReason.NONSENSE, r"reset should return \(observation, info\)"),
    "IndexOutOfRange": (FaultReason.NONSENSE, "observation should be 0 to 3, but it is 4"),
}
NONSENSE = {
    "nan observation": "observation holds NaN",
    "infinite observation": "observation holds NaN or infinity",
    "observation beyond float32": "a number beyond the range of float32",
    "shape": r"observation should have shape \(3,\)",
    "scalar observation": "observation should have shape",
    "text observation": "observation should be numbers",
    "no observation": "observation should be numbers",
    "nan reward": "reward holds NaN",
    "reward array": "reward should be a number",
    "no reward": "reward should be a number",
    "text reward": "reward should be a number",
    "terminated number": "terminated should be True or False",
    "truncated array": "truncated should be True or False",
    "four values": "old gym interface",
    "nothing": "step should return 5 values",
}


def play(tasks: WorkerTaskBatch, steps: int) -> None:
    tasks.begin(0, split=Split.TRAINING)
    for _ in range(steps):
        tasks.step(torch.zeros(tasks.num_trials, dtype=torch.int64), all_active(tasks.num_trials))


def fault_of(spec: FamilySpec, limits: WorkerLimits = QUICK, steps: int = 400) -> WorkerFaultError:
    """Play until the family fails, and check that no process of its worker is left."""
    tasks = opened(spec, limits=limits)
    group = tasks.pid
    with pytest.raises(WorkerFaultError) as caught:
        play(tasks, steps)
    assert not group_exists(group)
    tasks.close()
    assert caught.value.subject == "tried"
    return caught.value


def group_exists(group: int) -> bool:
    """Return whether a process of the group still runs, and wait up to 2 s for killed processes to exit."""
    for _ in range(100):
        try:
            members = [p for p in psutil.process_iter() if os.getpgid(p.pid) == group]
            if all(p.status() == psutil.STATUS_ZOMBIE and p.ppid() != os.getpid() for p in members):
                return False
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("name", WHOLE)
def test_each_way_to_fail_has_its_reason(name: str) -> None:
    reason, words = WHOLE[name]
    fault = fault_of(broken(name))
    assert fault.reason is reason
    with pytest.raises(WorkerFaultError, match=words):
        raise fault


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_named(kind: str) -> None:
    fault = fault_of(broken("Returns", kwargs={"kind": kind}))
    assert fault.reason is FaultReason.NONSENSE
    with pytest.raises(WorkerFaultError, match=NONSENSE[kind]):
        raise fault


def test_nonsense_inside_a_composite_observation_is_named_by_its_part() -> None:
    tasks = opened(sound("ManySpaces", kwargs={"is_wrong": True}))
    tasks.begin(0, split=Split.TRAINING)
    with pytest.raises(WorkerFaultError, match=r"observation\['index'\] should be 1 to 3, but it is 0") as caught:
        tasks.step(torch.zeros(2, 2, dtype=torch.int64), all_active(2))
    assert caught.value.reason is FaultReason.NONSENSE


@pytest.mark.parametrize("name", ["Leaks", "ChildLeaks"])
def test_a_worker_over_its_memory_is_ended(name: str) -> None:
    fault = fault_of(broken(name), replace(QUICK, memory_mib=300, step_timeout_s=20.0))
    assert fault.reason is FaultReason.OVER_MEMORY
    with pytest.raises(WorkerFaultError, match="may hold 300 MiB"):
        raise fault


def test_the_traceback_and_what_was_printed_are_kept() -> None:
    assert "broken_environments.py" in fault_of(broken("Raises")).detail
    assert "Segmentation fault" in fault_of(broken("Segfaults")).detail


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (broken("RaisesWhileMaking"), "blueprint.xml"),
        (broken("HangsWhileMaking"), "did not answer within"),
        (sound("Counter", python="/no/such/python"), "could not be started"),
        (sound("Counter", python="/bin/true"), r"exited with status 0\. Is /bin/true a Python interpreter\?"),
    ],
)
def test_what_does_not_start_says_so(spec: FamilySpec, words: str) -> None:
    with pytest.raises(WorkerFaultError, match=words) as caught:
        opened(spec, limits=replace(QUICK, start_timeout_s=3.0))
    assert caught.value.reason is FaultReason.START_FAILED
    assert caught.value.operation == "starting family"


@pytest.mark.parametrize(
    ("entry", "folders", "words"),
    [
        ("no_such_module:Maze", (str(ROOT),), f"there is no module 'no_such_module' in {ROOT} or among"),
        ("no_such.inner:Maze", (), "there is no module 'no_such' among the packages of .*--path FOLDER"),
        ("no_such:Maze", ("/no/such",), "no module 'no_such' was found: the folder /no/such does not exist."),
        ("no_such:Maze", (__file__,), "no module 'no_such' was found: .*/test_process.py is not a folder."),
    ],
)
def test_a_missing_module_is_named_with_the_folders_that_were_searched(
    entry: str, folders: tuple[str, ...], words: str
) -> None:
    with pytest.raises(WorkerFaultError, match=words) as caught:
        opened(family(entry, import_paths=folders))
    assert caught.value.reason is FaultReason.START_FAILED


def test_a_module_that_imports_a_missing_module_is_told_apart_from_a_missing_module(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text("import half_is_missing\n")
    with pytest.raises(WorkerFaultError, match="No module named 'half_is_missing'"):
        opened(family("half:Maze", import_paths=(str(tmp_path),)))


def test_a_worker_that_ends_silently_tells_what_it_did() -> None:
    with pytest.raises(WorkerFaultError, match=r"exited with status 7 while copy 1 of 2 was being stepped\."):
        raise fault_of(broken("CallsOsExit"))


def test_the_line_of_an_error_is_told_although_its_text_is_long() -> None:
    with pytest.raises(WorkerFaultError, match=r"xxx… \(.*broken_environments\.py, line \d+\)"):
        raise fault_of(broken("RaisesALongText"))


def test_an_environment_that_waits_for_a_person_is_told_that_there_is_no_terminal() -> None:
    with pytest.raises(WorkerFaultError, match=r"EOFError.*a worker has no terminal"):
        raise fault_of(broken("AsksAPerson"))


def test_a_module_that_exits_when_it_is_imported_says_where_a_program_belongs(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import sys\nsys.exit(2)\n")
    with pytest.raises(WorkerFaultError, match=r"sys\.exit\(2\) in importing the module .*below `if __name__ =="):
        opened(family("program:Maze", import_paths=(str(tmp_path),)))


def test_functions_that_an_environment_replaces_are_not_those_of_the_worker() -> None:
    with closing(opened(broken("ReplacesJson", kwargs={}))) as tasks:
        tasks.begin(0, split=Split.TRAINING)
        tasks.step(torch.zeros(2, dtype=torch.int64), all_active(2))


def test_an_answer_must_have_the_keys_of_its_request() -> None:
    assert missing_key("frames", {}) == "frames"
    assert missing_key("frames", {"frames": []}) is None
    assert missing_key("frames", {"fault": "raised", "found": "it raised"}) is None
    assert missing_key("frames", {"fault": "raised"}) == "found"


def test_a_worker_killed_from_outside_is_reported_as_killed() -> None:
    tasks = opened(sound("Counter"))
    tasks.begin(0, split=Split.TRAINING)
    os.kill(tasks.pid, signal.SIGKILL)
    with pytest.raises(WorkerFaultError, match="SIGKILL") as caught:
        tasks.step(torch.zeros(2, dtype=torch.int64), all_active(2))
    assert caught.value.reason is FaultReason.KILLED


def test_a_worker_ends_when_its_learner_is_killed() -> None:
    program = (
        "import time\n"
        "from tests.envs.families import opened, sound\n"
        "print(opened(sound('Counter')).pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT) as learner:
        assert learner.stdout is not None
        worker = int(learner.stdout.readline())
        assert psutil.pid_exists(worker)
        learner.kill()
    assert not group_exists(worker)


def test_an_environment_that_prints_megabytes_neither_blocks_nor_breaks_the_protocol() -> None:
    tasks = opened(broken("PrintsMegabytes"))
    tasks.begin(0, split=Split.TRAINING)
    rewards = [tasks.step(torch.zeros(2, dtype=torch.int64), all_active(2)).reward.sum().item() for _ in range(20)]
    tasks.close()
    assert rewards == [2.0] * 20


def test_an_environment_that_hangs_while_closing_is_ended_all_the_same() -> None:
    tasks = opened(broken("HangsWhileClosing"))
    tasks.begin(0, split=Split.TRAINING)
    tasks.close()
    assert not group_exists(tasks.pid)


def test_a_worker_is_limited_and_writes_no_core() -> None:
    tasks = WorkerTaskBatch(sound("Counter"), num_trials=1, device="cpu", limits=replace(LIMITS, nice=3))
    limits = Path(f"/proc/{tasks.pid}/limits").read_text()
    variables = Path(f"/proc/{tasks.pid}/environ").read_bytes()
    niceness = psutil.Process(tasks.pid).nice()
    tasks.close()
    assert [line.split()[4] for line in limits.splitlines() if line.startswith("Max core")] == ["0"]
    assert b"OMP_NUM_THREADS=1" in variables
    assert niceness >= 3


def test_opening_and_closing_thirty_workers_leaves_nothing_behind() -> None:
    def census() -> tuple[int, int, int]:
        gc.collect()
        children = psutil.Process().children(recursive=True)
        return sum(1 for _ in Path("/proc/self/fd").iterdir()), len(children), threading.active_count()

    opened(sound("Counter")).close()
    before = census()
    for number in range(30):
        tasks = opened(sound("Counter"))
        tasks.begin(number, split=Split.TRAINING)
        if number % 3 == 0:
            os.kill(tasks.pid, signal.SIGKILL)
            with pytest.raises(WorkerFaultError):
                tasks.step(torch.zeros(2, dtype=torch.int64), all_active(2))
        tasks.close()
    assert census() == before


def test_a_child_that_left_the_workers_session_is_ended_too(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    fault_of(broken("LeavesAChildInASessionOfItsOwn", kwargs={"pid_file": str(pid_file)}))
    child = int(pid_file.read_text())
    for _ in range(250):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.02)
    raise AssertionError(f"process {child} outlived its worker")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_what_an_environment_prints_is_no_fault_in_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    tasks = opened(broken("Prints"))
    play(tasks, 3)
    tasks.close()


# What a message says


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (broken("Raises"), r"step raised ValueError: the tower fell over \(broken_environments.py, line \d+\)$"),
        (broken("RaisesWhileResetting"), r"reset raised ValueError: .* \(broken_environments.py, line \d+\)$"),
        (broken("Segfaults"), r"Segmentation fault at .*broken_environments.py, line \d+, in misbehave$"),
        (broken("Hangs"), r"It was in step \(broken_environments.py, line \d+\)\.$"),
        (broken("CallsSysExit"), r"sys.exit\(3\) in step \(broken_environments.py, line \d+\)\.$"),
    ],
    ids=lambda part: getattr(part, "entry", None),
)
def test_a_fault_names_the_call_and_the_line_of_the_user_s_code(spec: FamilySpec, words: str) -> None:
    with pytest.raises(WorkerFaultError) as caught:
        raise fault_of(spec)
    assert re.search(words, caught.value.found), caught.value.found


def test_an_error_while_making_is_told_with_its_line() -> None:
    with pytest.raises(WorkerFaultError, match=r"making it raised FileNotFoundError: .*broken_environments.py, line"):
        opened(broken("RaisesWhileMaking"))


def test_an_error_of_a_reset_while_making_is_told_as_one_of_making() -> None:
    with pytest.raises(WorkerFaultError, match=r"making it raised ValueError: no tower to build"):
        opened(broken("ResetsWhileMaking"))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import half_is_missing\n", r"importing the module raised ModuleNotFoundError: .* \(half.py, line 1\)"),
        ("x = 1\nx.y()\n", r"importing the module raised AttributeError: .* \(half.py, line 2\)"),
        ("def broken(:\n", r"importing the module raised SyntaxError: .*\(half.py, line 1\)"),
    ],
)
def test_an_error_of_a_module_is_told_with_its_line(code: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text(code)
    with pytest.raises(WorkerFaultError, match=words):
        opened(family("half:Maze", import_paths=(str(tmp_path),)))


def test_an_error_in_another_process_of_the_user_is_told_without_its_traceback() -> None:
    found = fault_of(broken("RaisesWithATraceback")).found
    assert "Traceback" not in found
    assert "ValueError: the wheel came off" in found


def test_the_index_that_holds_nan_is_named() -> None:
    assert (
        "observation[1] of copy 1 is nan (1 of its 3 numbers"
        in fault_of(broken("Returns", kwargs={"kind": "nan observation"})).found
    )


def test_the_part_that_holds_nan_is_named_with_its_index() -> None:
    tasks = opened(sound("ManySpaces", kwargs={"nan_after": 1}))
    tasks.begin(0, split=Split.TRAINING)
    with pytest.raises(WorkerFaultError, match=r"observation\['box'\]\[1, 0\] of copy 1 is nan"):
        tasks.step(torch.zeros(2, 2, dtype=torch.int64), all_active(2))


def test_an_interpreter_without_gymnasium_is_told_with_the_command_that_installs_it(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    with pytest.raises(
        WorkerFaultError, match=r"No module named '(gymnasium|numpy)' among the packages of .*pip install"
    ):
        opened(sound("Counter", python=str(tmp_path / "venv" / "bin" / "python")))
