"""The commands ``memory export`` and ``memory import``."""

from __future__ import annotations

from pathlib import Path

from memory.folder import DataFolder
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.memory.exchange.test_exchange import admit, commit


def test_trials_go_from_one_store_to_another(tmp_path: Path) -> None:
    for name in ("one", "other"):
        with Store.open(DataFolder(tmp_path / name)) as store:
            admit(store, "a")
            if name == "one":
                commit(store, "a", seed=1)
    one, other, file = Learnd(tmp_path / "one"), Learnd(tmp_path / "other"), str(tmp_path / "trials.learnd")
    exported = one.json("memory", "export", file, "--family", "a")
    assert (exported["families"], exported["episodes"]) == ({"a": 3}, 6)
    assert "a 3" in one("memory", "export", file).stdout
    assert other.json("memory", "import", file)["imported"] == {"a": 3}
    assert "0 trials imported, 3 were there already" in other("memory", "import", file).stdout
    assert other.json("memory", "stats")["trials"] == 3


def test_unknown_families_missing_files_and_other_files_are_refused(tmp_path: Path) -> None:
    with Store.open(DataFolder(tmp_path / "one")) as store:
        admit(store, "a")
    learnd, file = Learnd(tmp_path / "one"), tmp_path / "trials.learnd"
    assert "there is no family of that name" in learnd("memory", "export", str(file), "--family", "b", code=1).stderr
    assert "No such file" in learnd("memory", "import", str(file), code=1).stderr
    file.write_bytes(b"something else")
    assert "it is no archive of trials" in learnd("memory", "import", str(file), code=1).stderr
    assert file.read_bytes() == b"something else"
