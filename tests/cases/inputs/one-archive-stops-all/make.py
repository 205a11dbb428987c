"""Write ``plain.zip`` and ``dot.zip`` into the folder given: the same images, with names in two forms."""

import io
import sys
import zipfile
from pathlib import Path

from PIL import Image, ImageDraw

NAME_FORMS = {"plain": "{folder}/{file}", "dot": "./{folder}/{file}"}


def image_bytes(num_corners: int, shift: int) -> bytes:
    """Return a PNG of a regular polygon."""
    sheet, content = Image.new("L", (64, 64), 255), io.BytesIO()
    ImageDraw.Draw(sheet).regular_polygon((28 + shift, 32, 22), num_corners, rotation=4 * shift, outline=0)
    sheet.save(content, "PNG")
    return content.getvalue()


for archive_name, form in NAME_FORMS.items():
    with zipfile.ZipFile(Path(sys.argv[1]) / f"{archive_name}.zip", "w") as archive:
        for num_corners in range(3, 9):
            for number in range(6):
                name = form.format(folder=f"corners{num_corners}", file=f"{number}.png")
                archive.writestr(zipfile.ZipInfo(name), image_bytes(num_corners, number))
