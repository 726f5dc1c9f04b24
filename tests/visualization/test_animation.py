"""The animation shows the given images, in order, in a small file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.errors import ConfigError, DataError, DataNotFoundError
from unetkit.visualization import animation
from unetkit.visualization.animation import animate, frame_steps
from unetkit.visualization.figures import Example, draw_examples

COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200), (240, 240, 60))


def write_frames(folder, count=4, size=(24, 40)):
    """Plain images of different colours, all with a white corner."""
    paths = []
    for i in range(count):
        pixels = np.full((*size, 3), COLOURS[i % len(COLOURS)], np.uint8)
        pixels[:8, :8] = 255
        pixels[8:, i % size[1]] = 0
        paths.append(folder / f"step-{100 * i:06d}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def frames_of(path):
    """(milliseconds, pixels) of each frame of a GIF."""
    with Image.open(path) as film:
        assert film.format == "GIF"
        found = []
        for number in range(film.n_frames):
            film.seek(number)
            found.append((film.info["duration"], np.asarray(film.convert("RGB"))))
        return found


def test_all_images_are_shown_in_order_and_the_last_one_longer(tmp_path):
    images = write_frames(tmp_path)
    animate(images, tmp_path / "progress.gif")
    found = frames_of(tmp_path / "progress.gif")
    assert [milliseconds for milliseconds, _ in found] == [400, 400, 400, 2400]
    for path, (_, pixels) in zip(images, found, strict=True):
        assert np.abs(pixels - np.asarray(Image.open(path)).astype(int)).max() <= 4


def test_it_repeats_endlessly_with_the_given_duration(tmp_path):
    animate(write_frames(tmp_path, 2), tmp_path / "a.gif", seconds_a_frame=0.1)
    with Image.open(tmp_path / "a.gif") as film:
        assert film.info["loop"] == 0
    assert [milliseconds for milliseconds, _ in frames_of(tmp_path / "a.gif")] == [100, 600]


def test_one_image_makes_an_animation(tmp_path):
    animate(write_frames(tmp_path, 1), tmp_path / "a.gif")
    assert len(frames_of(tmp_path / "a.gif")) == 1


def test_at_most_sixty_images_are_shown(tmp_path):
    images = write_frames(tmp_path, 75)
    animate(images, tmp_path / "a.gif")
    found = frames_of(tmp_path / "a.gif")
    assert len(found) == 60
    last = np.asarray(Image.open(images[-1])).astype(int)
    assert np.abs(found[-1][1] - last).max() <= 4


def test_a_large_animation_is_reduced_in_size_and_colours(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    images = []
    for i in range(3):  # noise, which nothing compresses
        images.append(tmp_path / f"{i}.png")
        Image.fromarray(rng.integers(0, 256, (90, 400, 3), dtype=np.uint8)).save(images[-1])
    animate(images, tmp_path / "whole.gif")
    assert frames_of(tmp_path / "whole.gif")[0][1].shape == (90, 400, 3)
    monkeypatch.setattr(animation, "MAX_GIF_BYTES", 70_000)
    animate(images, tmp_path / "small.gif")
    assert (tmp_path / "small.gif").stat().st_size <= 70_000
    assert frames_of(tmp_path / "small.gif")[0][1].shape == (72, 320, 3)


def test_images_of_a_run_fit_into_three_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    images = []
    for step in range(3):
        cases = [
            Example(photo, photo[..., 0] // 86, rng.integers(0, 3, (64, 64), dtype=np.uint8), "a")
            for photo in photos
        ]
        images.append(tmp_path / f"step-{step:06d}.png")
        draw_examples(images[-1], cases, TRIMAP_CLASSES, across=2, title=f"step {step}")
    animate(images, tmp_path / "progress.gif")
    assert (tmp_path / "progress.gif").stat().st_size < 3_000_000
    assert len(frames_of(tmp_path / "progress.gif")) == 3


def test_an_existing_file_is_replaced_and_no_other_file_is_left(tmp_path):
    images = write_frames(tmp_path, 2)
    (tmp_path / "progress.gif").write_text("old")
    animate(images, tmp_path / "progress.gif")
    assert len(frames_of(tmp_path / "progress.gif")) == 2
    assert len(list(tmp_path.iterdir())) == 3


def test_images_of_two_sizes_are_refused(tmp_path):
    images = write_frames(tmp_path, 3)
    Image.new("RGB", (40, 25)).save(images[2])
    with pytest.raises(
        DataError, match=r"000100\.png is 24x40 and .*000200\.png 25x40; accepted are images of"
    ):
        animate(images, tmp_path / "a.gif")
    assert not (tmp_path / "a.gif").exists()


def test_an_unreadable_image_is_refused_by_name(tmp_path):
    images = write_frames(tmp_path, 2)
    images[1].write_bytes(images[1].read_bytes()[:60])
    with pytest.raises(
        DataError, match=r"000100\.png cannot be read .*; accepted are undamaged PNG"
    ):
        animate(images, tmp_path / "a.gif")
    images[1].unlink()
    with pytest.raises(DataNotFoundError, match=r"000100\.png does not exist; accepted are"):
        animate(images, tmp_path / "a.gif")
    with pytest.raises(DataError, match=r"no images for .*a\.gif; accepted is at least one"):
        animate([], tmp_path / "a.gif")
    assert not (tmp_path / "a.gif").exists()


@pytest.mark.parametrize("seconds", [0.0, -1.0, 61.0, float("nan")])
def test_a_duration_out_of_range_is_refused(tmp_path, seconds):
    with pytest.raises(ConfigError, match=r"seconds_a_frame is .*; accepted are 0\.02 to 60"):
        animate(write_frames(tmp_path, 1), tmp_path / "a.gif", seconds_a_frame=seconds)


def test_all_of_few_frames_are_chosen():
    assert frame_steps(0) == ()
    assert frame_steps(1) == (1,)
    assert frame_steps(24) == tuple(range(1, 25))


@given(st.integers(1, 5000), st.integers(2, 60))
def test_chosen_frames_are_evenly_spaced_and_include_both_ends(count, most):
    chosen = frame_steps(count, most)
    assert len(chosen) == min(count, most)
    assert (chosen[0], chosen[-1]) == (1, count)
    if len(chosen) > 1:
        gaps = np.diff(chosen)
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1


def test_fewer_than_two_frames_are_refused():
    with pytest.raises(ConfigError, match="most is 1; accepted are integers from 2 up"):
        frame_steps(10, most=1)
