"""The expected result of each hostile environment, and its family."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from envs.family import FamilySource, FamilySpec
from envs.findings import FindingKind
from tests.envs.isolation_here import enforced

ENVIRONMENTS = Path(__file__).with_name("environments")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The expected result of a hostile environment.

    Attributes:
        kind: the kind of its first refusal; None if it is admitted.
        words: a part of what was found, of any finding; "" for no finding.
        step_timeout_s: the time-out of a step, small for what hangs.
        start_timeout_s: the time-out of making a copy.
    """

    kind: FindingKind | None = FindingKind.FAULT
    words: str = ""
    step_timeout_s: float = 20.0
    start_timeout_s: float = 60.0


HANGS = 2.0
EXPECTED = {
    "seed_ignored": Expected(kind=None, words="two new copies behave differently"),
    "nan_at_an_index": Expected(kind=FindingKind.NOT_FINITE, words="observation[1] is nan"),
    "wrong_dtype": Expected(kind=None, words="observation has dtype float64"),
    "hang_in_step": Expected(words="It was in step (hang_in_step.py, line", step_timeout_s=HANGS),
    "hang_in_reset": Expected(words="It was in reset (hang_in_reset.py, line", step_timeout_s=HANGS),
    "hang_in_close": Expected(words="It was in close (hang_in_close.py, line", step_timeout_s=HANGS),
    "hang_in_init": Expected(words="workers.start_timeout_s", start_timeout_s=6.0),
    "hang_and_ignore_signals": Expected(words="did not answer within 2 s", step_timeout_s=HANGS),
    "stops_itself": Expected(words="did not answer within 2 s", step_timeout_s=HANGS),
    "segfault": Expected(words="Segmentation fault at"),
    "forks_many_processes": Expected(kind=None),
    "forks_and_goes_on": Expected(kind=None),
    "exits": Expected(words="exited with status 3"),
    "raises_system_exit": Expected(words="sys.exit('no more') in step (raises_system_exit.py, line"),
    "raises_keyboard_interrupt": Expected(words="step raised KeyboardInterrupt (raises_keyboard_interrupt.py, line"),
    "raises_an_error_without_text": Expected(words="step raised MuteError"),
    "recurses": Expected(words="step raised RecursionError"),
    "prints_megabytes": Expected(kind=None),
    "leaves_processes": Expected(kind=None),
    "leaves_threads": Expected(kind=None),
    "leaves_shared_memory": Expected(kind=None),
    "leaves_untracked_shared_memory": Expected(kind=None),
    "leaves_files": Expected(kind=None),
    "deletes_its_folder": Expected(words="step raised FileNotFoundError: [Errno 2] No such file or directory"),
    "closes_descriptors": Expected(),
    "closes_standard_streams": Expected(kind=None),
    "writes_into_descriptors": Expected(step_timeout_s=HANGS),
    "returns_enormous_observations": Expected(kind=FindingKind.MALFORMED_OBSERVATION, words="shape (268435456,)"),
    "declares_enormous_observations": Expected(
        kind=FindingKind.UNSUPPORTED_SPACE, words="MultiBinary(4294967296) is not supported"
    ),
    "fork_bomb": Expected(words="processes and may have 64 (workers.max_processes)"),
    "fills_its_disk": Expected(words="MiB and may use 64 MiB (workers.disk_limit)"),
    "deletes_its_temporary_folder": Expected(words="step raised FileNotFoundError"),
    "takes_all_cores": Expected(kind=None),
    "reads_the_store": Expected(words="step raised"),
    "writes_into_the_home": Expected(words="step raised PermissionError"),
    "opens_a_connection": Expected(words="step raised"),
    "takes_memory": Expected(words="memory"),
    "changes_its_space": Expected(kind=FindingKind.SPACE_CHANGED, words="from Discrete(2) to Discrete(3)"),
    "sabotages_modules": Expected(kind=None),
    "kills_its_supervisor": Expected(words="step raised PermissionError" if enforced()["signals"] else "killed"),
    "lies_about_itself": Expected(kind=FindingKind.CHECKER_REJECTS, words="RuntimeError: no"),
}

KNOWN_TO_STAY = (
    {} if enforced()["shared_memory"] else {"leaves_untracked_shared_memory": "the kernel gives workers no /dev/shm"}
)
"""Environments that leave shared memory, and why."""

NOT_REFUSED = {
    name: f"the kernel does not keep workers from it: {part}"
    for name, part in {
        "reads_the_store": "store",
        "writes_into_the_home": "files",
        "opens_a_connection": "network",
    }.items()
    if not enforced()[part]
}
"""Environments that nothing stops on this machine, and why."""


def copied(name: str, folder: Path) -> Path:
    """Copy the code of a hostile environment, which may delete it, and return its folder."""
    code = folder / "code"
    code.mkdir(parents=True)
    for file in ("calm.py", f"{name}.py"):
        shutil.copy(ENVIRONMENTS / file, code / file)
    return code


def family_of(name: str, folder: Path) -> FamilySpec:
    """Return the family of a hostile environment, whose code is a copy that it may delete."""
    code = copied(name, folder)
    return FamilySpec(name="hostile", source=FamilySource.GYMNASIUM, entry=f"{name}:Hostile", import_paths=(str(code),))
