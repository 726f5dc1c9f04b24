"""Sizes of objects in masks."""

import numpy as np

from unetkit.metrics.objects import object_areas, object_sizes


def test_regions_of_each_class_are_objects():
    mask = np.zeros((10, 12), np.uint8)
    mask[1:4, 1:5] = 1  # 12 pixels
    mask[6:8, 6:8] = 1  # 4 pixels
    mask[4:6, 1:5] = 2  # 8 pixels, touching the first
    mask[9, :] = 3
    mask[0, :] = 255
    assert sorted(object_areas(mask, left_out=[0, 3, 255]).tolist()) == [4, 8, 12]


def test_a_mask_of_the_background_alone_has_no_objects():
    assert object_areas(np.zeros((3, 3), np.uint8), left_out=[0]).size == 0
    assert object_sizes(np.zeros(0, np.int64)).size == 0


def test_slips_of_the_pen_are_no_objects():
    assert object_sizes(np.array([10_000, 2_500, 199, 200])).tolist() == [100.0, 50.0, 200**0.5]
