"""Measures are those of scikit-image."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label, regionprops

from unetkit.datasets.synthetic_cells import synthetic_cells
from unetkit.objects.measures import measure_objects


def assert_equal_measures(objects: np.ndarray, pixels: np.ndarray) -> int:
    found = measure_objects(objects, pixels, (100, 7))
    expected = regionprops(objects, pixels)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.area == other.area
        row, column = other.centroid
        assert one.centroid == pytest.approx((row + 100, column + 7))
        top, left, bottom, right = other.bbox
        assert one.box == (top + 100, left + 7, bottom + 100, right + 7)
        assert one.perimeter == pytest.approx(other.perimeter)
        assert one.major_axis == pytest.approx(other.axis_major_length, abs=1e-6)
        assert one.minor_axis == pytest.approx(other.axis_minor_length, abs=1e-6)
        if one.major_axis - one.minor_axis > 1e-6:  # a circle has no direction
            turned = abs(one.orientation - other.orientation)
            assert min(turned, math.pi - turned) == pytest.approx(0, abs=1e-6)
        assert one.means == pytest.approx(np.atleast_1d(other.intensity_mean), rel=1e-5)
        inside = objects == other.label
        assert one.sums == pytest.approx(pixels[inside].sum(axis=0, dtype=float))
    return len(found)


@given(seed=st.integers(0, 10**6), channels=st.integers(1, 4), smoothness=st.floats(0, 2.5))
@settings(max_examples=40, derandomize=True)
def test_of_regions_of_noise(seed, channels, smoothness):
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.normal(size=(25, 31)), smoothness) > 0
    pixels = rng.integers(0, 65535, (*image.shape, channels), dtype=np.uint16)
    assert_equal_measures(label(image), pixels)


def test_of_cells():
    image, objects = synthetic_cells(1)
    assert assert_equal_measures(objects.astype(int), image[..., None]) > 40


def test_sums_of_16_bits_do_not_overflow():
    (found,) = measure_objects(np.ones((300, 300), int), np.full((300, 300, 1), 65535, np.uint16))
    assert (found.means, found.sums) == ((65535.0,), (65535.0 * 90_000,))


@pytest.mark.parametrize(
    ("box", "major"), [((slice(2, 9), slice(3, 6)), 0.0), ((slice(2, 5), slice(1, 9)), math.pi / 2)]
)
def test_orientation_is_measured_from_the_rows_direction(box, major):
    objects = np.zeros((10, 10), int)
    objects[box] = 1
    (found,) = measure_objects(objects, np.zeros((10, 10, 1)))
    assert abs(found.orientation) == pytest.approx(major)


def test_nothing_is_measured_where_nothing_is():
    assert measure_objects(np.zeros((3, 3), int), np.zeros((3, 3, 1))) == []
