"""Outlines of regions: filled again by another program, the labels come back."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from unetkit.errors import SizeError
from unetkit.objects.outlines import find_regions, simplify

SMALL = arrays.arrays(
    np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2)
)


def regions_of(labels, skipped=(), band_rows=100):
    def read(rows, columns):
        return labels[rows, columns]

    return list(find_regions(read, labels.shape, skipped, band_rows=band_rows))


def polygon(region):
    return shapely.Polygon(region.outer[:, ::-1], [hole[:, ::-1] for hole in region.holes])


def filled(regions, shape, empty=-1):
    """Labels at the centres of pixels, by shapely."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    labels = np.full(shape, empty)
    for region in regions:
        inside = shapely.contains_xy(polygon(region), columns, rows)
        assert (labels[inside] == empty).all()  # regions do not overlap
        labels[inside] = region.label
    return labels


@settings(max_examples=300)
@given(SMALL, st.integers(1, 4))
def test_filled_outlines_give_the_labels_back(labels, band_rows):
    regions = regions_of(labels, band_rows=band_rows)
    assert np.array_equal(filled(regions, labels.shape), labels)
    for region in regions:
        shape = polygon(region)
        assert shape.is_valid
        assert shape.exterior.is_ccw  # in x and y as they are, whose y goes down in images
        assert not any(hole.is_ccw for hole in shape.interiors)
        outside = np.pad(filled([region], labels.shape) < 0, 1, constant_values=True)
        assert shape.area == (~outside).sum()
        assert len(region.holes) == ndimage.label(outside)[1] - 1
    for label in range(3):  # connected by their sides
        count = sum(region.label == label for region in regions)
        assert count == ndimage.label(labels == label)[1]


@settings(max_examples=50)
@given(SMALL)
def test_bands_of_rows_change_nothing(labels):
    whole = regions_of(labels, {0})
    for band_rows in (1, 2, len(labels), len(labels) + 1):
        again = regions_of(labels, {0}, band_rows)
        assert [one.label for one in again] == [one.label for one in whole]
        for one, other in zip(again, whole, strict=True):
            assert all(map(np.array_equal, one.rings, other.rings))


def test_a_ring_in_a_hole_is_a_region_of_its_own():
    labels = np.zeros((7, 7), np.int64)
    labels[:] = 1
    labels[1:6, 1:6] = 0
    labels[2:5, 2:5] = 1
    labels[3, 3] = 0
    outer, inner = regions_of(labels, {0})
    assert outer.outer.tolist() == [[0, 0], [0, 7], [7, 7], [7, 0]]
    assert [len(outer.holes), len(inner.holes)] == [1, 1]
    assert inner.holes[0].tolist() == [[4, 3], [4, 4], [3, 4], [3, 3]]


def test_pixels_that_touch_at_a_corner_are_two_regions():
    assert len(regions_of(np.eye(2, dtype=np.int64), {0})) == 2


def test_skipped_labels_have_no_regions():
    labels = np.array([[0, 1, 255]])
    assert [region.label for region in regions_of(labels, {0, 255})] == [1]


def test_outlines_that_need_more_memory_are_refused():
    labels = np.indices((40, 40)).sum(axis=0) % 2
    with pytest.raises(SizeError, match=r"40x40 pixels have more than .* allow more with --memory"):
        list(find_regions(lambda r, c: labels[r, c], (40, 40), (), band_rows=10, most_bytes=9000))


@settings(max_examples=200)
@given(SMALL, st.sampled_from([0.5, 0.71, 1.0, 2.5]))
def test_a_simplified_outline_stays_within_the_bound(labels, bound):
    for region in regions_of(labels, {0}):
        for ring in region.rings:
            kept = simplify(ring, bound)
            assert 3 <= len(kept) <= len(ring)
            one, other = (shapely.LinearRing(points) for points in (ring, kept))
            assert shapely.hausdorff_distance(one, other, densify=0.02) <= bound + 1e-9
            assert {tuple(point) for point in kept} <= {tuple(point) for point in ring}


def test_a_diagonal_becomes_a_line():
    steps = np.tril(np.ones((50, 50), np.int64))
    (region,) = regions_of(steps, {0})
    assert len(region.outer) == 102
    assert len(simplify(region.outer, 0.75)) < 6


def test_without_a_bound_nothing_is_left_out():
    (region,) = regions_of(np.ones((2, 3), np.int64))
    assert simplify(region.outer, 0) is region.outer
