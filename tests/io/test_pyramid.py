"""The tiles of an image and its overviews, from one go through it."""

import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from unetkit.errors import ConfigError, SizeError
from unetkit.io import pyramid
from unetkit.io.pyramid import (
    as_json,
    halve,
    level_sizes,
    require_image,
    require_names,
    walk_tiles,
)

STEADY = settings(derandomize=True, max_examples=60)
PLACE = Path("result.tif")


@pytest.fixture(scope="module", autouse=True)
def small_levels():
    """Tiles of 16 pixels, and overviews down to 20."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyramid, "TILE", 16)
        patch.setattr(pyramid, "LONGEST", 20)
        yield


def mean_by_hand(block, nodata=None):
    """Every mean on its own, of what lies inside the block."""
    height, width, channels = block.shape
    half = np.zeros((-(-height // 2), -(-width // 2), channels), block.dtype)
    for row, column, channel in np.ndindex(*half.shape):
        four = block[2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel]
        kept = [float(value) for value in four.flat if nodata is None or value != nodata]
        mean = sum(kept) / len(kept) if kept else nodata
        half[row, column, channel] = mean if block.dtype.kind == "f" else int(mean + 0.5)
    return half


def put_together(shape, tiles):
    """The levels from their tiles, and the order in which the tiles of each level came."""
    sizes = level_sizes(shape[:2])
    found = [np.zeros((*size, shape[2]), np.uint8) for size in sizes]
    places = [[] for _ in sizes]
    for level, row, column, tile in tiles:
        top, left = 16 * row, 16 * column
        found[level][top : top + tile.shape[0], left : left + tile.shape[1]] += tile
        places[level].append((row, column))
    return found, places


class TestSizes:
    def test_halves_are_rounded_up(self):
        # ceil(77 / 2) = 39, ceil(39 / 2) = 20, which is small enough
        assert level_sizes((77, 53)) == [(77, 53), (39, 27), (20, 14)]

    def test_a_small_image_has_no_overview(self):
        assert level_sizes((20, 1)) == [(20, 1)]

    def test_a_line_cannot_be_halved(self):
        assert level_sizes((1, 500)) == [(1, 500)]


class TestHalves:
    def test_labels_are_every_second_pixel(self):
        block = np.arange(15, dtype=np.uint8).reshape(3, 5, 1)
        assert halve(block, nearest=True)[..., 0].tolist() == [[0, 2, 4], [10, 12, 14]]

    def test_means_of_whole_numbers_are_rounded_half_upwards(self):
        # (1 + 2 + 3 + 4) / 4 = 2.5; at the edge (7 + 8) / 2 = 7.5; (250 + 252) / 2; 9 alone
        block = np.array([[1, 2, 7], [3, 4, 8], [250, 252, 9]], np.uint8)[..., None]
        assert halve(block, nearest=False)[..., 0].tolist() == [[3, 8], [251, 9]]

    def test_means_do_not_overflow(self):
        for dtype in ("uint8", "uint16", "uint32"):
            block = np.full((2, 2, 1), np.iinfo(dtype).max, dtype)
            assert halve(block, nearest=False) == np.iinfo(dtype).max

    def test_means_of_fractions_are_no_rounder_than_they_are(self):
        block = np.array([[0.5, 0.25], [1.0, 0.0]], np.float32)[..., None]
        half = halve(block, nearest=False)
        assert half.dtype == np.float32
        assert half == 0.4375

    def test_what_is_no_data_is_left_out_of_means(self):
        # (10 + 20) / 2 = 15 beside two without data; four without data stay so
        block = np.array([[10, 255, 255, 255], [255, 20, 255, 255]], np.uint8)[..., None]
        assert halve(block, nearest=False, nodata=255)[..., 0].tolist() == [[15, 255]]

    def test_no_data_may_be_nan(self):
        block = np.array([[1, np.nan, np.nan], [2, np.nan, np.nan]], np.float32)[..., None]
        half = halve(block, nearest=False, nodata=float("nan"))[0, :, 0]
        assert half[0] == 1.5
        assert np.isnan(half[1])

    @STEADY
    @given(
        arrays.arrays(
            np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))
        ),
        st.sampled_from((None, 0, 7)),
    )
    def test_means_are_those_by_hand(self, block, nodata):
        assert np.array_equal(
            halve(block, nearest=False, nodata=nodata), mean_by_hand(block, nodata)
        )


class TestTiles:
    @STEADY
    @given(st.integers(1, 140), st.integers(1, 140), st.integers(1, 3), st.integers(1, 4000))
    def test_labels_of_every_level_are_labels_of_the_image(self, height, width, channels, most):
        image = np.random.default_rng(0).integers(1, 200, (height, width, channels), np.uint8)
        asked = np.zeros((height, width), int)
        starts, largest = [], 0

        def read(rows, columns):
            nonlocal largest
            asked[rows, columns] += 1
            starts.append((rows.start, columns.start))
            largest = max(largest, image[rows, columns].nbytes)
            return image[rows, columns]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pyramid, "BLOCK_BYTES", most)
            walk = walk_tiles(image.shape, image.dtype, read, partial(halve, nearest=True))
            found, places = put_together(image.shape, walk)
        for level, pixels in enumerate(found):  # each tile came once: they were added up
            step = 1 << level
            assert np.array_equal(pixels, image[::step, ::step])
            assert places[level] == sorted(places[level])
        assert (asked == 1).all()
        assert starts == sorted(starts)
        assert largest <= max(most, 16 * 16 * channels)

    def test_means_are_those_of_means(self):
        image = np.random.default_rng(1).integers(0, 256, (77, 53, 2), np.uint8)
        walk = walk_tiles(
            image.shape,
            image.dtype,
            lambda rows, columns: image[rows, columns],
            partial(halve, nearest=False),
        )
        found, _ = put_together(image.shape, walk)
        expected = image
        for pixels in found:
            assert np.array_equal(pixels, expected)
            expected = mean_by_hand(expected)

    def test_memory_does_not_grow_with_the_height(self):
        def peak(height):
            shape = (height, 2000, 1)
            walk = walk_tiles(
                shape,
                np.dtype(np.uint8),
                lambda rows, columns: np.ones(
                    (rows.stop - rows.start, columns.stop - columns.start, 1), np.uint8
                ),
                partial(halve, nearest=True),
            )
            tracemalloc.start()
            for _ in walk:
                pass
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return most

        low, high = peak(80), peak(800)
        assert high < 1.2 * low
        assert high < 800 * 2000 / 4

    def test_a_block_of_another_shape_is_refused(self):
        walk = walk_tiles(
            (20, 30, 1), np.dtype(np.uint8), lambda *_: np.zeros((16, 30), np.uint8), halve
        )
        with pytest.raises(
            SizeError,
            match=r"rows 0 to 16 and columns 0 to 30 were read as uint8 of shape \(16, 30\); "
            r"accepted is uint8 of shape \(16, 30, 1\)",
        ):
            next(walk)

    def test_a_block_of_another_type_is_refused(self):
        walk = walk_tiles((9, 9, 1), np.dtype(np.uint8), lambda *_: np.zeros((9, 9, 1)), halve)
        with pytest.raises(SizeError, match=r"were read as float64 .* accepted is uint8"):
            next(walk)


class TestRefusals:
    @pytest.mark.parametrize("shape", [(2, 3), (0, 2, 1), (1, 2, 3, 4)])
    def test_shapes(self, shape):
        with pytest.raises(SizeError, match=r"image for result\.tif has the shape .*; accepted"):
            require_image(PLACE, shape, "uint8")

    @pytest.mark.parametrize("dtype", ["float64", "int8", "bool", "U3"])
    def test_types(self, dtype):
        with pytest.raises(ConfigError, match=r"result.tif has .* pixels; accepted are uint8, uin"):
            require_image(PLACE, (2, 2, 1), dtype)

    def test_names(self):
        require_names(PLACE, None, 3)
        require_names(PLACE, ["a", "b"], 2)
        with pytest.raises(
            ConfigError, match=r"1 names are given for the 2 channels of result\.tif"
        ):
            require_names(PLACE, ["a"], 2)

    @pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
    def test_metadata(self, value):
        with pytest.raises(ConfigError, match=r"metadata for result\.tif cannot be written \("):
            as_json(PLACE, {"a": value})
