"""Families follow the files in the watched folders: they are added, changed, paused and resumed."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.config.settings import Settings, StreamSettings
from agent.daemon import family_folders
from agent.daemon.family_folders import GONE, FamilyFolders, synchronise
from agent.daemon.store.thread import StoreThread
from agent.family_files import declaration_in, family_files
from envs.declaration import family_from_declaration
from envs.family import FamilySpec
from envs.family_file import family_file_text
from memory.folder import DataFolder
from memory.records import Family, FamilyState
from memory.records.family_files import FamilyFile
from memory.store import Store
from tests.agent.daemon.daemon_process import QUICK, DaemonProcess, until

POLE = 'entry = "CartPole-v1"\n'
LAKE = 'entry = "FrozenLake-v1"\n'


class Watched:
    """A data folder with watched folders, which a test looks at as the daemon does."""

    def __init__(self, root: Path) -> None:
        self.folder = DataFolder(root / "data")
        self.files = self.folder.path / "env.d"
        self.other_files = root / "elsewhere"
        self.store = Store.open(self.folder)
        self.settings = Settings(data_dir=self.folder.path, stream=StreamSettings(folder=self.other_files))
        self.files.mkdir()
        self.other_files.mkdir()
        self._writer = StoreThread("writer", lambda: Store.open(self.folder))
        self.folders = FamilyFolders(self.settings, self._writer)

    def look(self, times: int = 2) -> list[str]:
        """Look as often as the daemon needs to take a change over, and return what cannot be used."""

        async def run() -> None:
            await self._writer.open()
            for _ in range(times):
                await self.folders.look()
            await self._writer.close()

        asyncio.run(run())
        return [problem.found for problem in self.folders.problems]

    def restart(self, **changed: object) -> None:
        """Begin with a daemon that has seen nothing, with changed settings."""
        settings = Settings(**{**self.settings.model_dump(), **changed})
        self.folders = FamilyFolders(settings, self._writer)

    def forget_contents(self) -> None:
        """Make the records of files those of an older learnd."""
        with self.store._connection.transaction("forgetting contents"):
            self.store._connection.execute("UPDATE family_files SET content = NULL")

    def family(self, name: str = "pole") -> Family:
        return self.store.families.get(name)

    def admit(self, name: str = "pole") -> Family:
        return self.store.families.admit(name, spaces={"any": 1}, random_return=1.0, reference_return=None)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.store.close()


def test_a_file_that_appears_adds_its_family_to_be_admitted(watched: Watched) -> None:
    assert watched.look() == []
    (watched.files / "pole.toml").write_text(POLE)
    (watched.other_files / "lake.toml").write_text(LAKE)
    assert watched.look() == []
    assert [(family.name, family.state) for family in watched.store.families.all()] == [
        ("pole", FamilyState.PENDING),
        ("lake", FamilyState.PENDING),
    ]


def test_a_file_that_is_being_written_is_not_read_yet(watched: Watched) -> None:
    (watched.files / "pole.toml").write_text("entry =")
    assert watched.look(1) == []
    (watched.files / "pole.toml").write_text(POLE)
    assert watched.look(1) == []
    assert watched.store.families.all() == []
    assert watched.look(1) == []
    assert watched.family().state is FamilyState.PENDING


def test_a_file_that_keeps_growing_stops_no_other_and_leaves_its_family_as_it_is(watched: Watched) -> None:
    growing = watched.files / "growing.toml"
    growing.write_text(LAKE)
    watched.look()
    (watched.files / "pole.toml").write_text(POLE)
    for _ in range(5):
        with growing.open("a") as file:
            file.write("# more\n")
        watched.look(1)
    assert watched.family("pole").state is FamilyState.PENDING
    number = watched.family("growing").id
    watched.look()
    assert watched.family("growing").id == number


def test_a_file_that_goes_while_another_grows_pauses_its_family(watched: Watched) -> None:
    pole, growing = watched.files / "pole.toml", watched.files / "growing.toml"
    pole.write_text(POLE)
    watched.look()
    pole.unlink()
    for _ in range(3):
        with growing.open("a") as file:
            file.write("# more\n")
        watched.look(1)
    assert watched.family("pole").state is FamilyState.PAUSED


def test_a_file_that_is_replaced_by_renaming_another_changes_its_family_once(watched: Watched) -> None:
    file = watched.files / "pole.toml"
    file.write_text(POLE)
    watched.look()
    number = watched.family().id
    new = watched.files / ".new"
    new.write_text(POLE + "episodes = 7\n")
    new.replace(file)
    watched.look(3)
    assert (watched.family().id, watched.family().require_spec().episodes_per_trial) == (number + 1, 7)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "line 1: it has no entry"),
        (b'entry = "CartPole-v1"\nvary = ["gra', "line 2: it is not TOML"),
        (b"#" * (10 << 20), "it is larger than 1048576 bytes"),
        ('entry = "CartPole-v1" # für'.encode("latin-1"), "line 1: it is not UTF-8"),
    ],
    ids=["empty", "half", "large", "latin-1"],
)
def test_a_file_that_becomes_unusable_is_reported_and_its_family_stays(
    content: bytes, found: str, watched: Watched
) -> None:
    file = watched.files / "pole.toml"
    file.write_text(POLE)
    watched.look()
    number = watched.family().id
    file.write_bytes(content)
    [problem] = watched.look(3)
    assert problem.startswith(found)
    assert (watched.family().id, watched.family().state) == (number, FamilyState.PENDING)


def test_a_folder_that_becomes_a_loop_of_links_is_reported_and_its_families_stay(watched: Watched) -> None:
    (watched.files / "pole.toml").write_text(POLE)
    watched.look()
    watched.files.rename(watched.files.with_name("elsewhere"))
    watched.files.symlink_to(watched.files)
    [problem] = watched.look(3)
    assert problem.startswith("Too many levels of symbolic links")
    assert watched.family().state is FamilyState.PENDING


@pytest.mark.parametrize("name", [".pole.toml", "pole.toml~", "pole.txt"])
def test_hidden_and_other_files_are_left_out(name: str, watched: Watched) -> None:
    (watched.files / name).write_text("nonsense")
    assert watched.look() == []
    assert watched.store.families.all() == []


def test_a_changed_file_gives_its_name_to_a_new_family_with_a_history_of_its_own(watched: Watched) -> None:
    file = watched.files / "pole.toml"
    file.write_text(POLE)
    watched.look()
    first = watched.admit()
    file.write_text(POLE + "episodes = 7\n")
    watched.look()
    second = watched.family()
    assert (second.state, second.require_spec().episodes_per_trial) == (FamilyState.PENDING, 7)
    assert second.id != first.id
    [removed] = [family for family in watched.store.families.all(with_removed=True) if family.id == first.id]
    assert (removed.state, removed.state_reason) == (FamilyState.REMOVED, "its family file was changed")


def test_a_comment_in_a_file_changes_nothing(watched: Watched) -> None:
    file = watched.files / "pole.toml"
    file.write_text(POLE)
    watched.look()
    admitted = watched.admit()
    file.write_text("# the pole\n" + POLE)
    watched.look()
    assert watched.family() == admitted


def test_a_family_of_an_older_version_keeps_its_history_and_the_network(watched: Watched) -> None:
    file = watched.files / "pole.toml"
    file.write_text(POLE)
    watched.look()
    first = watched.admit()
    declared = first.require_spec().to_json()
    del declared["network"]
    watched.store.family_files.record(
        FamilyFile(path=str(file), family_id=first.id, declaration=declared, content=None, is_gone=False)
    )
    watched.restart()
    assert watched.look() == []
    assert watched.family().id == first.id


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        (POLE, {"reference": {"steps": 200_000}}),
        (POLE, {"reference": {"default": "none"}}),
        (POLE + 'reference = "ppo"\n', {"reference": {"steps": 200_000}}),
        ('entry = "glyphs"\n', {"few_shot": {"learner": "versa"}}),
        ('entry = "sinusoids"\n', {"few_shot": {"regression_learner": "versa"}}),
    ],
)
def test_a_changed_setting_leaves_the_families_of_files_as_they_are(
    text: str, changed: dict[str, object], watched: Watched
) -> None:
    file, other, named = watched.files / "a.toml", watched.files / "b.toml", text + 'name = "pole"\n'
    file.write_text(named)
    watched.look()
    admitted = watched.admit()
    watched.restart(**changed)
    assert watched.look() == []
    assert watched.family() == admitted, "after a restart"
    file.rename(other)
    assert watched.look() == []
    assert watched.family() == admitted, "in a file that was renamed"
    other.unlink()
    watched.look()
    other.write_text(named)
    assert watched.look() == []
    assert watched.family().id == admitted.id, "after the file was away"
    other.write_text(named + "# the pole\n")
    watched.restart(**changed)
    assert watched.look() == []
    assert watched.family().id == admitted.id, "with a comment"


def test_a_file_that_leaves_open_what_it_said_declares_another_family(watched: Watched) -> None:
    file = watched.files / "glyphs.toml"
    file.write_text('entry = "glyphs"\nlearner = "versa"\n')
    watched.look()
    first = watched.admit("glyphs")
    file.write_text('entry = "glyphs"\n')
    watched.look()
    assert watched.family("glyphs").id != first.id
    assert watched.family("glyphs").require_spec().learner == "protonet"


def test_a_setting_may_change_after_the_content_of_an_older_record_is_known(watched: Watched) -> None:
    (watched.files / "pole.toml").write_text(POLE)
    watched.look()
    admitted = watched.admit()
    watched.forget_contents()
    watched.restart()
    watched.look()
    watched.restart(reference={"steps": 200_000})
    watched.look()
    assert watched.family() == admitted


def test_a_file_with_the_same_content_in_another_folder_is_another_family(watched: Watched) -> None:
    for folder in (watched.files, watched.other_files):
        (folder / "maze.py").write_text("")
    text = 'entry = "maze.py:Maze"\nname = "pole"\n'
    (watched.files / "a.toml").write_text(text)
    watched.look()
    (watched.files / "a.toml").rename(watched.other_files / "a.toml")
    assert ["added otherwise" in found for found in watched.look()] == [True]


def test_a_default_that_is_written_down_changes_nothing(watched: Watched) -> None:
    file = watched.files / "pole.toml"
    file.write_text(POLE)
    watched.look()
    admitted = watched.admit()
    file.write_text(POLE + f"episodes = {admitted.require_spec().episodes_per_trial}\n")
    assert watched.look() == []
    assert watched.family() == admitted


@pytest.mark.parametrize("num_files", [1, 6])
def test_the_families_and_the_records_are_read_once_however_many_files_there_are(
    num_files: int, watched: Watched
) -> None:
    for number in range(num_files):
        (watched.files / f"{number}.toml").write_text(POLE + f'name = "pole-{number}"\n')
    declared = {str(path): declaration_in(path, watched.settings) for path in family_files(watched.files)}
    statements: list[str] = []
    watched.store._connection.raw.set_trace_callback(statements.append)
    for num_added in (num_files, 0):
        statements.clear()
        assert synchronise(watched.store, declared) == []
        assert sum("INSERT INTO families" in statement for statement in statements) == num_added
        assert sum("ORDER BY" in statement for statement in statements) <= 2
    (watched.files / "0.toml").unlink()
    del declared[str(watched.files / "0.toml")]
    statements.clear()
    assert synchronise(watched.store, declared) == []
    assert sum("ORDER BY" in statement for statement in statements) <= 2
    assert watched.family("pole-0").state is FamilyState.PAUSED


def test_names_that_change_places_at_once_are_reported_and_no_family_is_lost(watched: Watched) -> None:
    first, second = watched.files / "a.toml", watched.files / "b.toml"
    first.write_text(POLE + 'name = "pole"\n')
    second.write_text(LAKE + 'name = "lake"\n')
    watched.look()
    numbers = {family.name: family.id for family in watched.store.families.all()}
    first.write_text(LAKE + 'name = "lake"\n')
    second.write_text(POLE + 'name = "pole"\n')
    assert len(watched.look()) == 2
    assert {family.name: family.id for family in watched.store.families.all()} == numbers


def test_a_file_that_goes_pauses_its_family_and_its_return_resumes_it(watched: Watched) -> None:
    file = watched.files / "pole.toml"
    file.write_text(POLE)
    watched.look()
    admitted = watched.admit()
    file.unlink()
    watched.look()
    assert (watched.family().state, watched.family().state_reason) == (FamilyState.PAUSED, GONE)
    file.write_text(POLE)
    watched.look()
    assert (watched.family().state, watched.family().id) == (FamilyState.ACTIVE, admitted.id)


def test_a_family_that_a_person_paused_stays_paused(watched: Watched) -> None:
    file = watched.files / "pole.toml"
    file.write_text(POLE)
    watched.look()
    watched.store.families.set_state("pole", FamilyState.PAUSED, reason="by hand")
    file.unlink()
    watched.look()
    file.write_text(POLE)
    watched.look()
    assert (watched.family().state, watched.family().state_reason) == (FamilyState.PAUSED, "by hand")


def test_a_renamed_file_keeps_its_family(watched: Watched) -> None:
    (watched.files / "a.toml").write_text(POLE + 'name = "pole"\n')
    watched.look()
    admitted = watched.admit()
    (watched.files / "a.toml").rename(watched.files / "b.toml")
    assert watched.look() == []
    assert (watched.family().id, watched.family().state) == (admitted.id, FamilyState.ACTIVE)
    assert [record.path for record in watched.store.family_files.all()] == [str(watched.files / "b.toml")]


def test_what_happened_while_the_daemon_was_down_is_noticed(watched: Watched) -> None:
    file = watched.files / "pole.toml"
    file.write_text(POLE)
    watched.look()
    watched.admit()
    watched.restart()
    watched.look()
    assert watched.family().state is FamilyState.ACTIVE, "nothing happened"
    file.unlink()
    watched.restart()
    watched.look()
    assert watched.family().state is FamilyState.PAUSED


def test_a_family_that_was_removed_by_hand_stays_removed_until_its_file_changes(watched: Watched) -> None:
    file = watched.files / "pole.toml"
    file.write_text(POLE)
    watched.look()
    watched.store.families.set_state("pole", FamilyState.REMOVED)
    watched.restart()
    watched.look()
    assert watched.store.families.all() == []
    file.write_text(POLE + "episodes = 2\n")
    watched.look()
    assert watched.family().state is FamilyState.PENDING


def test_a_removed_family_comes_again_with_a_file_that_went_and_came(watched: Watched) -> None:
    file = watched.files / "pole.toml"
    file.write_text(POLE)
    watched.look()
    file.unlink()
    watched.look()
    watched.store.families.set_state("pole", FamilyState.REMOVED)
    file.write_text(POLE)
    watched.look()
    assert watched.family().state is FamilyState.PENDING


def test_a_broken_file_is_reported_with_its_line_and_stops_no_other(watched: Watched) -> None:
    (watched.files / "bad.toml").write_text(POLE + "episodes = many\n")
    (watched.files / "binary.toml").write_bytes(b"\xff\xfe")
    (watched.files / "folder.toml").mkdir()
    (watched.files / "pole.toml").write_text(POLE)
    problems = watched.look()
    assert problems[0].startswith("line 2: it is not TOML")
    assert problems[1].startswith("line 1: it is not UTF-8")
    assert problems[2].startswith("it is no regular file")
    assert watched.family().state is FamilyState.PENDING


def test_what_is_no_regular_file_is_reported_and_stops_no_other(watched: Watched) -> None:
    os.mkfifo(watched.files / "a_pipe.toml")
    (watched.files / "b_device.toml").symlink_to("/dev/zero")
    (watched.files / "c_folder.toml").mkdir()
    (watched.files / "d_link.toml").symlink_to("/no/such/file.toml")
    (watched.files / "e_loop.toml").symlink_to("e_loop.toml")
    (watched.files / "pole.toml").write_text(POLE)
    found = watched.look()
    assert found == [
        "it is no regular file.",
        "it is no regular file. It is a link to /dev/zero.",
        "it is no regular file.",
        "No such file or directory. It is a link to /no/such/file.toml.",
        "Too many levels of symbolic links. It is a link to e_loop.toml.",
    ]
    assert watched.family().state is FamilyState.PENDING


def test_a_file_that_becomes_a_broken_link_leaves_its_family_as_it_is(watched: Watched) -> None:
    (watched.files / "pole.toml").write_text(POLE)
    watched.look()
    (watched.files / "pole.toml").unlink()
    (watched.files / "pole.toml").symlink_to("/no/such/file.toml")
    assert len(watched.look()) == 1
    assert watched.family().state is FamilyState.PENDING


def test_a_folder_that_cannot_be_read_is_reported_and_its_families_stay_as_they_are(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    (watched.other_files / "lake.toml").write_text(LAKE)
    watched.look()

    def files_of(folder: Path) -> list[Path]:
        if folder == watched.other_files:
            raise PermissionError(errno.EACCES, "Permission denied")
        return family_files(folder)

    monkeypatch.setattr(family_folders, "family_files", files_of)
    (watched.files / "pole.toml").write_text(POLE)
    assert len(watched.look()) == 1
    assert watched.folders.problems[0].file == str(watched.other_files)
    assert [family.name for family in watched.store.families.all()] == ["lake", "pole"]
    assert watched.family("lake").state is FamilyState.PENDING


def test_a_file_that_breaks_leaves_its_family_as_it_is_and_a_mended_one_is_not_reported(watched: Watched) -> None:
    file = watched.files / "pole.toml"
    file.write_text(POLE)
    watched.look()
    admitted = watched.admit()
    file.write_text(POLE + "episods = 3\n")
    assert "'episods' is not a key" in watched.look()[0]
    assert watched.family() == admitted
    file.write_text(POLE)
    assert watched.look() == []
    assert watched.family() == admitted


def test_a_name_that_another_family_has_is_reported_until_it_is_free(watched: Watched) -> None:
    (watched.other_files / "lake.toml").write_text(LAKE)
    watched.look()
    (watched.files / "pole.toml").write_text(POLE + 'name = "lake"\n')
    (watched.files / "same.toml").write_text(LAKE + 'name = "lake"\n')
    assert all("lake" in problem for problem in watched.look())
    assert len(watched.folders.problems) == 2
    (watched.files / "same.toml").unlink()
    watched.store.families.set_state("lake", FamilyState.REMOVED)
    (watched.other_files / "lake.toml").unlink()
    assert watched.look() == []
    assert watched.family("lake").require_spec().entry == "CartPole-v1"


def test_a_name_that_becomes_free_by_a_command_is_taken_without_a_change_of_the_file(watched: Watched) -> None:
    (watched.files / "pole.toml").write_text(POLE)
    watched.store.families.add(watched_spec("Acrobot-v1"))
    assert "added otherwise" in watched.look()[0]
    watched.store.families.set_state("pole", FamilyState.REMOVED)
    assert watched.look(10) == []
    assert watched.family().require_spec().entry == "CartPole-v1"


def watched_spec(entry: str) -> FamilySpec:
    return family_from_declaration(entry, name="pole")


def test_an_exported_family_is_taken_over_by_its_file_as_it_is(watched: Watched) -> None:
    watched.store.families.add(watched_spec("CartPole-v1"))
    admitted = watched.admit()
    file = watched.files / "exported.toml"
    file.write_text(family_file_text(admitted.require_spec()))
    assert watched.look() == []
    assert watched.family() == admitted
    file.unlink()
    watched.look()
    assert watched.family().state is FamilyState.PAUSED


def test_nothing_is_read_or_written_while_nothing_changes(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    (watched.files / "pole.toml").write_text(POLE)
    watched.look()
    version = watched.store.data_version()
    monkeypatch.setattr("agent.daemon.family_folders.declaration_in", _refuse)
    assert watched.look(5) == []
    assert watched.store.data_version() == version


def _refuse(*_: object) -> None:
    raise AssertionError("a file was read again")


def test_a_running_daemon_takes_files_over_and_reports_a_broken_one(tmp_path: Path) -> None:
    quiet = QUICK + "[stream]\nembedded_default = false\n"
    with DaemonProcess(tmp_path / "data", config=quiet) as service:
        files = tmp_path / "data" / "env.d"
        files.mkdir()
        (files / "pole.toml").write_text(POLE)
        (files / "bad.toml").write_text("entry = 3")
        with service.store() as store:
            until(_state_is(store, "pole", FamilyState.ACTIVE), "the family of the file is admitted")
            problems = until(
                lambda: (store.daemon_status.get() or {}).get("family_files"), "the broken file is in the status"
            )
            assert problems[0]["found"].startswith("line 1: entry is 3")
            (files / "pole.toml").unlink()
            until(_state_is(store, "pole", FamilyState.PAUSED), "the family is paused")
        warned = [event for event in service.events() if event["event"] == "family file cannot be used"]
        assert len(warned) == 1


def _state_is(store: Store, name: str, state: FamilyState) -> Callable[[], bool]:
    return lambda: any(family.name == name and family.state is state for family in store.families.all())
