"""Tests of ``learnd few-shot``: a policy trained on generated characters classifies other characters."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from PIL import Image
from typer.testing import Result

from agent.learners.embedding.embeddings import EmbeddingConfig
from agent.learners.embedding.prototypical import PrototypicalConfig, PrototypicalLearner
from agent.policies.image_classifier import FewShotPolicy
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs
from envs.few_shot.tasks import FewShotShapes
from memory.folder import DataFolder
from memory.store import Store
from tests.agent.cli.conftest import Learnd
from tests.agent.learners.image_folders import write_images


def small_policy() -> FewShotPolicy:
    shapes = FewShotShapes(input_shape=(1, 20, 20), output_size=5, is_classification=True)
    config = PrototypicalConfig(embedding=EmbeddingConfig(channels=(8, 8)))
    return FewShotPolicy([PrototypicalLearner(shapes, config, generator=torch.Generator().manual_seed(0))])


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.safetensors"
    small_policy().save(path)
    return path


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """Write images of four classes: support as a flat folder and by class, and another drawing of each as query."""
    glyphs = draw_glyphs(GlyphConfig(alphabets=1, characters=4, drawers=3, size=60))
    for number, found in enumerate(glyphs.classes):
        sheets = [Image.fromarray(255 - glyphs.images[found.start + drawing].numpy()) for drawing in range(3)]
        for place in (f"flat/class{number}.png", f"by_class/class{number}/a.png"):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            sheets[0].save(tmp_path / place)
        sheets[2].save(tmp_path / f"by_class/class{number}/b.png")
        (tmp_path / "query").mkdir(exist_ok=True)
        sheets[1].save(tmp_path / f"query/item{number + 8}.png")
    return tmp_path


def ask(learnd: Learnd, policy: Path | str, support: Path, query: Path, *, code: int = 0) -> dict[str, object]:
    words = ("few-shot", "predict", "--policy", str(policy), "--support", str(support), "--query", str(query))
    answer: dict[str, object] = learnd.json(*words, code=code)
    return answer


@pytest.mark.parametrize("layout", ["flat", "by_class"])
def test_it_answers_every_query_with_a_label_and_probabilities(
    learnd: Learnd, policy_file: Path, task: Path, layout: str
) -> None:
    answer = ask(learnd, policy_file, task / layout, task / "query")
    names = ["class0", "class1", "class2", "class3"]
    assert answer["classes"] == names
    predictions = answer["predictions"]
    assert isinstance(predictions, list)
    assert [found["image"] for found in predictions] == ["item8.png", "item9.png", "item10.png", "item11.png"]
    for found in predictions:
        assert list(found["probabilities"]) == names
        assert sum(found["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
        assert found["probability"] == found["probabilities"][found["label"]] == max(found["probabilities"].values())


def test_a_drawing_is_recognised_as_itself(learnd: Learnd, policy_file: Path, task: Path) -> None:
    answer = ask(learnd, policy_file, task / "flat", task / "flat")
    predictions = answer["predictions"]
    assert isinstance(predictions, list)
    assert [found["label"] for found in predictions] == ["class0", "class1", "class2", "class3"]
    single = ask(learnd, policy_file, task / "flat", task / "flat" / "class2.png")["predictions"]
    assert isinstance(single, list)
    assert [found["label"] for found in single] == ["class2"]


def test_people_see_a_table(learnd: Learnd, policy_file: Path, task: Path) -> None:
    words = ("--policy", str(policy_file), "--support", str(task / "flat"), "--query", str(task / "query"))
    shown = learnd("few-shot", "predict", *words).stdout
    assert "item10.png" in shown
    assert "probability" in shown


def test_a_published_version_is_taken_by_its_number(
    learnd: Learnd, filled: DataFolder, policy_file: Path, task: Path
) -> None:
    from safetensors import safe_open

    with safe_open(policy_file, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    with Store.open(filled) as store:
        published = store.initializations.publish(
            tensors, metadata=metadata, scores=(), provenance={"learner": "few-shot"}, reason="test", parent=2
        )
    answer = ask(learnd, f"v{published.version}", task / "flat", task / "query")
    assert answer["predictions"] == ask(learnd, policy_file, task / "flat", task / "query")["predictions"]


def test_what_cannot_be_used_is_refused_with_a_hint(learnd: Learnd, policy_file: Path, task: Path) -> None:
    def refusal(policy: Path | str, support: Path, query: Path) -> str:
        error = ask(learnd, policy, support, query, code=1)["error"]
        assert isinstance(error, dict)
        assert error["hint"]
        return str(error["found"])

    flat, query = task / "flat", task / "query"
    assert "no such file" in refusal("absent.safetensors", flat, query)
    assert "no such version" in refusal("999", flat, query)
    assert "no few-shot policy" in refusal("1", flat, query)
    assert "nothing there" in refusal(policy_file, task / "absent", query)
    (task / "both" / "class9").mkdir(parents=True)
    (task / "one").mkdir()
    for place in ("both/x.png", "both/class9/y.png", "one/a.png"):
        (task / place).write_bytes((flat / "class0.png").read_bytes())
    assert "only the class" in refusal(policy_file, task / "one", query)
    assert "some are not" in refusal(policy_file, task / "both", query)
    (task / "empty").mkdir()
    assert "no image" in refusal(policy_file, flat, task / "empty")
    (task / "query" / "item1.png").write_bytes(b"nonsense")
    assert "no image of a kind" in refusal(policy_file, flat, query)


def test_an_image_that_shows_nothing_is_of_no_class(learnd: Learnd, policy_file: Path, task: Path) -> None:
    Image.new("L", (30, 30), 255).save(task / "query" / "item1.png")
    blank, *others = ask(learnd, policy_file, task / "flat", task / "query")["predictions"]  # type: ignore[misc]
    assert (blank["image"], blank["label"], blank["probability"]) == ("item1.png", None, 0.25)
    assert set(blank["probabilities"].values()) == {0.25}
    assert None not in [found["label"] for found in others]
    words = ("--policy", str(policy_file), "--support", str(task / "flat"), "--query", str(task / "query"))
    assert "item1.png: the image is blank" in learnd("few-shot", "predict", *words).stderr
    Image.new("L", (30, 30), 255).save(task / "flat" / "class7.png")
    error = ask(learnd, policy_file, task / "flat", task / "query", code=1)["error"]
    assert isinstance(error, dict)
    assert error["subject"].endswith("class7.png")


def test_a_gpu_that_is_not_there_is_refused(
    learnd: Learnd, policy_file: Path, task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = ("--policy", str(policy_file), "--support", str(task / "flat"), "--query", str(task / "query"))
    asked = learnd.json("few-shot", "predict", *words, "--device", "cuda", code=1)["error"]
    trained = learnd.json("few-shot", "train", "--data", str(task / "by_class"), "--device", "cuda", code=1)["error"]
    for error in (asked, trained):
        assert (error["operation"], error["subject"]) == ("choosing the device", "cuda")
        assert "no CUDA device" in error["found"]
        assert error["hint"]


def test_a_device_that_is_full_is_told(
    learnd: Learnd, policy_file: Path, task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory. Tried to allocate 2 GiB.\nMore of it")

    monkeypatch.setattr(FewShotPolicy, "look", look)
    error = ask(learnd, policy_file, task / "flat", task / "query", code=1)["error"]
    assert isinstance(error, dict)
    assert (error["operation"], error["found"]) == ("computing on", "out of memory. Tried to allocate 2 GiB.")
    assert "--device cpu" in error["hint"]


def test_no_class_of_the_support_is_left_out(learnd: Learnd, policy_file: Path, task: Path) -> None:
    (task / "by_class" / "class2").rename(task / "class2")
    (task / "by_class" / "class2").symlink_to(task / "class2")
    assert ask(learnd, policy_file, task / "by_class", task / "query")["classes"] == [f"class{k}" for k in range(4)]
    (task / "by_class" / "class9").mkdir()
    (task / "by_class" / "class9" / "notes.txt").write_text("to be scanned")
    error = ask(learnd, policy_file, task / "by_class", task / "query", code=1)["error"]
    assert isinstance(error, dict)
    assert (Path(error["subject"]).name, error["found"]) == ("class9", "there is no image.")
    shutil.rmtree(task / "by_class" / "class9")
    (task / "by_class" / "itself").symlink_to(task / "by_class")
    assert ask(learnd, policy_file, task / "by_class", task / "query")["classes"] == [f"class{k}" for k in range(4)]
    (task / "by_class" / "class1").rename(task / "class1")
    (task / "by_class" / "deeper" / "class8").mkdir(parents=True)
    (task / "class1").rename(task / "by_class" / "deeper" / "class1")
    error = ask(learnd, policy_file, task / "by_class", task / "query", code=1)["error"]
    assert isinstance(error, dict)
    assert Path(error["subject"]).name == "class8"


def test_it_trains_a_policy_that_can_be_asked(
    learnd: Learnd, task: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Result]
) -> None:
    write_images(draw_glyphs(GlyphConfig(alphabets=2, characters=20, drawers=6, size=60)), task / "alphabets")
    monkeypatch.setenv("LEARND_OMNIGLOT", str(task / "alphabets"))
    output = task / "made.safetensors"
    words = ("few-shot", "train", "--members", "1", "--processes", "1", "--updates", "2", "--output", str(output))
    answer = learnd.json(*words, "--device", "cpu")
    assert (answer["updates"], answer["device"]) == ([2], "cpu")
    assert answer["groups"] == {"alphabet00": 20, "alphabet01": 20}
    assert output.stat().st_size == answer["size_bytes"]
    ask(learnd, output, task / "flat", task / "query")

    def refusal(*more: str) -> str:
        error = learnd.json(*words, *more, code=1)["error"]
        assert error["hint"]
        return f"{error['subject']}: {error['found']}"

    assert "its folder does not exist" in refusal("--output", str(task / "absent" / "policy"))
    assert "its folder cannot be written to" in refusal("--output", "/proc/policy")
    assert "there are 0 classes" in refusal("--hold-out", "alphabet00", "--hold-out", "alphabet01")
    for image in sorted((task / "alphabets" / "alphabet01" / "character03").iterdir())[1:]:
        image.unlink()
    assert refusal().startswith("alphabet01/character03: the class has 1 images, and a task takes 1")
    monkeypatch.setenv("LEARND_OMNIGLOT", str(task / "absent"))
    result = call("few-shot", "train")
    assert result.exit_code == 1
    assert "LEARND_OMNIGLOT" in result.stderr


def test_without_images_it_says_where_to_get_them_and_how_to_name_them(
    learnd: Learnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LEARND_OMNIGLOT", raising=False)
    error = learnd.json("few-shot", "train", code=1)["error"]
    assert error["found"] == "neither --data nor $LEARND_OMNIGLOT is given."
    assert "github.com/brendenlake/omniglot" in error["hint"]
    assert "--data or $LEARND_OMNIGLOT" in error["hint"]


@pytest.mark.timeout(300)
def test_asked_to_end_it_leaves_no_process_and_no_folder(task: Path, tmp_path: Path) -> None:
    write_images(draw_glyphs(GlyphConfig(alphabets=2, characters=20, drawers=6, size=60)), task / "alphabets")
    (tmp_path / "temporary").mkdir()
    words = (
        "few-shot",
        "train",
        "--data",
        str(task / "alphabets"),
        "--processes",
        "2",
        "--output",
        str(tmp_path / "p"),
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    with subprocess.Popen([sys.executable, "-m", "agent.cli", *words], env=environment) as begun:
        members: list[psutil.Process] = []
        while len(members) < 2 and begun.poll() is None:
            members = psutil.Process(begun.pid).children()
            time.sleep(0.1)
        begun.terminate()
        assert begun.wait() == 128 + signal.SIGTERM
    gone, alive = psutil.wait_procs(members, timeout=60)
    assert (len(gone), alive) == (2, [])
    assert not list((tmp_path / "temporary").iterdir())


def write_run(folder: Path, drawings: list[Image.Image], *, swap: bool = False) -> None:
    """Write a run in the layout of Omniglot's: each image is also its class's test image, unless two are swapped."""
    lines = []
    tests = [1, 0, *range(2, len(drawings))] if swap else list(range(len(drawings)))
    for number, drawing in enumerate(drawings, start=1):
        for place in ("training/class", "test/item"):
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            drawing.save(folder / f"{place}{number:02}.png")
        lines.append(
            f"{folder.name}/test/item{number:02}.png {folder.name}/training/class{tests[number - 1] + 1:02}.png"
        )
    (folder / "class_labels.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def runs(task: Path) -> Path:
    drawings = [Image.open(file) for file in sorted((task / "flat").glob("*.png"))]
    write_run(task / "all_runs" / "run01", drawings)
    write_run(task / "all_runs" / "run02", drawings, swap=True)
    return task / "all_runs"


def test_the_errors_of_every_run_are_counted(learnd: Learnd, policy_file: Path, runs: Path) -> None:
    answer = learnd.json("few-shot", "score", "--policy", str(policy_file), str(runs))
    assert [(run["run"], run["ways"], run["queries"], run["errors"]) for run in answer["runs"]] == [
        ("run01", 4, 4, 0),
        ("run02", 4, 4, 2),
    ]
    assert answer["runs"][1]["wrong"] == [
        {"image": "item01.png", "class": "class02", "predicted": "class01"},
        {"image": "item02.png", "class": "class01", "predicted": "class02"},
    ]
    assert (answer["queries"], answer["errors"], answer["error_rate"]) == (8, 2, 0.25)
    assert answer["standard_error"] == pytest.approx((0.25 * 0.75 / 8) ** 0.5)
    shown = learnd("few-shot", "score", "--policy", str(policy_file), str(runs)).stdout
    assert "2 errors in 8 images: 25.00% ± 15.31" in shown


def test_one_run_is_scored_alone(learnd: Learnd, policy_file: Path, runs: Path) -> None:
    answer = learnd.json("few-shot", "score", "--policy", str(policy_file), str(runs / "run02"))
    assert [(run["run"], run["errors"]) for run in answer["runs"]] == [("run02", 2)]


def write_labels(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "run01" / "class_labels.txt").write_text(text) and None


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda folder: shutil.rmtree(folder / "run01" / "test"), "line 1 names run01/test/item01.png"),
        (write_labels("run01/test/item01.png"), "line 1 has 1 words"),
        (write_labels(""), "it names 0 training images"),
        (lambda folder: (folder / "run01" / "class_labels.txt").write_bytes(b"\xff"), "it cannot be read"),
        (lambda folder: [file.unlink() for file in folder.rglob("class_labels.txt")], "no class_labels.txt below it"),
        (shutil.rmtree, "it is not a folder"),
    ],
)
def test_damaged_runs_are_refused_with_the_place(
    learnd: Learnd, policy_file: Path, runs: Path, damage: Callable[[Path], object], found: str
) -> None:
    damage(runs)
    answer = learnd.json("few-shot", "score", "--policy", str(policy_file), str(runs), code=1)
    assert found in answer["error"]["found"]
