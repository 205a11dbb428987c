"""Tests of output files whose path another user has replaced by a link, a FIFO or another file."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.output.files import OutputFileError, check_output_file, write_output_file
from agent.reports.curve_plots import draw_png
from agent.reports.family_curves import FamilyCurves
from tests.agent.cli.commands import every_command
from tests.agent.cli.conftest import Learnd

SECRET = b"of somebody else"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Return a file that no command may write to."""
    path = tmp_path / "elsewhere" / "victim"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_output_file(tmp_path / "new", b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "new").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert _names(tmp_path) == ["new"]


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "old").chmod(0o600)
    write_output_file(tmp_path / "old", b"content")
    assert (tmp_path / "old").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o600


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_mode_that_is_asked_for_is_that_of_the_file(tmp_path: Path, is_replaced: bool) -> None:
    if is_replaced:
        (tmp_path / "private").write_bytes(b"old")
        (tmp_path / "private").chmod(0o666)
    write_output_file(tmp_path / "private", b"content", mode=0o600)
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600


@pytest.mark.parametrize("is_dangling", [False, True])
def test_a_symbolic_link_is_refused(is_dangling: bool, victim: Path, tmp_path: Path) -> None:
    planted = tmp_path / "out"
    planted.symlink_to(victim.with_name("missing") if is_dangling else victim)
    with pytest.raises(OutputFileError, match="it is a symbolic link") as refused:
        write_output_file(planted, b"content")
    assert "name the file itself" in refused.value.hint
    assert victim.read_bytes() == SECRET
    assert _names(victim.parent) == ["victim"]
    assert planted.is_symlink()


def test_a_hard_link_is_cut(victim: Path, tmp_path: Path) -> None:
    planted = tmp_path / "out"
    planted.hardlink_to(victim)
    write_output_file(planted, b"content")
    assert victim.read_bytes() == SECRET
    assert planted.read_bytes() == b"content"


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out")
    with pytest.raises(OutputFileError, match="it is a FIFO"):
        write_output_file(tmp_path / "out", b"content")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputFileError, match="it is a folder") as refused:
        check_output_file(tmp_path, operation="drawing curves")
    assert refused.value.operation == "drawing curves"


def test_a_character_device_is_written_to(tmp_path: Path) -> None:
    before = Path("/dev/null").lstat()
    write_output_file(Path("/dev/null"), b"content")
    assert Path("/dev/null").lstat().st_ino == before.st_ino


@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd"])
def test_a_descriptor_of_this_process_is_written_to(folder: str) -> None:
    reading, writing = os.pipe()
    write_output_file(Path(f"{folder}/{writing}"), b"content")
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        assert stream.read() == b"content"


def test_a_full_device_is_an_error_of_one_line() -> None:
    with pytest.raises(OutputFileError, match="No space left on device"):
        write_output_file(Path("/dev/full"), b"content")


def test_nothing_is_left_where_there_is_no_room(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys; from pathlib import Path; from agent.output.files import *;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10));"
        "write_output_file(Path(sys.argv[1]), bytes(1000))"
    )
    (tmp_path / "out").write_bytes(b"old")
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "out")], capture_output=True, check=False, timeout=60
    )
    assert b"OutputFileError" in ended.stderr
    assert _names(tmp_path) == ["out"]
    assert (tmp_path / "out").read_bytes() == b"old"


def test_a_link_that_is_planted_while_it_is_written_is_never_written_through(victim: Path, tmp_path: Path) -> None:
    """Race a thread that replaces the path by a link, a file or nothing; the victim must never change."""
    planted, is_over = tmp_path / "out", threading.Event()

    def plant() -> None:
        while not is_over.is_set():
            planted.unlink(missing_ok=True)
            try:
                planted.symlink_to(victim)
            except FileExistsError:
                continue

    planting = threading.Thread(target=plant)
    planting.start()
    try:
        for _ in range(100):
            try:
                write_output_file(planted, b"content")
            except OutputFileError as error:
                assert "symbolic link" in error.found  # noqa: PT017
    finally:
        is_over.set()
        planting.join()
    assert victim.read_bytes() == SECRET


def test_a_picture_is_not_drawn_through_its_temporary_file(victim: Path, tmp_path: Path) -> None:
    for name in (".out.png.partial", "out.png.tmp", ".out.png.tmp"):
        (tmp_path / name).symlink_to(victim)
    draw_png([FamilyCurves(family="one")], tmp_path / "out.png")
    assert victim.read_bytes() == SECRET
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


FILES = (
    ("curves", "--png"),
    ("curves", "--csv"),
    ("policy", "export", "1"),
    ("policy", "export", "1", "SUFFIX"),
    ("learn", "maml", "--family", "sinusoids", "--budget", "1u", "--tasks", "2", "--output"),
    ("learn", "maml", "--family", "sinusoids", "--budget", "1u", "--tasks", "2", "--state"),
    ("compare", "sinusoids", "--budget", "1u", "--png"),
    ("few-shot", "train", "--data", "missing", "--output"),
    ("doctor", "--bundle"),
)
"""Every option and argument that names an output file. SUFFIX marks the second file that the command writes."""

READ = {("--config",), ("--python",)}
"""Options that name input files."""


def test_every_option_that_names_a_file_for_output_is_among_those_tried() -> None:
    named = {
        (*words, option.opts[0])
        for words, command in every_command().items()
        for option in command.params
        if "FILE" in (option.metavar or "") and option.param_type_name == "option" and tuple(option.opts) not in READ
    }
    tried = {(*(word for word in words if not word.startswith("-")), words[-1]) for words in FILES}
    reading = {("few-shot", "predict", "--policy"), ("few-shot", "score", "--policy"), ("status", "--token-file")}
    of_a_service = {("policy", "watch", "--video")}  # tests/agent/output/test_video.py
    missing = {
        words
        for words in named - reading - of_a_service
        if not any(found[: len(words) - 1] == words[:-1] and found[-1] == words[-1] for found in tried)
    }
    assert not missing


@pytest.mark.parametrize("kind", ["link", "fifo"])
@pytest.mark.parametrize("words", FILES, ids=" ".join)
def test_no_command_writes_through_what_is_planted(
    *, words: tuple[str, ...], kind: str, learnd: Learnd, victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = tmp_path / "out.bin"
    planted = named.with_name("out.bin.sha256") if words[-1] == "SUFFIX" else named
    if kind == "fifo":
        os.mkfifo(planted)
    else:
        planted.symlink_to(victim)
    said = learnd(*[word for word in words if word != "SUFFIX"], "out.bin", code=1)
    assert ("it is a FIFO" if kind == "fifo" else "it is a symbolic link") in said.stderr
    assert victim.read_bytes() == SECRET
    assert named.exists() == (planted == named), "nothing was written before the refusal"


def test_a_state_in_a_folder_of_a_comparison_is_not_read_or_written_through_a_link(
    learnd: Learnd, victim: Path, tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "maml-seed0.safetensors").symlink_to(victim)
    budget = ("--budget", "1u", "--tasks", "2", "--points", "0", "--learners", "maml")
    said = learnd("compare", "sinusoids", *budget, "--state", str(tmp_path / "runs"), code=1)
    assert "it is a symbolic link" in " ".join(said.stdout.split())
    assert victim.read_bytes() == SECRET


def test_points_are_written_to_a_named_descriptor(learnd: Learnd, tmp_path: Path) -> None:
    learnd("curves", "--csv", str(tmp_path / "points.csv"))
    written = (tmp_path / "points.csv").read_bytes()
    reading, writing = os.pipe()
    taken: list[bytes] = []
    with os.fdopen(reading, "rb") as stream:
        reader = threading.Thread(target=lambda: taken.append(stream.read()))
        reader.start()
        learnd("curves", "--csv", f"/dev/fd/{writing}")
        os.close(writing)
        reader.join()
    assert taken == [written]


@pytest.mark.parametrize("name", ["plain.safetensors", "two\nlines", "back\\slash", "caf\udce9"])
def test_a_checksum_file_is_one_that_sha256sum_reads(name: str, learnd: Learnd, tmp_path: Path) -> None:
    learnd("policy", "export", "1", str(tmp_path / name))
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", os.fsencode(f"{name}.sha256")],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stderr
