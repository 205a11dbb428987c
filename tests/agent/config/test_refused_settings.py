"""Settings that cannot work: each is refused with the reason, its place and the most similar name."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from agent.config.loading import load_settings
from agent.config.triggers import parse_trigger
from agent.errors import SettingsError, SettingsProblem


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("STATE_DIRECTORY", "CONFIGURATION_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))


def problems_of(tmp_path: Path, text: str | bytes) -> list[SettingsProblem]:
    """Return the problems of a settings file."""
    path = tmp_path / "learnd.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("section", "line", "reason"),
    [
        ("workers", 'memory_limit = "10B"', "at least 64MiB, because"),
        ("workers", 'memory_limit = "9999999TiB"', "less than 8 EiB"),
        ("memory", 'max_size = "1KiB"', "at least 16MiB, because"),
        ("memory", 'max_age = "90"', "at least 1h"),
        ("jobs", 'backup = "1"', "with its unit"),
        ("jobs", "evaluate = 5", "with its unit"),
        ("evaluation", "paused_every = 30.0", "with its unit"),
        ("jobs", 'backup = "cron: 0 0 31 2 *"', "31 February never does"),
        ("jobs", 'prune = "cron: 0 0 31 4,6 *"', "31 February never does"),
        ("jobs", 'prune = "99999999d"', "an interval"),
        ("practise", 'windows = ["22:00-06:00", "05:00-07:00"]', "22:00-06:00 and 05:00-07:00 do"),
        ("practise", 'windows = ["08:00-12:00", "09:00-10:00"]', "do not overlap"),
        ("practise", 'slice_s = "1e300"', "at most 100 years"),
        ("learner", 'start_timeout_s = "10ms"', "at least 5s"),
        ("learner", 'stall_timeout_s = "10ms"', "at least 1s"),
        ("learner", "threads = 100000", "less than or equal to 1024"),
        ("learner", "seed = 9223372036854775808", "less than"),
        ("memory", "keep_backups = 99999999999", "less than or equal to"),
        ("workers", 'step_timeout_s = "1ms"', "at least 0.1s"),
        ("workers", 'start_timeout_s = "1ms"', "at least 1s"),
        ("consolidation", "tolerance = inf", "finite"),
        ("consolidation", "tolerance = nan", "finite"),
        ("evaluation", "share = nan", "less than or equal to 1"),
        ("stream", 'folder = ""', "the path of a folder"),
        ("rl2", "discount = 1.5", "at most 1"),
        ("rl2", "gae_lambda = -0.5", "more than 0"),
        ("rl2", "entropy_coefficient = -1.0", "more than 0"),
        ("rl2", "learning_rate = inf", "finite"),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_the_reason_and_its_line(
    tmp_path: Path, section: str, line: str, reason: str
) -> None:
    (problem,) = problems_of(tmp_path, f"# a comment\n[{section}]\n{line}\n")
    assert reason in problem.allowed
    assert (problem.key, problem.line) == (f"{section}.{line.partition(' ')[0]}", 3)


def test_an_empty_data_folder_is_refused(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, 'data_dir = ""\n')
    assert problem.allowed == "the path of a folder"


@pytest.mark.parametrize("name", ["learner.restart", "workers.quarantine"])
def test_a_first_wait_above_the_longest_is_refused_in_the_line_of_the_one_that_is_set(
    tmp_path: Path, name: str
) -> None:
    section, _, key = name.partition(".")
    (problem,) = problems_of(tmp_path, f'[{section}]\n\n{key}_first_s = "2h"\n{key}_max_s = "90m"\n')
    assert (problem.key, problem.value, problem.line) == (f"{name}_first_s", "2h", 3)
    assert problem.allowed == f"at most {name}_max_s, which is 90m"
    (problem,) = problems_of(tmp_path, f'[{section}]\n{key}_max_s = "100ms"\n')
    assert (problem.key, problem.line) == (f"{name}_max_s", 2)
    assert f"at least {name}_first_s" in problem.allowed


def test_windows_that_only_touch_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "learnd.toml"
    path.write_text('[practise]\nwindows = ["22:00-06:00", "06:00-07:00", "20:00-22:00"]\n')
    assert len(load_settings(path).practise.windows) == 3


def test_a_rare_date_and_small_intervals_with_a_unit_are_accepted() -> None:
    assert parse_trigger("cron: 0 0 29 2 *").cron == "0 0 29 2 *"
    assert [parse_trigger(value).interval_s for value in ("5s", 300, "300", "interval:5")] == [5, 300, 300, 5]


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("[learner]\nsed = 1\n", 2, "Did you mean learner.seed?"),
        ("[practise]\nseed = 1\n", 2, "Did you mean learner.seed?"),
        ("\nlistn = 'x'\n[service]\n", 2, ""),
        ("listen = 'x'\n", 1, "Did you mean service.listen?"),
        ("[lerner]\nseed = 1\n", 1, "Did you mean learner?"),
        ("[learner]\ndevice = 'CUDDA'\n", 2, 'Did you mean "cuda"?'),
        ("[few_shot]\nlearner = 'protnet'\n", 2, 'Did you mean "protonet"?'),
        ("[rl2]\nhiden_size = 3\n", 2, "Did you mean rl2.hidden_size?"),
        ("learner.sed = 1\n", 1, "Did you mean learner.seed?"),
        ("learner = {sed = 1}\n", 1, "Did you mean learner.seed?"),
        ('[practise]\nwindows = [\n  "22:00-06:00",\n]\nslise_s = 1\n', 5, "Did you mean practise.slice_s?"),
        ('"data_dir" = """\n/a\nseed = 1\n"""\n[learner]\nsed = 2\n', 6, "Did you mean learner.seed?"),
    ],
)
def test_an_unknown_name_has_its_line_and_the_most_similar_one(tmp_path: Path, text: str, line: int, hint: str) -> None:
    (problem,) = problems_of(tmp_path, text)
    assert (problem.line, problem.hint) == (line, hint)
    assert f"line {line})" in str(problem)


def test_text_that_is_no_toml_has_its_line(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, "[learner]\nseed 3\n")
    assert problem.line == 2
    (problem,) = problems_of(tmp_path, b"[learner]\n# caf\xe9\n")
    assert (problem.line, problem.value) == (2, "it is not UTF-8 (byte 0xe9)")


def test_a_byte_order_mark_of_utf_8_is_accepted_and_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "learnd.toml"
    path.write_bytes(codecs.BOM_UTF8 + b"[learner]\r\nseed = 7\r\n")
    assert load_settings(path).learner.seed == 7
    (problem,) = problems_of(tmp_path, "[learner]\nseed = 7\n".encode("utf-16"))
    assert problem.value == "it is UTF-16; save it as UTF-8"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LEARND_LEARNER_DEVICE", "Did you mean LEARND_LEARNER__DEVICE?"),
        ("LEARND_DEVICE", "Did you mean LEARND_LEARNER__DEVICE?"),
        ("LEARND_DATADIR", "Did you mean LEARND_DATA_DIR?"),
        ("LEARND_CONFG", "Did you mean LEARND_CONFIG?"),
        ("LEARND_LERNER__DEVICE", "Did you mean LEARND_LEARNER__DEVICE?"),
        ("LEARND_XYZZY", ""),
    ],
)
def test_an_unknown_variable_is_refused_with_the_most_similar_one(
    monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    (problem,) = caught.value.problems
    assert (problem.source, problem.hint) == (f"variable {name}", hint)


def test_variables_of_learnd_and_empty_ones_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARND_OMNIGLOT", "/srv/omniglot")
    monkeypatch.setenv("LEARND_DEVICE", "")
    monkeypatch.setenv("LEARND_LEARNER__SEED", "4")
    assert load_settings().learner.seed == 4
