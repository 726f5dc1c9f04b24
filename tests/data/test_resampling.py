"""Tiny cases by hand, the whole by brute force and by OpenCV, and windows against the whole."""

import re
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.data.resampling import Axis, ResampledWindows, resample, resample_window
from unetkit.errors import SizeError

STEADY = settings(derandomize=True, max_examples=200)
SIDES = st.integers(1, 200)
SIZES = st.tuples(SIDES, SIDES)
DTYPES = (np.uint8, np.uint16, np.float32)


@dataclass
class CountingReader:
    """An array of which windows are read, and what was read of it."""

    array: np.ndarray
    windows: list[tuple[slice, slice]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        for span, size in zip((rows, columns), self.shape[:2], strict=True):
            assert 0 <= span.start < span.stop <= size
        self.windows.append((rows, columns))
        return self.array[rows, columns]

    @property
    def values(self) -> list[int]:
        """How many values each read gave."""
        return [self.array[window].size for window in self.windows]


class Checkered:
    """A picture far larger than memory, computed where it is read; every 2x2 pixels mean 100."""

    dtype = np.dtype(np.uint8)

    def __init__(self, height: int, width: int) -> None:
        self.shape = (height, width, 3)
        self.largest = 0
        self.total = 0

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        down, across = np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop)
        bright = (down[:, None] % 2 != across % 2).astype(np.uint8) * 200
        found = np.repeat(bright[..., None], 3, axis=2)
        self.largest = max(self.largest, found.size)
        self.total += found.size
        return found


@st.composite
def pictures(draw: st.DrawFn) -> np.ndarray:
    shape = (*draw(SIZES), draw(st.integers(1, 5)))
    dtype = draw(st.sampled_from(DTYPES))
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    if dtype == np.float32:
        return generator.normal(0, 1000, shape).astype(np.float32)
    return generator.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def spans(size: int) -> st.SearchStrategy[slice]:
    ends = st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True)
    return ends.map(sorted).map(lambda pair: slice(*pair))


def opencv(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrinks, then enlarges, a channel at a time."""
    shrunk = min(size[0], image.shape[0]), min(size[1], image.shape[1])
    planes = []
    for plane in np.moveaxis(image, 2, 0):
        mean = cv2.resize(plane, shrunk[::-1], interpolation=cv2.INTER_AREA)
        planes.append(cv2.resize(mean, size[::-1], interpolation=cv2.INTER_LINEAR))
    return np.stack(planes, axis=2)


def brute_force(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Means over pixels that were repeated so often that they divide; else `np.interp`."""
    found = image.astype(np.float64)
    for axis in (0, 1):
        found = np.moveaxis(found, axis, 0)
        source, target = len(found), size[axis]
        if target <= source:
            repeated = np.repeat(found, target, axis=0)
            found = repeated.reshape(target, source, *found.shape[1:]).mean(1)
        else:
            centres = (np.arange(target) + 0.5) * source / target - 0.5
            lines = found.reshape(source, -1).T
            grown = [np.interp(centres, np.arange(source), line) for line in lines]
            found = np.stack(grown, axis=1).reshape(target, *found.shape[1:])
        found = np.moveaxis(found, 0, axis)
    return found


class TestTaps:
    def test_shrinking_by_a_whole_number_takes_equal_parts(self):
        indices, weights = Axis(6, 2).taps(slice(0, 2))
        assert indices.tolist() == [[0, 1, 2], [3, 4, 5]]
        assert np.allclose(weights, 1 / 3, rtol=1e-15)

    def test_shrinking_takes_rows_in_part(self):
        # [0, 5/3), [5/3, 10/3), [10/3, 5), in fifths of 5/3: 3 2 | 1 3 1 | 2 3
        indices, weights = Axis(5, 3).taps(slice(0, 3))
        assert indices.tolist() == [[0, 1, 1], [1, 2, 3], [3, 4, 4]]
        assert np.allclose(weights * 5, [[3, 2, 0], [1, 3, 1], [2, 3, 0]])

    def test_enlarging_holds_the_edge(self):
        # centres (i + 0.5) * 2 / 5 - 0.5 = -0.3, 0.1, 0.5, 0.9, 1.3
        indices, weights = Axis(2, 5).taps(slice(0, 5))
        assert indices.tolist() == [[0, 0], [0, 1], [0, 1], [0, 1], [1, 1]]
        assert np.allclose(weights, [[1, 0], [0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [1, 0]])

    def test_a_centre_upon_a_row_takes_it_alone(self):
        # the middle of 3 rows in 9: (4 + 0.5) / 3 - 0.5 = 1
        assert Axis(3, 9).needed(slice(4, 5)) == slice(1, 2)

    def test_equal_size_takes_each_row(self):
        indices, weights = Axis(3, 3).taps(slice(1, 3))
        assert indices.tolist() == [[1], [2]]
        assert weights.tolist() == [[1], [1]]

    @given(source=st.integers(1, 10**5), target=st.integers(1, 10**5), data=st.data())
    @STEADY
    def test_weights_add_up_to_one_and_needed_names_their_rows(
        self, source: int, target: int, data: st.DataObject
    ):
        axis = Axis(source, target)
        start = data.draw(st.integers(0, target - 1))
        span = slice(start, min(target, start + 20))
        indices, weights = axis.taps(span)
        needed = axis.needed(span)
        assert np.allclose(weights.sum(1), 1, atol=1e-12)
        assert weights.min() >= 0
        assert (indices.min(), indices.max()) == (needed.start, needed.stop - 1)
        assert 0 <= needed.start < needed.stop <= source

    @pytest.mark.parametrize("span", [(-1, 2), (2, 2), (3, 2), (0, 5)])
    def test_span_outside_is_refused(self, span):
        message = (
            f"span {span[0]}:{span[1]} is not within 4 rows or columns; accepted are spans of "
            "one or more inside"
        )
        for ask in (Axis(9, 4).needed, Axis(9, 4).taps):
            with pytest.raises(SizeError, match=re.escape(message)):
                ask(slice(*span))

    @pytest.mark.parametrize("sizes", [(0, 4), (4, 0), (4, -1)])
    def test_size_without_pixels_is_refused(self, sizes):
        message = f"resampling from {sizes[0]} to {sizes[1]} pixels is impossible; accepted are "
        with pytest.raises(SizeError, match=re.escape(message)):
            Axis(*sizes)


class TestWhole:
    def test_mean_of_what_is_covered(self):
        # columns [0, 1.5) and [1.5, 3): (10 + 40/2) / 1.5 = 20 and (40/2 + 70) / 1.5 = 60
        image = np.array([[[10], [40], [70]]], np.float32)
        assert np.allclose(resample(image, (1, 2))[..., 0], [[20, 60]], rtol=1e-6)

    def test_an_axis_shrinks_while_the_other_grows(self):
        # columns (0 + 8) / 2 = 4 and (100 + 104) / 2 = 102; rows 1, 0.75, 0.25, 0 of the first
        image = np.array([[[0], [8]], [[100], [104]]], np.uint8)
        assert resample(image, (4, 1))[:, 0, 0].tolist() == [4, 28, 78, 102]  # 28.5 and 77.5
        assert resample(image.swapaxes(0, 1), (1, 4))[0, :, 0].tolist() == [4, 28, 78, 102]

    def test_whole_numbers_are_rounded_once(self):
        # rounded between the axes: (1 + 2) / 2 = 1.5 -> 2, (2 + 1) / 2 -> 2; in fact 1.25 -> 1
        image = np.array([[[1], [1]], [[2], [1]]], np.uint8)
        assert resample(image, (1, 1)).tolist() == [[[1]]]

    def test_fractions_are_not_rounded(self):
        # (0.25 + 0.5) / 2 = 0.375
        for dtype in (np.float32, np.float64):
            found = resample(np.array([[[0.25], [0.5]]], dtype), (1, 1))
            assert found.dtype == dtype
            assert found.tolist() == [[[0.375]]]

    def test_equal_size_is_the_picture_itself(self):
        image = np.zeros((3, 4, 2), np.uint16)
        assert resample(image, (3, 4)) is image

    @given(image=pictures(), size=SIZES)
    @STEADY
    def test_agrees_with_brute_force(self, image: np.ndarray, size: tuple[int, int]):
        found = resample(image, size)
        assert found.shape == (*size, image.shape[2])
        assert found.dtype == image.dtype
        exact = brute_force(image, size)
        if image.dtype == np.float32:
            assert np.abs(found - exact).max() <= 3e-6 * np.abs(image).max()
        else:  # halves may fall to either side
            assert np.abs(found - exact).max() <= 0.5 + 5e-6 * np.iinfo(image.dtype).max

    @given(image=pictures(), size=SIZES)
    @STEADY
    def test_agrees_with_opencv(self, image: np.ndarray, size: tuple[int, int]):
        found, expected = resample(image, size).astype(float), opencv(image, size).astype(float)
        tolerance = 1e-4 * np.abs(image).max() if image.dtype == np.float32 else 1
        assert np.abs(found - expected).max() <= tolerance

    @given(size=SIZES, target=SIZES, dtype=st.sampled_from(DTYPES), data=st.data())
    @STEADY
    def test_constant_picture_stays_constant(self, size, target, dtype, data):
        most = 1 if dtype == np.float32 else np.iinfo(dtype).max
        value = data.draw(st.sampled_from([0, 1, most // 3, most]))
        found = resample(np.full((*size, 2), value, dtype), target)
        if dtype == np.float32:
            assert np.allclose(found, value, rtol=2e-6)
        else:
            assert (found == value).all()

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_the_mean_of_very_many_rows_keeps_its_last_bit(self, dtype):
        image = np.full((50_000, 3, 1), 65_535 if dtype != np.uint8 else 255, dtype)
        assert (resample(image, (1, 1)) == image[0, 0]).all()

    def test_arrays_that_do_not_lie_in_one_piece_are_read_as_they_look(self):
        image = np.random.default_rng(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)
        for view in (image[::2, ::-3, 1:], image.transpose(1, 0, 2)):
            view.flags.writeable = False
            for size in ((9, 9), (90, 90), (9, 90), (90, 9)):
                assert np.array_equal(resample(view, size), resample(view.copy(), size))


class TestWindows:
    @given(image=pictures(), size=SIZES, data=st.data())
    @STEADY
    def test_window_is_that_of_the_whole_bit_for_bit(
        self, image: np.ndarray, size: tuple[int, int], data: st.DataObject
    ):
        rows, columns = (data.draw(spans(side)) for side in size)
        axes = Axis(image.shape[0], size[0]), Axis(image.shape[1], size[1])
        part = image[axes[0].needed(rows), axes[1].needed(columns)]
        window = resample_window(part, axes, rows, columns)
        assert window.dtype == image.dtype
        assert window.tobytes() == resample(image, size)[rows, columns].tobytes()

    @given(image=pictures(), size=SIZES, most=st.integers(1, 5000), data=st.data())
    @STEADY
    def test_read_in_parts_is_the_whole_bit_for_bit(
        self, image: np.ndarray, size: tuple[int, int], most: int, data: st.DataObject
    ):
        reader = CountingReader(image)
        resampled = ResampledWindows(reader, size, most_values=most)
        assert resampled.shape == (*size, image.shape[2])
        assert resampled.dtype == image.dtype
        rows, columns = (data.draw(spans(side)) for side in size)
        found = resampled.read(rows, columns)
        assert found.dtype == image.dtype
        assert found.tobytes() == resample(image, size)[rows, columns].tobytes()
        # ceil(s) + 1 rows are what a new row is made of, at the most
        pixel = [-(-a // b) + 1 for a, b in zip(image.shape[:2], size, strict=True)]
        assert max(reader.values) <= max(most, pixel[0] * pixel[1] * image.shape[2])

    def test_window_reads_what_it_needs(self):
        reader = CountingReader(np.zeros((100, 100, 1), np.uint8))
        ResampledWindows(reader, (25, 200)).read(slice(2, 4), slice(50, 52))
        # rows 4 * 2 to 4 * 4; centres (50.5 / 2 - 0.5, 51.5 / 2 - 0.5) = 24.75, 25.25
        assert reader.windows == [(slice(8, 16), slice(24, 27))]

    def test_strong_shrinking_holds_little_and_reads_everything_about_once(self):
        huge = Checkered(6000, 8192)
        shown = ResampledWindows(huge, (100, 128), most_values=1 << 18).read(
            slice(0, 100), slice(0, 128)
        )
        assert (shown == 100).all()
        assert huge.largest <= 1 << 18
        assert huge.total == np.prod(huge.shape)  # 60 rows, 64 columns each: no pixel is in two

    def test_strong_enlarging_holds_little(self):
        reader = CountingReader(np.zeros((40, 40, 3), np.uint8))
        ResampledWindows(reader, (4000, 4000), most_values=1 << 16).read(
            slice(0, 1000), slice(0, 1000)
        )
        assert len(reader.windows) >= 1000 * 1000 * 3 / (1 << 16)

    @pytest.mark.parametrize("rows", [slice(-1, 3), slice(2, 9), slice(3, 3), slice(4, 2)])
    def test_rows_outside_are_refused(self, rows):
        resampled = ResampledWindows(CountingReader(np.zeros((9, 9, 1), np.uint8)), (5, 5))
        with pytest.raises(SizeError, match="is not within 5 rows or columns"):
            resampled.read(rows, slice(0, 5))
        with pytest.raises(SizeError, match="is not within 5 rows or columns"):
            resampled.read(slice(0, 5), rows)
