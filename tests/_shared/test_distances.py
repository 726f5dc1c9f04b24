"""Distances are exact, wherever in memory an array begins."""

import numpy as np
from scipy.ndimage import distance_transform_edt

from unetkit._shared.distances import squared_distances


def test_they_are_exact_wherever_an_array_begins():
    rng = np.random.default_rng(5)
    for _ in range(100):
        height, width = rng.integers(2, 200, 2)
        inside = rng.random((height, width)) < 0.98
        inside[rng.integers(height), rng.integers(width)] = False
        expected = np.rint(distance_transform_edt(inside) ** 2)
        for offset in (0, 1, 8, 17):
            memory = np.zeros(inside.size + offset, bool)
            placed = memory[offset:].reshape(inside.shape)
            placed[:] = inside
            assert np.array_equal(squared_distances(placed), expected)


def test_far_pixels_are_exact():
    inside = np.ones((1001, 1001), bool)
    inside[0, 0] = False
    rows, columns = np.indices(inside.shape)
    assert np.array_equal(squared_distances(inside), rows**2 + columns**2)
