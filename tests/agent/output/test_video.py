"""Videos hold the frames that were added, below their captions, and appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from imageio_ffmpeg import count_frames_and_secs
from PIL import Image

from agent.output.files import OutputFileError
from agent.output.video import VideoError, captioned, writing_video

GREY = np.full((60, 81, 3), 100, dtype=np.uint8)


def test_a_small_frame_is_enlarged_below_its_caption_and_has_even_sides() -> None:
    picture = captioned(GREY, ["one", "two"])
    assert picture.width == 4 * 81
    assert picture.height % 2 == 0
    assert picture.height >= 4 * 60 + 2 * 20
    assert picture.getpixel((5, picture.height - 5)) == (100, 100, 100)


def test_the_caption_is_drawn() -> None:
    plain, written = captioned(GREY, [""]), captioned(GREY, ["episode 2 of 3"])
    assert plain.size == written.size
    assert plain.tobytes() != written.tobytes()


def test_an_mp4_has_every_frame(tmp_path: Path) -> None:
    file = tmp_path / "watch.mp4"
    with writing_video(file, frames_per_s=10) as video:
        for number in range(7):
            video.add(captioned(GREY, [str(number)]))
    assert count_frames_and_secs(str(file)) == (7, pytest.approx(0.7))


def test_a_frame_of_another_size_takes_the_size_of_the_first(tmp_path: Path) -> None:
    file = tmp_path / "watch.mp4"
    with writing_video(file, frames_per_s=10) as video:
        video.add(captioned(GREY, ["a"]))
        video.add(captioned(np.zeros((90, 400, 3), dtype=np.uint8), ["b"]))
    assert count_frames_and_secs(str(file))[0] == 2


@pytest.mark.parametrize(("frames_per_s", "num_frames", "delay_ms"), [(10, 8, 100), (40, 4, 50)])
def test_a_gif_leaves_out_frames_that_come_too_fast_and_keeps_its_speed(
    frames_per_s: float, num_frames: int, delay_ms: int, tmp_path: Path
) -> None:
    file = tmp_path / "watch.gif"
    with writing_video(file, frames_per_s=frames_per_s) as video:
        for number in range(8):
            video.add(captioned(GREY, [str(number)]))
    with Image.open(file) as picture:
        assert picture.n_frames == num_frames  # type: ignore[attr-defined]
        assert picture.info["duration"] == delay_ms


def _write_and_interrupt(file: Path) -> None:
    with writing_video(file, frames_per_s=10) as video:
        video.add(captioned(GREY, ["a"]))
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["watch.gif", "watch.mp4"])
def test_an_interrupted_video_leaves_the_old_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        _write_and_interrupt(file)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_another_ending_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with (
        pytest.raises(VideoError, match=r"neither in \.mp4 nor in \.gif"),
        writing_video(tmp_path / "watch.avi", frames_per_s=10),
    ):
        pass


def test_a_video_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "watch.gif").symlink_to(tmp_path / "another")
    with (
        pytest.raises(OutputFileError, match="symbolic link"),
        writing_video(tmp_path / "watch.gif", frames_per_s=10),
    ):
        pass
    assert not (tmp_path / "another").exists()
