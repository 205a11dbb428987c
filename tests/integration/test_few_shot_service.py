"""A few-shot family in the whole service, as a person feeds it, watches it and asks what it learned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs
from tests.service import Service, running

UPDATES = "learnd_meta_updates_total"
SMALL = """
[practise]
slice_s = 0.5
[jobs]
evaluate = "2s"
consolidate = "3s"
[stream]
embedded_default = false
[evaluation]
trials_few_shot = 32
[consolidation]
trials_few_shot = 32
"""
GLYPHS = ("--kwarg", "alphabets=6", "--kwarg", "characters=8", "--kwarg", "drawers=6", "--kwarg", "size=16")
NUM_CLASSES = 6
KNOWN = 0.8
"""Score from which a policy knows glyphs and goes on to know them: from there it tells five of six apart."""

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("few-shot service")]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service") / "store", config=SMALL) as service:
        service.learnd("env", "add", "glyphs", "--few-shot", "5x1", "--queries", "3", *GLYPHS)
        service.learnd("env", "add", "sinusoids", "--shots", "5", "--learner", "versa", "--no-check")
        service.wait_for(
            lambda: all(service.metric(UPDATES, family=name) > 0 for name in ("glyphs", "sinusoids")),
            timeout_s=180,
            what="to have practised both families",
        )
        yield service


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """Characters of another world: one drawing to know each by, four to ask about, dark on white."""
    glyphs = draw_glyphs(GlyphConfig(alphabets=1, characters=NUM_CLASSES, drawers=5, size=60, seed=77))
    for place in ("known", "asked"):
        (tmp_path / place).mkdir()
    for number, found in enumerate(glyphs.classes):
        for drawing in range(found.count):
            image = Image.fromarray(255 - glyphs.images[found.start + drawing].numpy())
            place = f"known/c{number}.png" if drawing == 0 else f"asked/c{number}-{drawing}.png"
            image.save(tmp_path / place)
    return tmp_path


def published_score(service: Service) -> float:
    """Return the score of the current version on glyphs, 0 before there is one."""
    current = (version for version in service.api("versions")["versions"] if version["is_current"])
    return next((s["score"] for version in current for s in version["scores"] if s["family"] == "glyphs"), 0.0)


def test_it_is_evaluated_above_chance_and_shown_like_any_other(service: Service) -> None:
    # Scores rise and fall in the first seconds, so that one evaluation does not tell what the next command shows.
    service.wait_for(lambda: published_score(service) > KNOWN, timeout_s=180, what="to tell glyphs apart")
    service.wait_for(
        lambda: service.metric("learnd_eval_score", family="glyphs") > KNOWN, timeout_s=180, what="to tell them apart"
    )
    shown = service.learnd("env", "show", "glyphs")
    assert shown["shots"] == [0, 1]
    assert shown["episode_returns"][0] == pytest.approx(0.2)
    assert shown["episode_returns"][1] > 0.5
    service.wait_for(
        lambda: ("learnd_uncertainty", (("family", "sinusoids"), ("shots", "5"))) in service.metrics(),
        timeout_s=60,
        what="to tell how unsure it is of waves",
    )
    metrics = service.metrics()
    assert metrics["learnd_trial_return", (("family", "glyphs"),)] > 0.2
    assert metrics["learnd_meta_updates_total", (("family", "glyphs"),)] > 0


def test_a_version_is_published_that_few_shot_predict_asks(service: Service, task: Path) -> None:
    service.wait_for(
        lambda: published_score(service) > KNOWN, timeout_s=180, what="to publish a version that knows glyphs"
    )
    version = str(service.status()["policy_version"])
    scores = {score["family"]: score for score in service.learnd("policy", "show", version)["scores"]}
    assert "glyphs" in scores
    places = ("--support", str(task / "known"), "--query", str(task / "asked"))
    predictions = service.learnd("few-shot", "predict", "--policy", version, *places)["predictions"]
    right = sum(found["image"].startswith(found["label"]) for found in predictions)
    assert right / len(predictions) > 2 / NUM_CLASSES
    (evaluated,) = service.learnd("policy", "eval", version, "--family", "glyphs", "--trials", "32")["scores"]
    assert evaluated["num_trials"] == 32


def test_kill_minus_9_loses_no_totals_and_a_start_goes_on(service: Service) -> None:
    before = {family["name"]: family for family in service.status()["families"]}
    service.kill()
    service.start()
    after = {family["name"]: family for family in service.status()["families"]}
    for name, family in before.items():
        for total in ("env_steps", "episodes", "trials", "meta_updates"):
            assert after[name][total] >= family[total]
    service.wait_for(
        lambda: service.metric(UPDATES, family="glyphs") > after["glyphs"]["meta_updates"],
        timeout_s=120,
        what="to go on learning",
    )
