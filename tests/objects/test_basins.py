"""Prominent peaks, by hand and by persistent homology."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import label
from skimage.morphology import diamond, local_maxima

from unetkit.objects.basins import HEIGHT_LEVELS, find_basins
from unetkit.objects.separation import ObjectRule, separation_maps

SMALL = arrays(np.int64, (7, 9), elements=st.integers(0, 9))
STEPS = st.integers(1, 5)


def basins(levels: np.ndarray, steps: int) -> np.ndarray:
    """Peaks of whole levels that rise by so many levels."""
    heights = (levels / HEIGHT_LEVELS).astype(np.float32) + np.float32(1e-4)
    return find_basins(heights, np.ones(levels.shape, bool), steps / HEIGHT_LEVELS)


def row(*levels: int) -> np.ndarray:
    return np.array([levels])


class TestByHand:
    def test_two_peaks_with_a_deep_pass(self):
        # 4 is 3 above the pass of 1; the pass belongs to neither
        assert basins(row(5, 3, 1, 2, 4), 3).tolist() == [[1, 1, 0, 2, 2]]

    def test_a_peak_that_does_not_stand_out_belongs_to_the_higher_one(self):
        assert basins(row(5, 3, 1, 2, 4), 4).tolist() == [[1, 1, 1, 1, 1]]

    def test_a_low_peak_alone_counts(self):
        assert basins(row(1, 1, 1), 9).tolist() == [[1, 1, 1]]

    def test_between_two_high_ones_a_low_one_is_given_up(self):
        found = basins(row(9, 2, 3, 2, 8), 2)
        assert (found[0, 0], found[0, 4]) == (1, 2)
        assert not found[0, 1:4].any()

    def test_of_two_equal_peaks_both_stay(self):
        assert len(np.unique(basins(row(6, 2, 6), 4))) == 3

    def test_peaks_are_looked_for_inside_alone(self):
        heights = np.float32([[0.9, 0.5, 0.9]])
        assert find_basins(heights, heights > 0.6, 0.1).tolist() == [[1, 0, 2]]
        assert not find_basins(heights, heights > 1, 0.1).any()

    def test_diagonals_do_not_connect(self):
        assert len(np.unique(basins(np.array([[5, 0], [0, 5]]), 5))) == 3


def count_persistent(levels: np.ndarray, steps: int) -> int:
    """Number of peaks that rise by `steps` above the pass where they meet a higher one.

    Pixels are added one by one, the highest first. Where two groups meet, the one with the lower
    peak ends there (persistent homology of dimension 0); the last one never does.
    """
    height, width = levels.shape
    group: dict[tuple[int, int], int] = {}
    peaks: list[int] = []
    count = 0
    for row, column in sorted(np.ndindex(height, width), key=lambda place: -levels[place]):
        beside = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        groups = sorted(
            {group[place] for place in beside if place in group}, key=lambda g: -peaks[g]
        )
        if not groups:
            groups = [len(peaks)]
            peaks.append(levels[row, column])
        group[row, column] = groups[0]
        for other in groups[1:]:
            count += peaks[other] - levels[row, column] >= steps
            group = {place: groups[0] if g == other else g for place, g in group.items()}
    return 1 + count


class TestPersistence:
    @given(levels=SMALL, steps=STEPS)
    def test_as_many_peaks_as_groups_that_last(self, levels, steps):
        found = basins(levels, steps)
        assert len(np.unique(found[found > 0])) == count_persistent(levels, steps)

    @given(levels=SMALL, steps=STEPS)
    def test_each_peak_is_a_local_maximum(self, levels, steps):
        found = basins(levels, steps)
        tops = label(local_maxima(levels, footprint=diamond(1)), connectivity=1)
        assume(tops.any())  # scikit-image has none in a plane
        for number in np.unique(found[found > 0]):
            here = found == number
            assert tops[here & (levels == levels[here].max())].any()

    @given(levels=SMALL, steps=STEPS)
    def test_two_numbers_never_meet(self, levels, steps):
        found = basins(levels, steps)
        for one, other in ((found[1:], found[:-1]), (found[:, 1:], found[:, :-1])):
            assert not ((one != other) & (one > 0) & (other > 0)).any()


class TestSmoothing:
    @pytest.mark.parametrize("method", ["border", "distance", "ridge"])
    def test_a_window_with_its_halo_has_the_maps_of_the_whole(self, method):
        rng = np.random.default_rng(0)
        scores = rng.random((60, 70, 3), np.float32)
        foreground = scores[..., 0] < 0.7
        rule = ObjectRule(method, 0.5, 0, 0, 0.1)
        whole = separation_maps(foreground, scores, rule, 0)
        window = slice(18, 42), slice(28, 52)
        part = separation_maps(foreground[window], scores[window], rule, 0)
        inner = slice(2, 22), slice(2, 22)
        expected = whole.window(slice(20, 40), slice(30, 50))
        assert np.array_equal(part.window(*inner).landscape, expected.landscape)
        assert np.array_equal(part.window(*inner).seeds, expected.seeds)

    def test_weights_are_1_4_6_4_1(self):
        scores = np.zeros((9, 9, 3), np.float32)
        scores[4, 4, 2] = 1  # the only distance
        maps = separation_maps(
            np.ones((9, 9), bool), scores, ObjectRule("distance", 0.5, 0, 0, 0.1), 0
        )
        expected = 1 - np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
        assert np.array_equal(maps.landscape[2:7, 2:7], expected.astype(np.float32))
