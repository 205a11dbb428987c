"""The case backups-of-the-future: backups whose names a wrong clock has put decades ahead."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.conftest import Learnd

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("is_numbered", [True, False])
def test_the_backup_just_made_is_kept_and_is_the_newest(
    learnd: Learnd, inputs: Callable[[str], Path], is_numbered: bool
) -> None:
    assert inputs("backups-of-the-future")
    learnd.environment |= {"LEARND_JOBS__BACKUP": "4s", "LEARND_MEMORY__KEEP_BACKUPS": "3"}
    added = learnd("env", "add", "bernoulli_bandits", "--name", "bandits")
    assert added.returncode == 0, added.stdout
    first = learnd("run", "--for", "20")
    assert first.returncode == 0, first.stdout
    ahead = move_into_the_future(learnd.data_dir / "backups", is_numbered=is_numbered)
    assert ahead

    second = learnd("run", "--for", "25")

    made = [name for name in backups(learnd) if not name.startswith("2099-")]
    assert made, second.stdout
    assert backups(learnd)[0] == made[0]
    assert len(backups(learnd)) == 3
    assert re.search(r"job reported a warning.*backups from the future.*2099-", second.stdout)
    answer = json.loads(learnd("memory", "restore", "newest", "--json").stdout)
    assert Path(answer["backup"]).name == made[0]


def backups(learnd: Learnd) -> list[str]:
    """The names of the backups as `learnd memory backups` lists them."""
    return [found["name"] for found in json.loads(learnd("memory", "backups", "--json").stdout)["backups"]]


def move_into_the_future(folder: Path, *, is_numbered: bool) -> list[str]:
    """Rename every backup to the year 2099; without a number they are as an older learnd left them."""
    names = []
    for path in sorted(folder.glob("*Z")):
        names.append(f"2099-{path.name[5:]}")
        if not is_numbered:
            (path / "backup.json").unlink()
        path.rename(path.with_name(names[-1]))
    return names
