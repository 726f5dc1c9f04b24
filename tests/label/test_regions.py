"""Regions of similar colour, compared with scikit-image."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label

from unetkit.errors import DataError
from unetkit.label.regions import runs_of, similar_region


def filled(shape, runs):
    region = np.zeros(shape, bool)
    for first, count in runs.tolist():
        region.reshape(-1)[first : first + count] = True
    return region


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(0, 60), st.integers(1, 3))
def test_a_region_is_the_component_of_pixels_that_differ_little(seed, tolerance, kinds):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 120, (9, 13, 3), np.uint8)
    mask = rng.integers(0, kinds, (9, 13)).astype(np.uint8)
    row, column = rng.integers(0, 9), rng.integers(0, 13)
    near = (abs(image.astype(int) - image[row, column]) <= tolerance).all(axis=2)
    components = label(near & (mask == mask[row, column]), connectivity=1)
    expected = components == components[row, column]
    found = similar_region(image, mask, int(row), int(column), tolerance)
    assert np.array_equal(filled(mask.shape, found), expected)


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_runs_cover_what_is_set_and_do_not_touch(pixels):
    region = np.array(pixels)[None]
    found = runs_of(region)
    assert np.array_equal(filled(region.shape, found), region)
    assert all(a[0] + a[1] < b[0] for a, b in pairwise(found))


def test_the_image_stays_as_it_is():
    image = np.zeros((4, 4, 1), np.uint8)
    similar_region(image, np.zeros((4, 4), np.uint8), 0, 0, 9)
    assert not image.any()


@pytest.mark.parametrize("place", [(4, 0, 1), (0, 4, 1), (-1, 0, 1), (0, 0, 256), (0, 0, -1)])
def test_what_is_outside_is_refused(place):
    with pytest.raises(DataError, match="accepted are pixels of 4x4"):
        similar_region(np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4), np.uint8), *place)
