"""Settings: four sources in order, and errors with key, value and allowed values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_origin

import pytest

from agent.config.description import describe_settings
from agent.config.loading import load_settings
from agent.config.settings import DeviceChoice, Settings, setting_fields
from agent.config.units import format_duration, format_size, parse_duration, parse_size
from agent.daemon.processes.trainer_command import trainer_environment
from agent.errors import SettingsError
from agent.process_settings import VARIABLE
from tests.repository import ROOT


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("STATE_DIRECTORY", "CONFIGURATION_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "learnd.toml"
    path.write_text(text)
    return path


def test_options_beat_variables_beat_the_file_beats_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toml(tmp_path, '[learner]\nseed = 1\ndevice = "cpu"\nthreads = 1\n')
    monkeypatch.setenv("LEARND_LEARNER__SEED", "2")
    monkeypatch.setenv("LEARND_LEARNER__THREADS", "2")
    settings = load_settings(path, {"learner": {"seed": 3, "threads": None}})
    assert (settings.learner.seed, settings.learner.threads, settings.learner.device) == (3, 2, DeviceChoice.CPU)
    assert settings.learner.nice == 5
    assert settings.file == path


def test_durations_sizes_triggers_and_windows_are_read_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARND_PRACTISE__WINDOWS", "22:00-06:00, 12:00-13:00")
    monkeypatch.setenv("LEARND_MEMORY__MAX_SIZE", "1GiB")
    monkeypatch.setenv("LEARND_MEMORY__MAX_AGE", "7d")
    monkeypatch.setenv("LEARND_JOBS__BACKUP", "cron: 0 3 * * *")
    monkeypatch.setenv("LEARND_JOBS__PRUNE", "off")
    settings = load_settings()
    assert [str(window) for window in settings.practise.windows] == ["22:00-06:00", "12:00-13:00"]
    assert (settings.memory.max_size, settings.memory.max_age) == (2**30, 7 * 86400)
    assert settings.jobs.backup.stored() == "cron:0 3 * * *"
    assert settings.jobs.prune.is_off


def test_every_problem_is_listed_with_key_value_source_and_what_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toml(tmp_path, 'colour = "red"\n[practise]\nslice_s = "soon"\n[workers]\nmemory_limit = "lots"\n')
    monkeypatch.setenv("LEARND_LEARNER__DEVICE", "abacus")
    monkeypatch.setenv("LEARND_LEARNER__DEVCE", "cpu")
    monkeypatch.setenv("LEARND_LERNER__DEVICE", "cpu")
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {"service": {"listen": "everywhere"}})
    problems = {problem.key: problem for problem in caught.value.problems}
    assert set(problems) == {
        "colour", "practise.slice_s", "workers.memory_limit", "learner.device", "learner.devce", "lerner",
        "service.listen",
    }  # fmt: skip
    assert problems["learner.device"].value == "'abacus'"
    assert problems["learner.device"].allowed == "'auto', 'cpu' or 'cuda'"
    assert problems["learner.device"].source == "variable LEARND_LEARNER__DEVICE"
    assert '"90s"' in problems["practise.slice_s"].allowed
    assert problems["practise.slice_s"].source == str(path)
    assert '"4GiB"' in problems["workers.memory_limit"].allowed
    assert "stall_timeout_s" in problems["learner.devce"].allowed
    assert "HOST:PORT" in problems["service.listen"].allowed
    assert all(problem.key in str(caught.value) for problem in problems.values())


@pytest.mark.parametrize(
    ("text", "found"), [(None, "no such file"), ("[learner\n", "line 1"), ("learner = 3\n", "a section")]
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str | None, found: str) -> None:
    path = tmp_path / "missing.toml" if text is None else toml(tmp_path, text)
    with pytest.raises(SettingsError, match=found) as caught:
        load_settings(path)
    assert str(path) in str(caught.value)


def test_overrides_of_rl2_are_checked_by_its_own_fields(tmp_path: Path) -> None:
    assert load_settings(toml(tmp_path, "[rl2]\nhidden_size = 128\n")).rl2 == {"hidden_size": 128}
    with pytest.raises(SettingsError, match=r"rl2\.hiden_size = 128.*hidden_size"):
        load_settings(toml(tmp_path, "[rl2]\nhiden_size = 128\n"))
    with pytest.raises(SettingsError, match=r"rl2\.hidden_size = 'wide'"):
        load_settings(toml(tmp_path, '[rl2]\nhidden_size = "wide"\n'))


def test_the_data_folder_is_systemds_then_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert load_settings().data_dir == Path("/somewhere/learnd")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/learnd")
    assert load_settings().data_dir == Path("/var/lib/learnd")
    monkeypatch.setenv("LEARND_DATA_DIR", "/srv/learnd")
    assert load_settings().data_dir == Path("/srv/learnd")


def test_every_setting_is_described_and_stands_in_the_manual() -> None:
    manual = (ROOT / "docs" / "operating.md").read_text()
    for key, field in setting_fields():
        assert field.description, key
        row = next((line for line in manual.splitlines() if line.startswith(f"| `{key}` |")), "")
        assert row.endswith(f"| {field.description} |"), f"docs/operating.md lists another meaning of {key}"
    assert len(describe_settings(Settings())) == len(list(setting_fields()))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("6h", 21600), ("1h30m", 5400), ("250ms", 0.25), (12, 12), ("3", 3)]
)
def test_durations_are_read(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5 apples", "-1", "1h-3m", True, None, "inf"])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="a duration"):
        parse_duration(text)


def test_quantities_are_written_as_they_are_read() -> None:
    assert [format_duration(s) for s in (0, 0.5, 90, 300, 86400)] == ["0s", "0.5s", "90s", "5m", "1d"]
    assert [format_size(b) for b in (0, 100, 2**20, 2**32)] == ["0", "100", "1MiB", "4GiB"]


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1KiB", 1024),
        ("1kB", 1000),
        ("2 MiB", 2**21),
        ("2 gib", 2**31),
        (" 1.5GiB ", 3 * 2**29),
        ("1TB", 10**12),
        ("1TiB", 2**40),
        ("7 B", 7),
        ("7", 7),
        ("0", 0),
        ("0.3KiB", 307),
        (7, 7),
        (2**70, 2**70),
    ],
)
def test_sizes_are_read(text: object, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    ["", "abc", "512M", "1k", "1bit", "1PiB", "1,5GiB", "1.MiB", ".5MiB", "4GiB a day", "-1", "1e3", "9" * 400 + "TiB",
     -1, 1.5, 2.0, True, None],
)  # fmt: skip
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="a size"):
        parse_size(text)


@pytest.mark.parametrize("data_dir", ["/srv/learnd", "/srv/caf\udce9", "/srv/名前 [/red]"])
def test_the_learner_is_handed_the_very_settings_whatever_the_data_folder_is_called(data_dir: str) -> None:
    settings = Settings(data_dir=Path(data_dir))
    text = trainer_environment(settings)[VARIABLE]
    text.encode("ascii")
    handed = Settings(**json.loads(text))
    assert handed.model_copy(update={"service": settings.service}) == settings
    assert handed.service.log_format != "auto", "the trainer logs in the format of the daemon"


def test_the_manual_has_the_default_of_every_setting() -> None:
    manual = (ROOT / "docs" / "operating.md").read_text()
    for row in describe_settings(Settings()):
        if row.key == "data_dir":
            continue
        line = next(line for line in manual.splitlines() if line.startswith(f"| `{row.key}` |"))
        assert f"| `{json.dumps(row.default)}` |" in line, row.key


LISTS = {
    "practise.windows": "22:00-06:00,12:00-13:00",
    "service.allowed_hosts": "one.lan,two.lan",
    "workers.writable": "/srv/one,/srv/two",
}


def test_there_is_an_example_of_every_list() -> None:
    assert {key for key, field in setting_fields() if get_origin(field.annotation) is tuple} == LISTS.keys()


@pytest.mark.parametrize("key", LISTS)
def test_a_variable_gives_a_list_with_commas(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"LEARND_{key.upper().replace('.', '__')}", LISTS[key])
    section, name = key.split(".")
    assert len(getattr(getattr(load_settings(), section), name)) == 2
