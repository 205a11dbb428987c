"""Tests of the commands that add, show and use few-shot families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from agent.cli.few_shot_options import shapes_text
from agent.learners.embedding.embeddings import EmbeddingConfig
from agent.learners.embedding.prototypical import PrototypicalConfig, PrototypicalLearner
from agent.learners.family_parts import as_part
from agent.policies.version_header import KnownFewShotFamily, VersionHeader, header_to_metadata
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs
from envs.few_shot.tasks import FewShotShapes
from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.learners.image_folders import write_images

SMALL = ("--kwarg", "alphabets=4", "--kwarg", "characters=6", "--kwarg", "drawers=3", "--kwarg", "size=16")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_images(draw_glyphs(GlyphConfig(alphabets=1, characters=8, drawers=3, size=30)), tmp_path / "letters")
    return tmp_path / "letters"


def test_a_folder_of_images_is_fed_with_its_ways_shots_and_learner(empty: Learnd, images: Path) -> None:
    words = ("--few-shot", "3x2", "--queries", "1", "--learner", "matching", "--kwarg", "size=16")
    answer = empty.json("env", "add", str(images), *words)
    family, spec = answer["family"], answer["family"]["spec"]
    assert (family["name"], family["state"]) == ("letters", "active")
    assert (spec["source"], spec["entry"], spec["learner"]) == ("few_shot", str(images), "matching")
    assert spec["kwargs"] == {"size": 16, "ways": 3, "shots": 2, "queries": 1}
    assert family["spaces"] == {"input_shape": [1, 16, 16], "output_size": 3, "is_classification": True}
    assert answer["admission"]["random_return"] == pytest.approx(1 / 3)
    assert family["reference_return"] == 1.0


def test_built_in_families_take_the_learner_that_the_settings_name(
    empty: Learnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert empty.json("env", "add", "sinusoids", "--shots", "5")["family"]["spec"]["learner"] == "maml"
    monkeypatch.setenv("LEARND_FEW_SHOT__LEARNER", "versa")
    glyphs = empty.json("env", "add", "glyphs", "--few-shot", "3x1", *SMALL)["family"]
    assert glyphs["spec"]["learner"] == "versa"
    assert glyphs["spec"]["kwargs"]["ways"] == 3


def test_what_was_fed_is_shown_in_its_own_words(empty: Learnd) -> None:
    page = empty("env", "add", "glyphs", "--few-shot", "3x1", *SMALL).stdout
    assert "1×16×16 → 3 classes" in page
    assert "practised by protonet" in page
    with Store.open(DataFolder(empty.folder)) as store:
        points = [CurvePoint(metric=CurveMetric.EPISODE_RETURN, label=str(k), value=v) for k, v in ((0, 0.3), (1, 0.8))]
        store.curves.commit_evaluation("glyphs", points)
    assert "held-out return after 0, 1 shots" in empty("env", "show", "glyphs").stdout
    shown = empty.json("env", "show", "glyphs")
    assert (shown["shots"], shown["episode_returns"]) == ([0, 1], [0.3, 0.8])


def test_shapes_are_told_shortly() -> None:
    regression = FewShotShapes(input_shape=(1,), output_size=1, is_classification=False)
    assert shapes_text(regression.to_json()) == "1 number → 1 number"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("glyphs", "--few-shot", "5"), "WAYSxSHOTS"),
        (("glyphs", "--learner", "protnet"), "no few-shot learner"),
        (("sinusoids", "--learner", "protonet"), "does not learn regression"),
        (("sinusoids", "--few-shot", "5x1"), "no ways"),
        (("glyphs", "--vary", "a=1:2"), "not environments"),
        (("glyphs", "--kwarg", "colour=red"), "it has no colour"),
        (("CartPole-v1", "--shots", "5"), "RL² practises"),
        (("CartPole-v1", "--learner", "maml"), "RL² practises"),
        (("./absent", "--few-shot", "5x1"), "nothing there"),
    ],
)
def test_what_does_not_go_together_is_refused(empty: Learnd, words: tuple[str, ...], found: str) -> None:
    assert found in str(empty.json("env", "add", *words, code=1)["error"])
    assert not empty.folder.exists()


def _publish(folder: DataFolder, *families: str) -> int:
    """Publish a version of the given families of images and of one family of sinusoids."""
    shapes = FewShotShapes(input_shape=(1, 20, 20), output_size=3, is_classification=True)
    config = PrototypicalConfig(embedding=EmbeddingConfig(channels=(8, 8)))
    tensors: dict[str, Any] = {}
    waves = {
        "learner": "maml",
        "num_updates": 3,
        "shapes": FewShotShapes(input_shape=(1,), output_size=1, is_classification=False).to_json(),
    }
    described: dict[str, Any] = {
        "waves": {"name": "waves@9", "meta": waves, "entry": "sinusoids", "kwargs": {}, "origin": "fast"}
    }
    for number, family in enumerate(families):
        learner = PrototypicalLearner(shapes, config, generator=torch.Generator().manual_seed(number))
        tensors |= {k: v.numpy() for k, v in as_part(learner.initialization(), f"{family}@{number}").items()}
        described[family] = {
            "name": f"{family}@{number}",
            "meta": learner.to_meta(),
            "entry": "glyphs",
            "kwargs": {},
            "origin": "fast",
            "ink_extent": 0.6,
            "orientations": 4,
        }

    with Store.open(folder) as store:
        known = {name: KnownFewShotFamily.of_chosen(values) for name, values in described.items()}
        metadata = header_to_metadata(VersionHeader(learner="rl2", few_shot_families=known), tensors)
        provenance = {"learner": "rl2", "few_shot": described}
        version = store.initializations.publish(
            tensors, metadata=metadata, scores=(), provenance=provenance, reason="test", parent=2
        ).version
    assert version is not None
    return version


def ask(learnd: Learnd, policy: str, images: Path, *words: str, code: int = 0) -> dict[str, Any]:
    support, query = images.parent / "known", images.parent / "asked"
    for place, number in ((support, 0), (query, 1)):
        place.mkdir(exist_ok=True)
        for folder in sorted((images / "alphabet00").iterdir())[:4]:
            (place / f"{folder.name}.png").write_bytes((folder / f"{number:02d}.png").read_bytes())
    answer: dict[str, Any] = learnd.json(
        *("few-shot", "predict", "--policy", policy, "--support", str(support), "--query", str(query)),
        *words,
        code=code,
    )
    return answer


def test_a_published_version_answers_with_its_family_of_images(
    learnd: Learnd, filled: DataFolder, images: Path, tmp_path: Path
) -> None:
    version = _publish(filled, "glyphs")
    assert "few-shot glyphs: prototypical, 3 ways, 0 updates, current weights" in learnd("policy", "show").stdout
    by_number = ask(learnd, str(version), images)
    assert len(by_number["predictions"]) == 4
    assert set(by_number["predictions"][0]["probabilities"]) == {f"character{n:02d}" for n in range(4)}
    learnd("policy", "export", str(version), str(tmp_path / "version.safetensors"))
    by_file = ask(learnd, str(tmp_path / "version.safetensors"), images, "--family", "glyphs")
    assert by_file["predictions"] == by_number["predictions"]


def test_of_several_families_one_has_to_be_named(learnd: Learnd, filled: DataFolder, images: Path) -> None:
    version = str(_publish(filled, "glyphs", "letters"))
    assert "Name one with --family" in ask(learnd, version, images, code=1)["error"]["hint"]
    ours, theirs = (ask(learnd, version, images, "--family", name) for name in ("glyphs", "letters"))
    assert ours["predictions"] != theirs["predictions"]
    assert (
        "no family of images named 'waves'"
        in ask(learnd, version, images, "--family", "waves", code=1)["error"]["found"]
    )


def test_a_version_without_images_says_so(learnd: Learnd, filled: DataFolder, images: Path) -> None:
    assert "no family of images" in ask(learnd, str(_publish(filled)), images, code=1)["error"]["found"]
    assert "no few-shot policy" in ask(learnd, "1", images, code=1)["error"]["found"]


def test_the_answer_for_regressions_says_what_a_return_is(empty: Learnd) -> None:
    page = empty("env", "add", "sinusoids", "--shots", "5").stdout
    assert "inputs and targets: 1 number → 1 number" in page
    assert "return of a task with the best constant answer, as minus the mean squared error: -4" in page
    assert "return that scores 1: 0 (no error but the noise of the targets)" in page
