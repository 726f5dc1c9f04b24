"""The watershed is that of scikit-image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import watershed

from unetkit.objects.flooding import flood


def landscape(seed: int, size: tuple[int, int], smoothness: float) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=size)
    return ndimage.gaussian_filter(noise, smoothness).astype(np.float32)


@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    smoothness=st.floats(0, 3),
    seeded=st.floats(0.02, 0.5),
    inner=st.floats(0.5, 1),
)
@settings(max_examples=60, derandomize=True)
def test_it_is_that_of_scikit_image(seed, size, smoothness, seeded, inner):
    heights = landscape(seed, size, smoothness)
    inside = heights <= np.quantile(heights, inner)
    seeds, _ = ndimage.label(heights <= np.quantile(heights, seeded))
    expected = watershed(heights, seeds, mask=inside, connectivity=2)
    assert np.array_equal(flood(seeds, heights, inside), expected)


@pytest.mark.parametrize("order", [1, -1])
def test_on_a_plateau_seeds_meet_in_the_middle(order):
    seeds = np.zeros((9, 21), int)
    seeds[4, 2], seeds[4, 18] = (1, 2)[::order]
    found = flood(seeds, np.zeros(seeds.shape, np.float32), np.ones(seeds.shape, bool))
    assert (found[:, :10] == seeds[4, 2]).all()
    assert (found[:, 11:] == seeds[4, 18]).all()


def test_what_no_seed_reaches_stays_empty():
    inside = np.ones((5, 7), bool)
    inside[:, 3] = False
    seeds = np.zeros(inside.shape, int)
    seeds[2, 1] = 7
    found = flood(seeds, np.zeros(inside.shape, np.float32), inside)
    assert (found[:, :3] == 7).all()
    assert (found[:, 3:] == 0).all()
