"""The check of 'env add' and the service run a worker in the same folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.conftest import Learnd

pytestmark = pytest.mark.slow


def test_what_the_check_reads_the_service_reads_too(
    learnd: Learnd, inputs: Callable[[str], Path], tmp_path: Path
) -> None:
    learnd.working_folder = inputs("beside-the-levels")
    added = learnd("env", "add", "level:Level", "--path", ".")
    assert added.returncode == 0, added.stdout
    learnd.working_folder = tmp_path
    # A busy machine may need more than one run before a slice is committed.
    for _ in range(4):
        ran = learnd("run", "--for", "30")
        [family] = json.loads(learnd("env", "list", "--json").stdout)["families"]
        if family["trials"] > 0 or family["strikes"] > 0:
            break
    assert (family["state"], family["strikes"]) == ("active", 0)
    assert family["trials"] > 0, ran.stdout[-3000:]


def test_what_lies_only_where_the_user_stands_is_refused_with_the_folder(
    learnd: Learnd, inputs: Callable[[str], Path], tmp_path: Path
) -> None:
    learnd.working_folder = inputs("beside-the-levels")
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "level.py").write_text((learnd.working_folder / "level.py").read_text())
    added = learnd("env", "add", "level:Level", "--path", str(modules))
    said = "".join(added.stdout.split())
    assert added.returncode == 1, added.stdout
    assert "levels/first.txt" in said
    assert f"worker'sfolder,{modules}" in said
