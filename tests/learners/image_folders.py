"""Classes of images written out as people lay them out."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from envs.few_shot.image_classes import ImageClasses


def write_images(classes: ImageClasses, folder: Path) -> None:
    """Write alphabet/class/image files, dark strokes on white as Omniglot has them."""
    for found in classes.classes:
        place = folder / found.group / found.name
        place.mkdir(parents=True)
        for number in range(found.count):
            image = 255 - classes.images[found.start + number].numpy()
            Image.fromarray(image).save(place / f"{number:02d}.png")
