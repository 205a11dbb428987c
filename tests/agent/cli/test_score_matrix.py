"""``learnd curves --matrix``: the scores of all families as numbers, in the terminal and as a picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory.folder import DataFolder
from tests.agent.cli.conftest import Learnd
from tests.agent.cli.unscaled import add_unscaled


def test_the_numbers_of_every_family_are_on_one_axis(learnd: Learnd) -> None:
    answer = learnd.json("curves", "--matrix")
    assert answer["axis"] == "learner_steps"
    families = {family["name"]: family for family in answer["families"]}
    assert len(families) == 6
    cartpole = families["cartpole"]
    assert (cartpole["unit"], cartpole["state"], cartpole["forgetting"]) == ("reference", "active", 0.0)
    assert cartpole["forward_transfer"] is None
    assert cartpole["performance"] == cartpole["reached"] == pytest.approx(0.6, abs=0.2)
    assert [point["learner_steps"] for point in cartpole["points"]] == list(range(3, 61, 6))
    scores = [point["value"] for point in learnd.json("curves", "cartpole")["families"][0]["points"]]
    assert [point["score"] for point in cartpole["points"]] == pytest.approx(scores)
    assert all(point["is_practised"] for point in cartpole["points"])
    performances = [family["performance"] for family in families.values()]
    assert answer["average_performance"] == pytest.approx(sum(performances) / 6)


def test_over_time_the_axis_is_named(learnd: Learnd) -> None:
    assert learnd.json("curves", "--matrix", "--over", "time")["axis"] == "time"


def test_the_terminal_has_a_row_for_each_family(learnd: Learnd, filled: DataFolder) -> None:
    add_unscaled(filled)
    page = learnd("curves", "--matrix").stdout
    assert "\x1b" not in page, "no colour where nobody watches"
    rows = {line.split()[0]: line.split()[1] for line in page.splitlines() if len(line.split()) > 1}
    assert set(rows) >= {"bandits", "mdps", "cartpole", "acrobot", "frozenlake", "pendulum", "arm"}
    assert rows["bandits"].endswith("9")
    assert set(rows["arm"]) == {"."}, "it was never practised, so nothing is its unit"


@pytest.mark.parametrize("option", ["-o", "--png"])
def test_the_picture_goes_to_the_named_file(option: str, learnd: Learnd, tmp_path: Path) -> None:
    file = tmp_path / "matrix.png"
    answer = learnd.json("curves", "mdps", "cartpole", "--matrix", option, str(file))
    assert answer["png"] == str(file)
    assert [family["name"] for family in answer["families"]] == ["mdps", "cartpole"]
    assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("other", [("--over", "env_steps"), ("--metric", "loss"), ("--csv",)])
def test_options_that_the_matrix_cannot_have_are_refused(other: tuple[str, ...], learnd: Learnd) -> None:
    error = learnd.json("curves", "--matrix", *other, code=1)["error"]
    assert "--over learner_steps" in error["hint"]


def test_an_unknown_family_suggests_the_nearest(learnd: Learnd) -> None:
    assert "cartpole" in learnd.json("curves", "cartpoel", "--matrix", code=1)["error"]["hint"]


def test_without_data_there_is_an_empty_matrix(tmp_path: Path) -> None:
    empty = Learnd(tmp_path / "nothing")
    assert empty.json("curves", "--matrix") == {"axis": "learner_steps", "average_performance": None, "families": []}
    assert "no data yet" in empty("curves", "--matrix").stdout
    assert "no data yet" in empty("curves", "cartpole", "--matrix", code=1).stderr
