from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from agent.cli.curves import COLUMNS
from agent.reports.curve_plots import draw_png
from agent.reports.curve_values import read_curves
from agent.reports.family_curves import FamilyCurves, XAxis, drawable, x_values
from agent.reports.terminal_plots import TerminalStyle, terminal_plots
from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint, StoredCurvePoint
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.cli.hostile import hidden_characters
from tests.agent.cli.unscaled import RETURNS, add_unscaled

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
CSV_OF_TWO = ("curves", "cartpole", "mdps", "--csv")


def point(value: float, env_steps: int = 1, label: str = "", at: float = 1.0) -> StoredCurvePoint:
    measured = CurvePoint(metric=CurveMetric.EVAL_SCORE, value=value, label=label)
    return StoredCurvePoint(family="f", point=measured, env_steps=env_steps, meta_updates=1, at=at)


def ink(file: Path) -> np.ndarray:
    """Return whether each pixel of the picture is not white, by row and column."""
    pixels = image.imread(file)[:, :, :3]
    return (pixels < 0.98).any(axis=2)


def test_the_picture_is_a_png_with_something_on_every_card(learnd: Learnd, tmp_path: Path) -> None:
    file = tmp_path / "curves.png"
    learnd("curves", "--png", str(file))
    assert file.read_bytes().startswith(PNG_SIGNATURE)
    assert 40_000 < file.stat().st_size < 2_000_000
    dark = ink(file)
    height, width = dark.shape
    assert width > 1200
    assert height > 900
    cards = [dark[row * height // 3 : (row + 1) * height // 3, side * width // 2 : (side + 1) * width // 2]
             for row in range(3) for side in range(2)]  # fmt: skip
    assert all(0.005 < card.mean() < 0.5 for card in cards)


def test_the_picture_has_the_lines_of_the_palette(learnd: Learnd, tmp_path: Path) -> None:
    file = tmp_path / "curves.png"
    learnd("curves", "cartpole", "--png", str(file))
    pixels = (image.imread(file)[:, :, :3] * 255).round().astype(int).reshape(-1, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (np.abs(pixels - colour).sum(axis=1) < 6).sum() > 200


def test_a_family_without_points_has_a_card_that_says_so(tmp_path: Path) -> None:
    file = tmp_path / "none.png"
    draw_png([FamilyCurves(family="new", subtitle="pending")], file)
    assert ink(file).mean() > 0.001


@pytest.mark.parametrize("metric", list(CurveMetric))
@pytest.mark.parametrize("axis", list(XAxis))
def test_every_metric_is_drawn_over_every_axis(
    metric: CurveMetric, axis: XAxis, learnd: Learnd, tmp_path: Path
) -> None:
    options = ("--metric", metric.value, "--over", axis.value)
    learnd("curves", "cartpole", *options, "--png", str(tmp_path / "curves.png"))
    assert "cartpole" in learnd("curves", "cartpole", *options).stdout


def test_nothing_is_left_where_the_picture_cannot_be_written(learnd: Learnd, tmp_path: Path) -> None:
    answer = learnd.json("curves", "--png", str(tmp_path / "no" / "curves.png"), code=1)
    assert answer["error"]["found"] == "its folder does not exist."
    blocked = tmp_path / "folder.png"
    blocked.mkdir()
    learnd("curves", "cartpole", "--png", str(blocked), code=1)
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_numbers_go_to_stdout_or_to_a_file(learnd: Learnd, tmp_path: Path) -> None:
    text = learnd(*CSV_OF_TWO).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == COLUMNS
    assert {row["family"] for row in rows} == {"cartpole", "mdps"}
    assert len(rows) == 20
    assert [float(row["env_steps"]) for row in rows[:2]] == [9600, 19200]
    file = tmp_path / "points.csv"
    result = learnd(*CSV_OF_TWO, str(file))
    assert result.stdout == ""
    assert file.read_text() == text


def test_a_family_after_csv_is_a_family_and_not_a_file(
    learnd: Learnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert learnd("curves", "--csv", "cartpole").stdout.startswith("family,metric")
    assert not (tmp_path / "cartpole").exists()


def test_json_has_points_and_the_first_and_latest_adaptation(learnd: Learnd) -> None:
    answer = learnd.json("curves", "cartpole")
    (family,) = answer["families"]
    assert answer["metric"] == "eval_score"
    assert len(family["points"]) == 10
    assert [p["label"] for p in family["latest_episodes"]] == ["0", "1", "2"]
    assert family["first_episodes"][0]["at"] < family["latest_episodes"][0]["at"]


def test_the_terminal_shows_every_family(learnd: Learnd) -> None:
    page = learnd("curves").stdout
    assert page.count("┤") > 12
    assert "\x1b" not in page, "no colour where nobody watches"
    assert all(name in page for name in ("bandits", "mdps", "cartpole", "acrobot", "frozenlake", "pendulum"))


def test_an_unknown_family_suggests_the_nearest(learnd: Learnd) -> None:
    assert "cartpole" in learnd.json("curves", "cartpoel", code=1)["error"]["hint"]


def test_episode_indices_are_in_the_order_of_numbers(filled: DataFolder) -> None:
    with Store.open(filled, is_reader=True) as store:
        curves = read_curves(store, store.families.get("mdps"), CurveMetric.EPISODE_RETURN)
    assert list(curves.lines) == [str(index) for index in range(10)]
    assert [p.point.label for p in curves.latest_episodes] == [str(index) for index in range(10)]


def test_points_that_are_not_finite_are_not_drawn() -> None:
    lines = {"": [point(float("nan")), point(0.5)], "gone": [point(float("inf"))]}
    assert [[p.point.value for p in line] for line in drawable(lines).values()] == [[0.5]]


def test_points_without_a_number_of_learner_steps_are_not_drawn_over_them() -> None:
    lines = {"": [point(0.5), replace(point(0.75), learner_steps=7)], "older": [point(0.25)]}
    drawn = drawable(lines, XAxis.LEARNER_STEPS)
    assert {label: x_values(line, XAxis.LEARNER_STEPS) for label, line in drawn.items()} == {"": [7.0]}
    family = FamilyCurves(family="f", lines=lines)
    text = terminal_plots([family], axis=XAxis.LEARNER_STEPS, style=TerminalStyle(is_coloured=False))
    assert "not measured" not in text


def test_a_single_point_is_drawn_in_the_terminal() -> None:
    text = terminal_plots(
        [FamilyCurves(family="one", lines={"": [point(0.5)]})], style=TerminalStyle(is_coloured=False)
    )
    assert "one" in text


def test_a_narrow_terminal_has_one_panel_in_a_row() -> None:
    families = [FamilyCurves(family=name, lines={"": [point(0.1), point(0.9, 10)]}) for name in ("a", "b")]
    narrow = terminal_plots(families, width=70, style=TerminalStyle(is_coloured=False)).splitlines()
    assert max(len(line) for line in narrow) <= 70
    wide = terminal_plots(families, width=160, style=TerminalStyle(is_coloured=False)).splitlines()
    assert len(wide) < len(narrow)


def test_a_few_shot_family_is_drawn_by_shots(tmp_path: Path) -> None:
    episodes = [point(0.2, label="0"), point(0.7, label="1"), point(0.9, label="5")]
    family = FamilyCurves(
        family="glyphs",
        metric=CurveMetric.EPISODE_RETURN,
        lines={"5": episodes},
        latest_episodes=episodes,
        is_by_shots=True,
    )
    draw_png([family], tmp_path / "shots.png")
    assert (tmp_path / "shots.png").stat().st_size > 10_000
    lines = {"1": [point(0.1), point(0.2, 10)], "5": [point(0.3), point(0.4, 10)]}
    text = terminal_plots(
        [FamilyCurves(family="glyphs", metric=CurveMetric.UNCERTAINTY, lines=lines, is_by_shots=True)],
        width=80,
        style=TerminalStyle(is_coloured=False),
    )
    assert "5 shots" in text


def test_a_score_far_below_random_does_not_flatten_the_rest() -> None:
    family = FamilyCurves(family="waves", lines={"": [point(-819.0), point(0.4, 10)]})
    text = terminal_plots([family], width=80, style=TerminalStyle(is_coloured=False))
    assert "-1" in text
    assert "-819" not in text


def test_names_in_a_picture_are_no_formulas_and_no_codes(tmp_path: Path) -> None:
    foreign = "$\\frac{$ \x1b[31m \udc80 _x 名前"
    lines = {foreign: [point(0.5)], "$a_b$": [point(0.7)]}
    family = FamilyCurves(family=foreign, metric=CurveMetric.LOSS, subtitle=foreign, lines=lines)
    draw_png([family], tmp_path / "curves.png", title=foreign)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_names_in_the_terminal_are_no_codes() -> None:
    foreign = "name \x1b[31m\n\u202e"
    lines = {foreign: [point(0.5)], "b": [point(0.7)]}
    family = FamilyCurves(family=foreign, metric=CurveMetric.LOSS, subtitle=foreign, lines=lines)
    text = terminal_plots([family], style=TerminalStyle(is_coloured=False))
    assert r"name \x1b[31m\n\u202e: loss" in text
    assert not hidden_characters(text)


def test_a_family_without_a_reference_shows_its_returns(learnd: Learnd, filled: DataFolder, tmp_path: Path) -> None:
    add_unscaled(filled)
    unscaled, scaled = learnd.json("curves", "arm", "cartpole")["families"]
    assert [point["value"] for point in unscaled["points"]] == list(RETURNS)
    assert (unscaled["metric"], scaled["metric"]) == ("eval_return", "eval_score")
    page = learnd("curves", "arm").stdout
    assert "arm: held-out trial return" in page
    assert "held-out return -640 ± 31" in page
    rows = list(csv.DictReader(io.StringIO(learnd("curves", "arm", "--csv").stdout)))
    assert [(row["metric"], float(row["value"])) for row in rows] == [("eval_return", value) for value in RETURNS]
    learnd("curves", "arm", "--png", str(tmp_path / "arm.png"))
    assert ink(tmp_path / "arm.png").mean() > 0.005
