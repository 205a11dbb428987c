"""Classes of images written out as people lay them out; few-shot tasks of made-up characters."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from envs.few_shot.images.classes import ImageClasses
from envs.few_shot.images.folder import ImageFamily, ImageTaskConfig
from envs.few_shot.images.glyphs import GlyphConfig, draw_glyphs


def write_images(classes: ImageClasses, folder: Path) -> None:
    """Write alphabet/class/image files, dark strokes on white as Omniglot has them."""
    for found in classes.classes:
        place = folder / found.group / found.name
        place.mkdir(parents=True)
        for number in range(found.count):
            image = 255 - classes.images[found.start + number].numpy()
            Image.fromarray(image).save(place / f"{number:02d}.png")


def glyph_family(tasks: ImageTaskConfig, glyphs: GlyphConfig) -> ImageFamily:
    """Few-shot tasks of made-up characters; the last quarter of the alphabets is held out, whole."""
    classes = draw_glyphs(glyphs)
    training, held_out = classes.hold_out_groups(classes.groups[-max(1, round(glyphs.alphabets / 4)) :])
    return ImageFamily(tasks, training=training, held_out=held_out)
