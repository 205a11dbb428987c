from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from envs.errors import FamilySpecError, ImageReadError
from envs.family import Split
from envs.few_shot.images.classes import ImageClasses, read_image_folder
from envs.few_shot.images.common_form import ink_extents, read_image
from envs.few_shot.images.folder import ImageFamily, ImageTaskConfig
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs
from envs.few_shot.images.image_files import natural_order
from tests.agent.learners.image_folders import glyph_family

SMALL = GlyphConfig(alphabets=4, characters=8, drawers=6, size=42)


def glyphs(config: GlyphConfig = SMALL) -> ImageClasses:
    return draw_glyphs(config)


def stroke(*, ink: int, paper: int, offset: int = 0, size: int = 60) -> Image.Image:
    image = Image.new("L", (size, size), paper)
    ImageDraw.Draw(image).rectangle((10 + offset, 20 + offset, 19 + offset, 39 + offset), fill=ink)
    return image


def write_class_folder(root: Path, alphabets: dict[str, int], *, per_class: int = 3) -> None:
    for alphabet, count in alphabets.items():
        for character in range(count):
            folder = root / alphabet / f"character{character}"
            folder.mkdir(parents=True)
            for drawing in range(per_class):
                stroke(ink=0, paper=255, offset=drawing + 2 * character).save(folder / f"{drawing}.png")


def saved(image: Image.Image, path: Path) -> Path:
    image.save(path)
    return path


def test_ink_is_bright_whichever_way_round_it_was_drawn(tmp_path: Path) -> None:
    dark = read_image(saved(stroke(ink=0, paper=255), tmp_path / "dark.png"), size=60)
    light = read_image(saved(stroke(ink=255, paper=0), tmp_path / "light.png"), size=60)
    assert dark.max() == 255
    assert dark[0, 0] == 0
    np.testing.assert_array_equal(dark, light)


def test_where_on_the_sheet_it_was_drawn_does_not_matter(tmp_path: Path) -> None:
    left = read_image(saved(stroke(ink=0, paper=255), tmp_path / "left.png"), size=60)
    right = read_image(saved(stroke(ink=0, paper=255, offset=15), tmp_path / "right.png"), size=60)
    np.testing.assert_array_equal(left, right)
    rows, columns = np.nonzero(left > 127)
    assert (rows.min() + rows.max(), columns.min() + columns.max()) == (59, 59)


def test_ink_comes_half_way_to_the_common_size_and_never_leaves_the_sheet(tmp_path: Path) -> None:
    def extent(ink_side: int) -> float:
        image = Image.new("L", (200, 200), 255)
        ImageDraw.Draw(image).rectangle((1, 1, ink_side, ink_side), fill=0)
        found = read_image(saved(image, tmp_path / "square.png"), size=200)
        return float(ink_extents(torch.from_numpy(found.copy())[None])[0])

    assert extent(132) == pytest.approx(0.75, abs=0.011)
    assert extent(66) == pytest.approx(0.75 / 2**0.5, abs=0.011)
    assert extent(198) == pytest.approx(0.75 * 1.5**0.5, abs=0.011)
    oblong = Image.new("L", (200, 40), 255)
    ImageDraw.Draw(oblong).rectangle((1, 1, 198, 38), fill=0)
    assert read_image(saved(oblong, tmp_path / "oblong.png"), size=100)[:, (0, -1)].max() == 0


def test_transparent_colour_and_oblong_images_are_read(tmp_path: Path) -> None:
    image = Image.new("RGBA", (80, 40), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((30, 10, 50, 30), fill=(200, 0, 0, 255))
    found = read_image(saved(image, tmp_path / "red.png"), size=40)
    assert found.shape == (40, 40)
    assert found[20, 20] == 255
    assert found[0, 0] == 0


def test_a_white_drawing_on_nothing_is_seen(tmp_path: Path) -> None:
    image = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
    ImageDraw.Draw(image).ellipse((10, 10, 30, 30), fill=(255, 255, 255, 255))
    found = read_image(saved(image, tmp_path / "white.png"), size=40)
    assert (found[20, 20], found[0, 0]) == (255, 0)


@pytest.mark.parametrize(
    ("name", "kind", "low", "high"),
    [
        ("16bit.png", np.uint16, 15_000, 60_000),
        ("16bit.tiff", np.uint16, 15_000, 60_000),
        ("32bit.tiff", np.int32, -40_000, 90_000),
        ("share.tiff", np.float32, 0.2, 0.9),
        ("signed.tiff", np.float32, -1.0, 1.0),
    ],
)
def test_pixels_of_any_depth_are_read_as_those_of_eight_bits(
    tmp_path: Path, name: str, kind: type, low: float, high: float
) -> None:
    shades = np.asarray(stroke(ink=0, paper=255), dtype=np.float64)
    shades[25:30, 12:16] = 128.0
    plain = read_image(saved(Image.fromarray(shades.astype(np.uint8)), tmp_path / "8bit.png"), size=60)
    deep = Image.fromarray((low + shades / 255.0 * (high - low)).astype(kind))
    found = read_image(saved(deep, tmp_path / name), size=60)
    np.testing.assert_allclose(found.astype(int), plain.astype(int), atol=2)
    assert set(np.unique(plain // 100)) == {0, 1, 2}


def test_a_pixel_that_is_no_number_is_taken_for_the_background(tmp_path: Path) -> None:
    shades = np.asarray(stroke(ink=0, paper=1), dtype=np.float32)
    plain = read_image(saved(Image.fromarray(shades), tmp_path / "whole.tiff"), size=60)
    shades = np.array(shades)
    shades[0, 0] = np.nan
    np.testing.assert_array_equal(read_image(saved(Image.fromarray(shades), tmp_path / "hole.tiff"), size=60), plain)
    with pytest.raises(ImageReadError, match="none of its pixels is a number"):
        read_image(saved(Image.fromarray(np.full((4, 4), np.nan, dtype=np.float32)), tmp_path / "nothing.tiff"))


def test_an_empty_sheet_is_no_error(tmp_path: Path) -> None:
    assert read_image(saved(Image.new("L", (30, 30), 255), tmp_path / "empty.png"), size=20).max() == 0


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nonsense")
    with pytest.raises(ImageReadError, match=r"broken\.png"):
        read_image(tmp_path / "broken.png")


def test_alphabets_become_groups_and_zip_files_read_the_same(tmp_path: Path) -> None:
    write_class_folder(tmp_path / "set", {"Greek": 2, "Latin": 3})
    folder = read_image_folder(tmp_path / "set", size=30)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in sorted((tmp_path / "set").rglob("*.png")):
            archive.write(file, file.relative_to(tmp_path))
    zipped = read_image_folder(tmp_path / "set.zip", size=30)
    assert folder.groups == ("Greek", "Latin")
    assert len(folder.classes) == 5
    assert zipped.classes == folder.classes
    assert torch.equal(zipped.images, folder.images)


def test_linked_folders_are_read_and_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    write_class_folder(tmp_path / "kept", {"Greek": 2, "Latin": 3})
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "Greek").symlink_to(tmp_path / "kept" / "Greek")
    (tmp_path / "set" / "Latin").symlink_to(tmp_path / "kept" / "Latin")
    (tmp_path / "kept" / "Greek" / "circle").symlink_to(tmp_path / "kept" / "Greek")
    assert len(read_image_folder(tmp_path / "set", size=30).classes) == 5
    (tmp_path / "kept" / "Latin" / "character0" / "9.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ImageReadError, match=r"9\.png"):
        read_image_folder(tmp_path / "set", size=30)


def test_a_name_that_cannot_be_told_is_refused_before_anything_is_learned(tmp_path: Path) -> None:
    write_class_folder(tmp_path / "set", {"Greek": 2})
    odd = os.fsdecode(b"gr\xf6ss")
    (tmp_path / "set" / f"{odd}.txt").write_text("of no concern")
    assert len(read_image_folder(tmp_path / "set", size=30).classes) == 2
    (tmp_path / "set" / "Greek").rename(tmp_path / "set" / odd)
    with pytest.raises(ImageReadError, match="its name is not UTF-8"):
        read_image_folder(tmp_path / "set", size=30)


def test_names_are_ordered_as_people_do_whatever_they_are_made_of() -> None:
    assert sorted(["x10", "x²", "x2", "²", "٣"], key=natural_order) == ["٣", "x2", "x10", "x²", "²"]


def test_a_class_in_two_sets_is_one_class(tmp_path: Path) -> None:
    write_class_folder(tmp_path / "one", {"Greek": 2})
    write_class_folder(tmp_path / "two", {"Greek": 3})
    both = read_image_folder(tmp_path / "one", tmp_path / "two", size=30)
    assert [(found.group, found.count) for found in both.classes] == [("Greek", 3)] * 3


def test_a_missing_folder_and_one_without_images_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="nothing there"):
        read_image_folder(tmp_path / "absent")
    (tmp_path / "flat.png").write_bytes(b"")
    with pytest.raises(ImageReadError, match="CLASS/IMAGE"):
        read_image_folder(tmp_path)


def test_held_out_groups_share_no_class_with_the_rest() -> None:
    classes = glyphs()
    training, held_out = classes.hold_out_groups(["alphabet01"])
    assert len(training.classes) + len(held_out.classes) == len(classes.classes)
    assert held_out.groups == ("alphabet01",)
    with pytest.raises(ImageReadError, match="alphabet00"):
        classes.hold_out_groups(["alphabet99"])


def test_a_task_is_the_same_in_batches_of_every_size() -> None:
    family = glyph_family(ImageTaskConfig(size=20, within_group=0.5), SMALL)
    together = family.sample(4, split=Split.TRAINING, first_task=10)
    alone = family.sample(1, split=Split.TRAINING, first_task=12)
    assert torch.equal(together.support_x[2:3], alone.support_x)
    assert torch.equal(together.query_x[2:3], alone.query_x)
    other = family.sample(1, split=Split.TRAINING, first_task=13)
    assert not torch.equal(other.support_x, alone.support_x)


def test_shapes_are_those_the_family_tells() -> None:
    family = glyph_family(ImageTaskConfig(ways=6, shots=2, queries=3, size=21), SMALL)
    batch = family.sample(3, split=Split.HELD_OUT, first_task=0)
    assert batch.support_x.shape == (3, 12, *family.input_shape)
    assert batch.query_x.shape == (3, 18, 1, 21, 21)
    assert batch.support_y[0].bincount().tolist() == [2] * 6
    assert batch.query_y[0].bincount().tolist() == [3] * 6
    assert float(batch.support_x.min()) >= 0.0
    assert float(batch.support_x.max()) <= 1.0


def test_a_task_within_a_group_takes_its_classes_from_one_group() -> None:
    classes = glyphs()
    marked = torch.zeros_like(classes.images)
    for number, found in enumerate(classes.classes):
        marked[found.start : found.start + found.count] = 10 + 7 * number
    family = ImageFamily(
        ImageTaskConfig(ways=5, size=42, within_group=1.0, orientations=1, warp=None, queries=1),
        training=ImageClasses(images=marked, classes=classes.classes),
    )
    batch = family.sample(20, split=Split.TRAINING, first_task=0)
    numbers = ((batch.support_x[:, :, 0, 20, 20] * 255 - 10) / 7).round().long()
    assert all(len({classes.classes[n].group for n in task.tolist()}) == 1 for task in numbers)
    assert all(len(set(task.tolist())) == 5 for task in numbers)
    assert torch.equal(batch.support_x[:, :, 0, 20, 20], batch.query_x[:, :, 0, 20, 20])


def test_a_small_alphabet_lends_its_turned_characters() -> None:
    classes = glyphs(GlyphConfig(alphabets=1, characters=3, drawers=4, size=21))
    config = ImageTaskConfig(ways=7, size=21, within_group=1.0, orientations=4)
    batch = ImageFamily(config, training=classes).sample(2, split=Split.TRAINING, first_task=0)
    assert batch.support_x.shape[1] == 7


@pytest.mark.parametrize("aligned", [0.0, 1.0])
def test_a_query_is_never_an_image_of_the_support_set_however_few_there_are(*, aligned: float) -> None:
    config = ImageTaskConfig(ways=3, shots=4, queries=5, size=42, orientations=1, warp=None, aligned=aligned)
    family = ImageFamily(config, training=glyphs(), held_out=glyphs())
    for split in Split:
        batch = family.sample(20, split=split, first_task=0)
        apart = torch.cdist(batch.query_x.flatten(2), batch.support_x.flatten(2))
        assert batch.query_y.shape == (20, 15)
        assert bool((apart > 0).all())


def test_too_few_classes_or_images_are_refused() -> None:
    classes = glyphs(GlyphConfig(alphabets=1, characters=3, drawers=2, size=20))
    with pytest.raises(FamilySpecError, match="fewer ways"):
        ImageFamily(ImageTaskConfig(ways=4, orientations=1), training=classes)
    lonely = glyphs(GlyphConfig(alphabets=1, characters=5, drawers=1, size=20))
    with pytest.raises(FamilySpecError, match="at least 2"):
        ImageFamily(ImageTaskConfig(ways=4), training=lonely)
    with pytest.raises(FamilySpecError, match="at least 3: 2 to learn from"):
        ImageFamily(ImageTaskConfig(ways=3, shots=2), training=classes)
    with pytest.raises(FamilySpecError, match="held-out"):
        ImageFamily(ImageTaskConfig(ways=3), training=classes).sample(1, split=Split.HELD_OUT, first_task=0)


def write_archive(path: Path, form: str, *, extra: tuple[str, ...] = (), folders: bool = False) -> Path:
    """Write a zip file of three classes of two images, its member names in the form given."""
    root = path.with_suffix("")
    write_class_folder(root, {"letters": 3}, per_class=2)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*.png")):
            if folders:
                archive.writestr(f"./{file.parent.relative_to(root)}/", b"")
            archive.writestr(form.format(file.relative_to(root).as_posix()), file.read_bytes())
        for name in extra:
            archive.writestr(name, b"")
    return path


@pytest.mark.parametrize("form", ["./{}", ".//{}", "set/./{}", "././set//{}"])
def test_member_names_of_a_repacked_archive_are_read_by_where_they_lead(tmp_path: Path, form: str) -> None:
    plain = read_image_folder(write_archive(tmp_path / "plain.zip", "{}"), size=30)
    repacked = read_image_folder(write_archive(tmp_path / "dot.zip", form), size=30)
    assert repacked.classes == plain.classes
    assert torch.equal(repacked.images, plain.images)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_entries_for_folders_are_no_images(tmp_path: Path) -> None:
    assert len(read_image_folder(write_archive(tmp_path / "set.zip", "./{}", folders=True), size=30).classes) == 3


@pytest.mark.parametrize("name", ["/etc/class/0.png", "../class/0.png", "letters/../../0.png", "./../notes.txt"])
def test_an_archive_with_a_name_that_leads_out_of_it_is_refused(tmp_path: Path, name: str) -> None:
    archive = write_archive(tmp_path / "set.zip", "{}", extra=(name,))
    with pytest.raises(ImageReadError, match="absolute or leads out") as refused:
        read_image_folder(archive)
    assert name in refused.value.found
    assert str(archive) in refused.value.subject


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["letters/character0/0.png", "./letters/character0/0.png"])
def test_an_archive_with_two_images_at_one_place_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageReadError, match="same place"):
        read_image_folder(write_archive(tmp_path / "set.zip", "{}", extra=(name,)))


def test_a_zip_file_whose_directory_is_damaged_is_refused_by_name(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "set.zip", "{}")
    content = bytearray(path.read_bytes())
    start = content.rfind(b"PK\x01\x02")
    content[start : start + 4] = b"PK\x09\x09"
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match="cannot be opened") as refused:
        read_image_folder(path)
    assert refused.value.subject == str(path)
