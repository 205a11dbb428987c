"""Declared few-shot families are opened, or refused with what would be right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from envs.declaration import few_shot_from_declaration
from envs.declared_values import parse_few_shot
from envs.errors import EnvsError, FamilySpecError, ImageReadError
from envs.family import FamilySource, FamilySpec, Split
from envs.few_shot.images.common_form import read_image
from envs.few_shot.images.folder import ImageFamily
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs
from envs.few_shot.opening import split_classes
from envs.few_shot.options import ImageOptions, SinusoidOptions, options_of
from envs.few_shot.sinusoids import ForkedSinusoids, Sinusoids
from envs.registry import open_few_shot
from tests.agent.learners.image_folders import write_images

SMALL_GLYPHS = {"ways": 3, "alphabets": 4, "characters": 6, "drawers": 4, "size": 16}


def declared(entry: str, **kwargs: Any) -> FamilySpec:
    return few_shot_from_declaration(entry, learner="prototypical", kwargs=kwargs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two alphabets of eight characters, three drawings each."""
    write_images(draw_glyphs(GlyphConfig(alphabets=2, characters=8, drawers=3, size=30)), tmp_path / "images")
    return tmp_path / "images"


def test_ways_and_shots_are_read() -> None:
    assert parse_few_shot("5x1") == (5, 1)
    assert parse_few_shot(" 20X5 ") == (20, 5)
    with pytest.raises(FamilySpecError, match="WAYSxSHOTS"):
        parse_few_shot("5-1")


def test_a_declaration_survives_the_store() -> None:
    spec = declared("sinusoids", shots=5, frequency=[0.8, 1.2])
    assert spec.source is FamilySource.FEW_SHOT
    assert FamilySpec.from_json(spec.to_json()) == spec
    assert options_of(spec) == SinusoidOptions(shots=5, frequency=(0.8, 1.2))


def test_images_smaller_than_learners_can_halve_are_refused() -> None:
    with pytest.raises(FamilySpecError, match="size is from 16"):
        declared("glyphs", size=15)


def test_what_does_not_fit_in_memory_is_refused_before_it_is_drawn() -> None:
    with pytest.raises(FamilySpecError, match="16,000,000 drawings, and 171,196 of this size"):
        open_few_shot(declared("glyphs", alphabets=50_000))
    for entry, kwargs in (("glyphs", {"queries": 100_000}), ("sinusoids", {"shots": 10**9})):
        with pytest.raises(FamilySpecError, match="8,388,608 at most"):
            declared(entry, **kwargs)


def test_drawing_tells_how_far_it_is() -> None:
    told: list[int] = []
    open_few_shot(declared("glyphs", **SMALL_GLYPHS), report=told.append)
    assert told == list(range(4, 97, 4))


def test_names_are_made_from_places(tmp_path: Path) -> None:
    assert declared("sinusoids-ambiguous").name == "sinusoids-ambiguous"
    assert declared(str(tmp_path / "My Images")).name == "my-images"
    assert declared("./letters.zip").name == "letters"
    assert Path(declared("./letters.zip").entry).is_absolute()


@pytest.mark.parametrize(
    ("entry", "kwargs", "found"),
    [
        ("glyphs", {"way": 5}, "it has no way"),
        ("glyphs", {"ways": 1}, "ways is 1"),
        ("glyphs", {"ways": 2.5}, "whole number"),
        ("glyphs", {"ways": True}, "is a number"),
        ("glyphs", {"within_group": 1.5}, "from 0 to 1"),
        ("glyphs", {"is_warped": 1}, "true or false"),
        ("glyphs", {"hold_out": 3}, "hold_out is a list"),
        ("sinusoids", {"ways": 5}, "it has no ways"),
        ("sinusoids", {"frequency": [1.2, 0.8]}, "lower"),
        ("sinusoids", {"frequency": 1.0}, "is a range"),
        ("sinusoids-ambiguous", {"phase": [0, 1]}, "it has no phase"),
        ("./images", {"alphabets": 3}, "it has no alphabets"),
    ],
)
def test_what_has_no_meaning_is_refused(entry: str, kwargs: dict[str, Any], found: str) -> None:
    with pytest.raises(FamilySpecError, match=found):
        declared(entry, **kwargs)


def test_declarations_are_read_without_torch() -> None:
    code = "import envs.declaration, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_built_in_families_are_opened() -> None:
    assert isinstance(open_few_shot(declared("sinusoids", shots=5)), Sinusoids)
    varied = open_few_shot(declared("sinusoids-meta-sgd"))
    assert isinstance(varied, Sinusoids)
    assert (varied.shots, varied.frequency) == (5, (0.8, 1.2))
    assert isinstance(open_few_shot(declared("sinusoids-ambiguous", shots=7)), ForkedSinusoids)
    glyphs = open_few_shot(declared("glyphs", **SMALL_GLYPHS))
    assert (glyphs.ways, glyphs.shots, glyphs.input_shape) == (3, 1, (1, 16, 16))


def test_a_family_opened_again_draws_the_same_tasks(folder: Path) -> None:
    for entry, kwargs in ((str(folder), {"ways": 3, "size": 16}), ("glyphs", SMALL_GLYPHS)):
        first, second = (open_few_shot(declared(entry, **kwargs)) for _ in range(2))
        for split in Split:
            one, other = (family.sample(4, split=split, first_task=7) for family in (first, second))
            assert torch.equal(one.support_x, other.support_x)
            assert torch.equal(one.query_y, other.query_y)


def test_whole_alphabets_are_held_out_where_there_are_enough() -> None:
    classes = draw_glyphs(GlyphConfig(alphabets=40, characters=3, drawers=2, size=12))
    training, held_out = split_classes(classes, ImageOptions(ways=5), subject="x")
    assert 4 <= len(held_out.groups) <= 18
    assert len(training.groups) + len(held_out.groups) == 40
    assert not set(training.groups) & set(held_out.groups)
    others = split_classes(classes, ImageOptions(ways=5, seed=1), subject="x")[1]
    assert others.groups != held_out.groups


def test_single_classes_are_held_out_where_there_are_few_alphabets() -> None:
    classes = draw_glyphs(GlyphConfig(alphabets=2, characters=8, drawers=2, size=12))
    training, held_out = split_classes(classes, ImageOptions(ways=3), subject="x")
    assert len(training.classes) + len(held_out.classes) == 16
    assert 3 <= len(held_out.classes) <= 9
    assert not set(training.classes) & set(held_out.classes)
    named = split_classes(classes, ImageOptions(ways=3, hold_out=("alphabet01",)), subject="x")[1]
    assert named.groups == ("alphabet01",)


@pytest.mark.parametrize("alphabets", [3, 12])
def test_what_is_added_changes_the_side_of_nothing(alphabets: int) -> None:
    """Held-out classes that were trained on would tell of no learning to learn."""
    config = GlyphConfig(alphabets=2 * alphabets if alphabets > 3 else alphabets, characters=14, drawers=2, size=12)
    later = draw_glyphs(config)
    earlier = later.only(lambda found: found.group < f"alphabet{alphabets:02}" and found.name < "character10")
    before, after = (split_classes(classes, ImageOptions(ways=5), subject="x") for classes in (earlier, later))
    assert len(earlier.classes) < len(later.classes)
    for side, side_later in zip(before, after, strict=True):
        assert {found.path for found in side.classes} <= {found.path for found in side_later.classes}


@pytest.mark.parametrize(
    ("kwargs", "found"),
    [
        ({"ways": 17}, "16 classes, and a task has 17 ways"),
        ({"ways": 15}, "15 held out do not suffice"),
        ({"ways": 3, "shots": 3}, "has 3 images, and a task takes 3"),
        ({"ways": 3, "hold_out": ["Latin"]}, "no group of that name"),
    ],
)
def test_images_that_do_not_suffice_are_refused(folder: Path, kwargs: dict[str, Any], found: str) -> None:
    with pytest.raises(EnvsError, match=found):
        open_few_shot(declared(str(folder), orientations=4, size=16, **kwargs))


def test_a_folder_that_cannot_be_read_is_refused(folder: Path) -> None:
    with pytest.raises(ImageReadError, match="nothing there"):
        open_few_shot(declared(str(folder / "absent")))
    broken = next(folder.rglob("*.png"))
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(ImageReadError, match=broken.name):
        open_few_shot(declared(str(folder), ways=3))


def test_more_images_than_fit_in_memory_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.few_shot.opening.MAX_IMAGE_BYTES", 40 * 48**2)
    with pytest.raises(ImageReadError, match="48 images, and 40"):
        open_few_shot(declared(str(folder), ways=3, size=16))


def test_long_and_huge_images_do_not_fill_memory(tmp_path: Path) -> None:
    Image.new("1", (40_000, 3)).save(tmp_path / "long.png")
    assert read_image(tmp_path / "long.png", size=10).shape == (10, 10)
    Image.new("1", (8_000, 8_000)).save(tmp_path / "huge.png")
    with pytest.raises(ImageReadError, match="8000 × 8000 pixels"):
        read_image(tmp_path / "huge.png")


def test_reading_is_reported(folder: Path) -> None:
    told: list[int] = []
    family = open_few_shot(declared(str(folder), ways=3, size=16), report=told.append)
    assert told == list(range(1, 49))
    assert isinstance(family, ImageFamily)


def test_only_few_shot_families_are_opened_so() -> None:
    spec = FamilySpec(name="cartpole", source=FamilySource.GYMNASIUM, entry="CartPole-v1")
    with pytest.raises(FamilySpecError, match="source gymnasium"):
        open_few_shot(spec)
