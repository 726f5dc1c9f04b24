"""Boundary IoU and distances, by hand and against erosion and brute force."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.data.scale import IGNORE
from unetkit.metrics.boundaries import (
    DISTANCES,
    boundary_counts,
    boundary_iou,
    boundary_width,
    distance_counts,
    distance_names,
)


def masks(seed, size, num_classes=3):
    """Two masks of blobs, of which the second resembles the first."""
    rng = np.random.default_rng(seed)
    noise = [cv2.GaussianBlur(rng.normal(size=size), (0, 0), 3) for _ in range(num_classes)]
    other = [n + 0.4 * cv2.GaussianBlur(rng.normal(size=size), (0, 0), 2) for n in noise]
    return tuple(np.argmax(some, axis=0).astype(np.uint8) for some in (noise, other))


def eroded_boundary(inside, width):
    """As Cheng et al. have it: the mask less its erosion, with a frame that is no mask."""
    framed = np.pad(inside, 1).astype(np.uint8)
    eroded = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=width)
    return inside & (eroded[1:-1, 1:-1] == 0)


@pytest.mark.parametrize("size", [(60, 80), (150, 100), (20, 20)])
def test_boundaries_are_those_of_erosion(size):
    truth, prediction = masks(sum(size), size)
    width = boundary_width(size)
    for index, (both, either) in enumerate(boundary_counts(truth, prediction, 3)):
        one, other = (eroded_boundary(mask == index, width) for mask in (truth, prediction))
        assert both == np.sum(one & other)
        assert either == np.sum(one | other)


def test_by_hand():
    # A square of 4x4 in a picture of 10x10: the diagonal is 14, 2 % of it round to 0, so width 1.
    truth = np.zeros((10, 10), np.uint8)
    truth[3:7, 3:7] = 1
    shifted = np.roll(truth, 1, axis=1)
    # The rings have 12 pixels each; of their top and bottom rows they share 3 pixels each.
    assert boundary_counts(truth, shifted, 2)[1].tolist() == [6, 18]
    assert boundary_iou(boundary_counts(truth, shifted, 2))[1] == pytest.approx(1 / 3)


def test_equal_masks_have_a_score_of_one_and_absent_classes_none():
    truth, _ = masks(1, (40, 50))
    scores = boundary_iou(boundary_counts(truth, truth, 4))
    assert scores[:3].tolist() == [1, 1, 1]
    assert np.isnan(scores[3])


def test_what_is_predicted_on_ignored_pixels_changes_nothing():
    truth, prediction = masks(2, (40, 50))
    truth[10:20, 10:30] = IGNORE
    other = prediction.copy()
    other[10:20, 10:30] = 2
    assert (boundary_counts(truth, prediction, 3) == boundary_counts(truth, other, 3)).all()
    assert (distance_counts(truth, prediction) == distance_counts(truth, other)).all()


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(3, 14), st.integers(3, 14))
def test_distances_are_those_of_brute_force(seed, height, width):
    truth, prediction = masks(seed, (height, width))
    truth[np.random.default_rng(seed).random(truth.shape) < 0.1] = IGNORE
    edge = np.zeros(truth.shape, bool)
    for row, column in np.ndindex(truth.shape):
        for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= r < height and 0 <= c < width:
                here, there = truth[row, column], truth[r, c]
                edge[row, column] |= IGNORE not in (here, there) and here != there
    expected = np.zeros((len(DISTANCES), 2), int)
    places = np.argwhere(edge)
    for row, column in np.ndindex(truth.shape):
        if len(places) and truth[row, column] != IGNORE:
            distance = np.sqrt(((places - (row, column)) ** 2).sum(1).min())
            number = max(i for i, start in enumerate(DISTANCES) if distance >= start)
            right = truth[row, column] == prediction[row, column]
            expected[number] += (1, right)
    assert distance_counts(truth, prediction).tolist() == expected.tolist()


def test_a_picture_of_one_class_has_no_boundary():
    plain = np.zeros((5, 5), np.uint8)
    assert not distance_counts(plain, plain).any()


def test_each_bin_has_a_name():
    assert len(distance_names()) == len(DISTANCES)
