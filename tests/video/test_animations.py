"""Animations: which files are ones, and durations, repetitions and opacity that are kept."""

import numpy as np
import pytest
from PIL import Image

from tests.video.clips import moving_frames
from unetkit.errors import DataError
from unetkit.io.images import ImageFile, pixels_of
from unetkit.video.animations import AnimationFile, is_animation, open_animation

DURATIONS = [100, 300, 40, 200]
SUFFIXES = [".gif", ".webp", ".png"]


def save(path, frames, **options):
    first, *others = map(Image.fromarray, frames)
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=others, **lossless, **options)
    return path


def shown(path):
    """Durations in ms, repetitions and frames, (N, H, W, 4), as Pillow reads them."""
    with Image.open(path) as image:
        frames, durations = [], []
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGBA")))
            durations.append(image.info.get("duration"))
        return durations, image.info.get("loop"), np.array(frames)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_animation_is_told_from_an_image(tmp_path, suffix):
    frames = moving_frames(3)
    assert is_animation(save(tmp_path / f"a{suffix}", frames, duration=50))
    Image.fromarray(frames[0]).save(tmp_path / f"b{suffix}")
    (tmp_path / f"c{suffix}").write_bytes(b"nothing")
    for name in ("b", "c", "absent"):
        assert not is_animation(tmp_path / f"{name}{suffix}")
    assert not is_animation(tmp_path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_are_those_of_the_image_file_with_their_times(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", moving_frames(4), duration=DURATIONS, loop=3)
    with open_animation(path) as video, ImageFile(path) as file:
        assert (video.size, video.count, video.loop) == ((20, 26), 4, 3)
        assert video.declared_frames == 4
        found = list(video.frames)
        for number, frame in enumerate(found):
            assert np.array_equal(frame.pixels, pixels_of(file.read(number), "a"))
    assert [frame.duration for frame in found] == pytest.approx([0.1, 0.3, 0.04, 0.2])
    assert [frame.seconds for frame in found] == pytest.approx([0, 0.1, 0.4, 0.44])


def test_a_grey_animation_is_read_in_colour(tmp_path):
    grey = [frame[..., 0] for frame in moving_frames(2)]
    with open_animation(save(tmp_path / "a.png", grey)) as video:
        assert [
            np.array_equal(f.pixels, np.dstack([g] * 3))
            for f, g in zip(video.frames, grey, strict=True)
        ] == [True] * 2


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("loop", [0, 2])
def test_durations_and_repetitions_are_written(tmp_path, suffix, loop):
    path, frames = tmp_path / f"a{suffix}", moving_frames(4)
    film = AnimationFile(path, loop)
    for seconds, frame in zip([0, 0.1, 0.4, 0.44], frames, strict=True):
        film.write(seconds, frame)
    film.close(0.64)
    durations, repetitions, found = shown(path)
    assert (durations, repetitions) == (DURATIONS, loop)
    error = np.abs(found[..., :3].astype(int) - np.array(frames)).mean()
    assert error == 0 if suffix == ".png" else error < 16


def test_a_gif_without_repetitions_is_played_once(tmp_path):
    film = AnimationFile(tmp_path / "a.gif", None)
    for number, frame in enumerate(moving_frames(2)):
        film.write(number, frame)
    film.close(2)
    assert b"NETSCAPE" not in (tmp_path / "a.gif").read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_opacity_is_kept_frame_by_frame(tmp_path, suffix):
    """What is transparent in a frame does not show the frame before."""
    path, frames = tmp_path / f"a{suffix}", []
    for number in range(3):
        frame = np.full((20, 26, 4), (200, 30, 60, 0), np.uint8)
        frame[:, 8 * number : 8 * number + 8, 3] = 255
        frames.append(frame)
    film = AnimationFile(path, 0)
    for number, frame in enumerate(frames):
        film.write(number / 10, frame)
    film.close(0.3)
    *_, found = shown(path)
    assert np.array_equal(found[..., 3], np.array(frames)[..., 3])


def test_in_a_gif_pixels_are_opaque_or_not(tmp_path):
    film = AnimationFile(tmp_path / "a.gif", 0)
    for number, opacity in enumerate((120, 140)):
        film.write(number, np.full((4, 4, 4), (9, 9, 9, opacity), np.uint8))
    film.close(2)
    *_, found = shown(tmp_path / "a.gif")
    assert found[:, 0, 0, 3].tolist() == [0, 255]


def test_an_animation_with_a_damaged_frame_is_named(tmp_path):
    path = save(tmp_path / "a.png", moving_frames(4))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 600])
    with pytest.raises(DataError, match=r"a\.png"), open_animation(path) as video:
        list(video.frames)
