"""Tiles: their pixels are those of the image, at every level."""

import io
import threading

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.label.conftest import entry_of
from unetkit.errors import DataError
from unetkit.label.project import ImageEntry
from unetkit.label.tiles import TILE, PyramidCache, make_pyramid


def entry_at(path):
    return ImageEntry(path.stem, path.name, path, path.with_suffix(".mask"))


def opened(content):
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture
def large(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (TILE + 70, 2 * TILE + 33, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    return pixels, make_pyramid(entry_at(tmp_path / "large.png"))


def test_tiles_of_the_first_level_have_the_pixels_of_the_image(large):
    pixels, pyramid = large
    rows = [
        np.concatenate([opened(pyramid.tile(0, row, column)) for column in range(3)], axis=1)
        for row in range(2)
    ]
    assert np.array_equal(np.concatenate(rows), pixels)
    assert pyramid.size == pixels.shape[:2]


def test_each_further_level_has_the_means_of_four_pixels(large):
    pixels, pyramid = large
    assert [level.shape[:2] for level in pyramid.levels] == [(582, 1057), (291, 529), (146, 265)]
    even = pixels[:580, :1056].astype(float)
    means = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    # An odd side is stretched by less than a pixel, so that noise is compared in the mean alone.
    assert abs(pyramid.levels[1].mean() - means.mean()) < 1


def test_there_are_no_tiles_beyond_the_image(large):
    _, pyramid = large
    places = [(0, 2, 0), (0, 0, 3), (3, 0, 0), (-1, 0, 0), (0, -1, 0), (0, 0, -1)]
    assert [pyramid.tile(*place) for place in places] == [None] * 6


def test_images_of_16_bits_and_floats_are_shown_between_their_percentiles(tmp_path):
    ramp = np.linspace(1000, 3000, 64 * 64).reshape(64, 64)
    for dtype in (np.uint16, np.float32):
        tifffile.imwrite(tmp_path / "ramp.tif", ramp.astype(dtype))
        shown = make_pyramid(entry_at(tmp_path / "ramp.tif")).levels[0]
        assert shown.dtype == np.uint8
        assert (shown.min(), shown.max()) == (0, 255)
        assert abs(int(shown[32, 0, 0]) - 128) <= 2
    tifffile.imwrite(tmp_path / "flat.tif", np.full((8, 8), 7, np.uint16))
    assert make_pyramid(entry_at(tmp_path / "flat.tif")).levels[0].max() == 0


def test_a_thumbnail_is_small_and_keeps_the_shape(large):
    _, pyramid = large
    assert opened(pyramid.thumbnail()).shape == (53, 96, 3)


def test_an_animation_is_refused_by_its_name(tmp_path):
    frames = [Image.new("L", (8, 8), value) for value in (0, 90)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"film.gif has 2 images; accepted is one"):
        make_pyramid(entry_at(tmp_path / "film.gif"))


def test_a_stack_of_pages_is_refused_and_channels_are_one_image(tmp_path):
    planes = np.random.default_rng(0).integers(0, 256, (3, 8, 9), np.uint8)
    with tifffile.TiffWriter(tmp_path / "stack.tif") as file:
        for plane in planes:
            file.write(plane, photometric="minisblack")
    with pytest.raises(DataError, match=r"stack.tif has 3 images; .* TIFF pages as the channels"):
        make_pyramid(entry_at(tmp_path / "stack.tif"))
    tifffile.imwrite(tmp_path / "channels.tif", planes, imagej=True, metadata={"axes": "CYX"})
    shown = make_pyramid(entry_at(tmp_path / "channels.tif")).levels[0]
    assert np.array_equal(shown, np.moveaxis(planes, 0, -1))


class TestCache:
    def test_an_image_is_decoded_once_for_several_threads(self, project):
        made = []

        def make(entry):
            made.append(entry.name)
            return make_pyramid(entry)

        cache = PyramidCache(make)
        entry = entry_of(project, "a.png")
        threads = [threading.Thread(target=cache.get, args=(entry,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == ["a.png"]

    def test_what_was_not_asked_for_is_forgotten_first(self, project):
        made = []

        def make(entry):
            made.append(entry.name)
            return make_pyramid(entry)

        one = make_pyramid(entry_of(project, "a.png")).nbytes
        cache = PyramidCache(make, limit=2 * one)
        for name in ("a.png", "b.jpg", "a.png", "more/c.png", "a.png", "b.jpg"):
            cache.get(entry_of(project, name))
        assert made == ["a.png", "b.jpg", "more/c.png", "b.jpg"]


def test_orientation_is_applied(tmp_path):
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    pyramid = make_pyramid(entry_at(tmp_path / "turned.png"))
    assert pyramid.size == (6, 4)
    expected = cv2.rotate(np.asarray(image), cv2.ROTATE_90_CLOCKWISE)
    assert np.array_equal(pyramid.levels[0][..., 0], expected)
