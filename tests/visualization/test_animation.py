"""The moving picture shows what it was given, in order, in a small file."""

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
    """Plain pictures of different colours, with a white corner that all of them have."""
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


def test_all_pictures_are_shown_in_order_and_the_last_one_longer(tmp_path):
    pictures = write_frames(tmp_path)
    animate(pictures, tmp_path / "progress.gif")
    found = frames_of(tmp_path / "progress.gif")
    assert [milliseconds for milliseconds, _ in found] == [400, 400, 400, 2400]
    for path, (_, pixels) in zip(pictures, found, strict=True):
        assert np.abs(pixels - np.asarray(Image.open(path)).astype(int)).max() <= 4


def test_it_goes_round_for_ever_and_at_the_pace_that_is_asked_for(tmp_path):
    animate(write_frames(tmp_path, 2), tmp_path / "a.gif", seconds_a_frame=0.1)
    with Image.open(tmp_path / "a.gif") as film:
        assert film.info["loop"] == 0
    assert [milliseconds for milliseconds, _ in frames_of(tmp_path / "a.gif")] == [100, 600]


def test_one_picture_is_a_film_too(tmp_path):
    animate(write_frames(tmp_path, 1), tmp_path / "a.gif")
    assert len(frames_of(tmp_path / "a.gif")) == 1


def test_no_more_than_sixty_are_shown(tmp_path):
    pictures = write_frames(tmp_path, 75)
    animate(pictures, tmp_path / "a.gif")
    found = frames_of(tmp_path / "a.gif")
    assert len(found) == 60
    last = np.asarray(Image.open(pictures[-1])).astype(int)
    assert np.abs(found[-1][1] - last).max() <= 4


def test_a_film_that_would_be_large_loses_pixels_and_colours(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    pictures = []
    for i in range(3):  # noise, which nothing compresses
        pictures.append(tmp_path / f"{i}.png")
        Image.fromarray(rng.integers(0, 256, (90, 400, 3), dtype=np.uint8)).save(pictures[-1])
    animate(pictures, tmp_path / "whole.gif")
    assert frames_of(tmp_path / "whole.gif")[0][1].shape == (90, 400, 3)
    monkeypatch.setattr(animation, "LARGEST_FILE", 70_000)
    animate(pictures, tmp_path / "small.gif")
    assert (tmp_path / "small.gif").stat().st_size <= 70_000
    assert frames_of(tmp_path / "small.gif")[0][1].shape == (72, 320, 3)


def test_pictures_of_a_run_fit_into_three_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    pictures = []
    for step in range(3):
        cases = [
            Example(photo, photo[..., 0] // 86, rng.integers(0, 3, (64, 64), dtype=np.uint8), "a")
            for photo in photos
        ]
        pictures.append(tmp_path / f"step-{step:06d}.png")
        draw_examples(pictures[-1], cases, TRIMAP_CLASSES, across=2, title=f"step {step}")
    animate(pictures, tmp_path / "progress.gif")
    assert (tmp_path / "progress.gif").stat().st_size < 3_000_000
    assert len(frames_of(tmp_path / "progress.gif")) == 3


def test_an_older_film_is_replaced_and_nothing_else_is_left(tmp_path):
    pictures = write_frames(tmp_path, 2)
    (tmp_path / "progress.gif").write_text("old")
    animate(pictures, tmp_path / "progress.gif")
    assert len(frames_of(tmp_path / "progress.gif")) == 2
    assert len(list(tmp_path.iterdir())) == 3


def test_pictures_of_two_sizes_are_refused(tmp_path):
    pictures = write_frames(tmp_path, 3)
    Image.new("RGB", (40, 25)).save(pictures[2])
    with pytest.raises(
        DataError, match=r"000100\.png is 24x40 and .*000200\.png 25x40; accepted are pictures of"
    ):
        animate(pictures, tmp_path / "a.gif")
    assert not (tmp_path / "a.gif").exists()


def test_what_cannot_be_read_is_named(tmp_path):
    pictures = write_frames(tmp_path, 2)
    pictures[1].write_bytes(pictures[1].read_bytes()[:60])
    with pytest.raises(DataError, match=r"000100\.png cannot be read .*; accepted are whole PNG"):
        animate(pictures, tmp_path / "a.gif")
    pictures[1].unlink()
    with pytest.raises(DataNotFoundError, match=r"000100\.png does not exist; accepted are"):
        animate(pictures, tmp_path / "a.gif")
    with pytest.raises(DataError, match=r"no pictures for .*a\.gif; accepted is at least one"):
        animate([], tmp_path / "a.gif")
    assert not (tmp_path / "a.gif").exists()


@pytest.mark.parametrize("seconds", [0.0, -1.0, 61.0, float("nan")])
def test_a_pace_that_nobody_can_watch_is_refused(tmp_path, seconds):
    with pytest.raises(ConfigError, match=r"seconds_a_frame is .*; accepted are 0\.02 to 60"):
        animate(write_frames(tmp_path, 1), tmp_path / "a.gif", seconds_a_frame=seconds)


def test_few_looks_all_get_a_picture():
    assert frame_steps(0) == ()
    assert frame_steps(1) == (1,)
    assert frame_steps(24) == tuple(range(1, 25))


@given(st.integers(1, 5000), st.integers(2, 60))
def test_looks_with_a_picture_are_evenly_spread_with_both_ends(looks, most):
    chosen = frame_steps(looks, most)
    assert len(chosen) == min(looks, most)
    assert (chosen[0], chosen[-1]) == (1, looks)
    if len(chosen) > 1:
        gaps = np.diff(chosen)
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1


def test_fewer_than_two_pictures_are_refused():
    with pytest.raises(ConfigError, match="most is 1; accepted are whole numbers from 2 up"):
        frame_steps(10, most=1)
