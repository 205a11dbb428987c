"""Videos of frames with captions: MP4 (H.264) through ffmpeg, or an animated GIF.

The file is written completely or not at all (:mod:`agent.output.files`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from agent.errors import AgentError
from agent.output.files import check_output_file, write_output_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

LEAST_WIDTH = 320
"""A narrower frame is enlarged by a whole factor, so that its caption can be read."""

MOST_WIDTH = 1280
LINE_HEIGHT = 22
MARGIN = 6
MOST_GIF_FRAMES_PER_S = 20.0
"""Above this, frames of a GIF are left out: viewers show short delays at a speed of their own."""

MOST_FRAMES_PER_S = 60.0
SUFFIXES = (".mp4", ".gif")


class VideoError(AgentError):
    """An error: a video cannot be written."""


class VideoWriter(Protocol):
    """A writer of frames of equal size."""

    def add(self, picture: Image) -> None:
        """Add a frame."""
        ...


def check_video_file(path: Path) -> None:
    """Raise unless a video can be written to a path.

    Raises:
        VideoError: its name ends neither in .mp4 nor in .gif.
        OutputFileError: the path is a link, a folder or a pipe.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise VideoError(
            operation="writing the video to",
            subject=str(path),
            found="its name ends neither in .mp4 nor in .gif.",
            hint="Name a file such as watch.mp4 or watch.gif.",
        )
    check_output_file(path, operation="writing the video to")


def captioned(frame: NDArray[np.uint8], lines: Sequence[str]) -> Image:
    """Return a frame below lines of text, enlarged or reduced to a width that can be read.

    Args:
        frame: [height, width, 3] pixels.
        lines: the lines of the caption.
    """
    from PIL import Image, ImageDraw, ImageFont

    picture = _of_readable_width(Image.fromarray(frame))
    above = MARGIN + LINE_HEIGHT * len(lines)
    # H.264 needs even numbers of pixels.
    whole = Image.new("RGB", (picture.width + picture.width % 2, _even(above + picture.height)), (24, 24, 27))
    whole.paste(picture, (0, above))
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(size=15)
    for row, line in enumerate(lines):
        draw.text((MARGIN, MARGIN // 2 + row * LINE_HEIGHT), line, font=font, fill=(240, 240, 240))
    return whole


@contextmanager
def writing_video(path: Path, *, frames_per_s: float) -> Iterator[VideoWriter]:
    """Yield a writer of a video. The file appears when the block ends without an error and a frame was added.

    Raises:
        VideoError: the name has another ending, or ffmpeg fails.
        OutputFileError: the file cannot be written.
    """
    check_video_file(path)
    rate = max(1.0, min(frames_per_s, MOST_FRAMES_PER_S))
    with tempfile.TemporaryDirectory(prefix="learnd-video-") as folder:
        made = Path(folder) / f"video{path.suffix.lower()}"
        with ExitStack() as stack:
            writer = _Gif(made, rate) if made.suffix == ".gif" else _Mp4(made, rate)
            stack.callback(writer.close)
            yield writer
        if made.exists():
            write_output_file(path, made.read_bytes())


class _Mp4:
    """A writer of an MP4 file. ffmpeg encodes the frames while they are added."""

    def __init__(self, path: Path, frames_per_s: float) -> None:
        self._path, self._frames_per_s = path, frames_per_s
        self._size = (0, 0)
        self._encoder: Any = None

    def add(self, picture: Image) -> None:
        """Add a frame; a frame of another size than the first is resized."""
        if self._encoder is None:
            from imageio_ffmpeg import write_frames

            self._size = picture.size
            self._encoder = write_frames(
                str(self._path),
                picture.size,
                fps=self._frames_per_s,
                codec="libx264",
                pix_fmt_out="yuv420p",
                macro_block_size=2,
                quality=7,
                ffmpeg_log_level="error",
            )
            self._encoder.send(None)
        if picture.size != self._size:
            picture = picture.resize(self._size)
        try:
            self._encoder.send(picture.tobytes())
        except OSError as error:
            raise VideoError(operation="encoding the video", subject=self._path.name, found=f"{error}.") from error

    def close(self) -> None:
        """Finish the file."""
        if self._encoder is not None:
            self._encoder.close()


class _Gif:
    """A writer of an animated GIF, which keeps the frames until it is closed."""

    def __init__(self, path: Path, frames_per_s: float) -> None:
        self._path = path
        self._kept_share = min(1.0, MOST_GIF_FRAMES_PER_S / frames_per_s)
        self._delay_ms = round(1000 / (frames_per_s * self._kept_share), -1)
        self._due = 1.0
        self._pictures: list[Image] = []

    def add(self, picture: Image) -> None:
        """Add a frame, or leave it out if frames come faster than a GIF shows them."""
        if self._due >= 1.0:
            self._due -= 1.0
            self._pictures.append(picture.quantize(colors=128))
        self._due += self._kept_share

    def close(self) -> None:
        """Write the file."""
        if self._pictures:
            first, *others = self._pictures
            first.save(self._path, save_all=True, append_images=others, duration=self._delay_ms, loop=0)


def _of_readable_width(picture: Image) -> Image:
    from PIL import Image as Images

    if picture.width < LEAST_WIDTH:
        factor = -(-LEAST_WIDTH // picture.width)
        return picture.resize((picture.width * factor, picture.height * factor), Images.Resampling.NEAREST)
    if picture.width > MOST_WIDTH:
        return picture.resize((MOST_WIDTH, max(1, picture.height * MOST_WIDTH // picture.width)))
    return picture


def _even(number: int) -> int:
    return number + number % 2
