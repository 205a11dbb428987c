"""`config set` changes one setting, keeps the rest of the file, and has a running service take it over."""

from __future__ import annotations

import codecs
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from agent.cli.config_set import takes_hang_up
from agent.config.editing import edited, toml_value
from agent.config.loading import load_settings
from tests.agent.cli.conftest import Learnd
from tests.agent.daemon.daemon_process import QUICK, DaemonProcess, until

COMMENTED = """# mine
data_dir = "/srv/learnd"   # on the large disk

[practise]
windows = [     # at night
  "22:00-06:00",
]

[jobs]
evaluate = "5m" # often
"""


def test_comments_and_order_are_kept() -> None:
    changed = edited(COMMENTED, "jobs.evaluate", "10m")
    assert changed == COMMENTED.replace('"5m"', '"10m"')
    changed = edited(COMMENTED, "jobs.backup", "1h")
    assert changed.rstrip() == COMMENTED + 'backup = "1h"'
    assert edited(COMMENTED, "data_dir", "/x") == COMMENTED.replace("/srv/learnd", "/x")


@pytest.mark.parametrize("text", ["", "[jobs]\n", "jobs.prune = 'off'\n", "jobs = {prune = 'off'}\n", "# only\n"])
def test_a_setting_is_added_to_any_form_of_section(text: str, tmp_path: Path) -> None:
    file = tmp_path / "learnd.toml"
    file.write_text(edited(text, "jobs.backup", "1h"))
    assert str(load_settings(file).jobs.backup) == "1h"


def test_a_top_level_setting_is_added_before_the_sections(tmp_path: Path) -> None:
    file = tmp_path / "learnd.toml"
    file.write_text(edited("[jobs]\nprune = 'off'\n", "data_dir", "/srv/x"))
    assert load_settings(file).data_dir == Path("/srv/x")
    assert load_settings(file).jobs.prune.is_off


@pytest.mark.parametrize(
    ("text", "value"),
    [("5m", "5m"), ("3", 3), ("0.5", 0.5), ("true", True), ('["a", "b"]', ["a", "b"]), ("cron: 0 3 * * *",) * 2,
     ('"off"', "off"), ("22:00-06:00",) * 2, ("1\nx = 2", "1\nx = 2"), ("07:32:00", "07:32:00")],
)  # fmt: skip
def test_a_word_of_the_command_line_is_toml_or_a_text(text: str, value: object) -> None:
    assert toml_value(text) == value


def test_the_file_is_made_and_changed_with_its_permissions(call: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "config" / "learnd" / "learnd.toml"
    assert call("config", "set", "jobs.evaluate", "5m").exit_code == 0
    file.chmod(0o640)
    result = call("config", "set", "practise.windows", '["22:00-06:00", "12:00-13:00"]', "--json")
    assert json.loads(result.stdout)["value"] == ["22:00-06:00", "12:00-13:00"]
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.read_text() == ('[jobs]\nevaluate = "5m"\n\n[practise]\nwindows = ["22:00-06:00", "12:00-13:00"]\n'), (
        file.read_text()
    )


def test_a_wrong_value_is_refused_and_the_file_stays(empty: Learnd, tmp_path: Path) -> None:
    file = tmp_path / "learnd.toml"
    file.write_text(COMMENTED)
    refused = empty("--config", str(file), "config", "set", "jobs.backup", "1", code=1)
    assert "with its unit" in " ".join(refused.stderr.split())
    refused = empty("--config", str(file), "config", "set", "jobs.bakup", "1h", code=1)
    assert "jobs.backup" in refused.stderr
    assert file.read_text() == COMMENTED
    assert list(tmp_path.glob(".*")) == []


def test_a_byte_order_mark_and_windows_line_ends_are_kept(empty: Learnd, tmp_path: Path) -> None:
    file = tmp_path / "learnd.toml"
    file.write_bytes(codecs.BOM_UTF8 + b"[learner]\r\nseed = 1 # one\r\nnice = 3\r\n")
    empty("--config", str(file), "config", "set", "learner.nice", "4")
    assert file.read_bytes() == codecs.BOM_UTF8 + b"[learner]\r\nseed = 1 # one\r\nnice = 4\r\n"


def test_a_link_keeps_pointing_at_the_changed_file(empty: Learnd, tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text("")
    link = tmp_path / "learnd.toml"
    link.symlink_to("real.toml")
    empty("--config", str(link), "config", "set", "learner.nice", "4")
    assert link.is_symlink()
    assert "nice = 4" in (tmp_path / "real.toml").read_text()


def test_what_has_no_effect_yet_is_said(empty: Learnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "learnd.toml"
    answer = empty.json("--config", str(file), "config", "set", "service.listen", "127.0.0.1:9999")
    assert answer["needs_restart"]
    assert "restart" in answer["note"]
    monkeypatch.setenv("LEARND_LEARNER__NICE", "9")
    assert (
        "LEARND_LEARNER__NICE overrides"
        in empty.json("--config", str(file), "config", "set", "learner.nice", "4")["note"]
    )


def test_a_running_service_takes_it_over(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "data", shell_prefix='exec setsid "$@"; ') as service:
        learnd = Learnd(tmp_path / "data")
        file = tmp_path / "data.toml"
        answer = learnd.json("--config", str(file), "config", "set", "service.log_level", "debug")
        assert answer["reloaded_pid"] == service.process.pid
        assert f"may not be {file}" in answer["note"]
        until(lambda: [e for e in service.events() if e.get("changed") == ["service.log_level"]], "it is reloaded")
        assert file.read_text().startswith(QUICK.strip("\n")[:9]) or "restart_first_s" in file.read_text()


def test_a_service_in_a_terminal_or_that_ignores_the_signal_is_not_asked(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    folder.mkdir()
    for terminal, ignored, is_asked in (
        ("0", "0", True),
        ("34816", "0", False),
        ("0", f"{1 << signal.SIGHUP - 1:x}", False),
    ):
        (folder / "stat").write_text(f"7 (a (b) c) S 1 7 7 {terminal} -1 0\n")
        (folder / "status").write_text(f"Name:\tx\nSigIgn:\t{ignored}\nSigCgt:\t0\n")
        assert takes_hang_up(7, processes=tmp_path) is is_asked
    assert not takes_hang_up(8, processes=tmp_path)
    assert isinstance(takes_hang_up(os.getpid()), bool)
