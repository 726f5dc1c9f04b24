"""Metrics of objects by hand, and against brute force."""

import math

import numpy as np
import pytest
import tifffile
from ctc_metrics.metrics.technical.seg import seg
from ctc_metrics.utils.representations import match
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import entropy
from skimage.measure import label
from skimage.metrics import adapted_rand_error, variation_of_information

from unetkit.metrics.instances import (
    COUNTS,
    LARGEST_IN_TABLE,
    THRESHOLDS,
    count_objects,
    find_overlaps,
    object_metrics,
    rand_scores,
)


def counts_of(truth, found):
    return count_objects(find_overlaps(np.array(truth), np.array(found)))


def brute_force(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """All scores by their definitions, with loops over objects."""
    trues = [truth == number for number in np.unique(truth[truth > 0])]
    founds = [found == number for number in np.unique(found[found > 0])]
    iou = np.array([[(t & f).sum() / (t | f).sum() for f in founds] for t in trues])
    iou = iou.reshape(len(trues), len(founds))
    f1, precision = [], []
    for threshold in THRESHOLDS:
        hit = sum(bool((row > threshold).any()) for row in iou)
        missed, invented = len(trues) - hit, len(founds) - hit
        f1.append(2 * hit / (2 * hit + missed + invented))
        precision.append(hit / (hit + missed + invented))
    pairs = iou[iou > 0.5]
    unmatched = len(trues) + len(founds) - 2 * len(pairs)
    seg = [
        next((iou[i, j] for j, f in enumerate(founds) if (t & f).sum() > t.sum() / 2), 0.0)
        for i, t in enumerate(trues)
    ]
    return {
        "f1": f1[0],
        "mean_f1": np.mean(f1),
        "average_precision": precision[0],
        "mean_average_precision": np.mean(precision),
        "panoptic_quality": pairs.sum() / (len(pairs) + unmatched / 2),
        "seg": np.mean(seg) if seg else math.nan,
    }


def regions(seed: int, smoothness: float) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(24, 30))
    return label(ndimage.gaussian_filter(noise, smoothness) > 0, connectivity=1)


@given(seed=st.integers(0, 10**6), smoothness=st.floats(0.8, 2.5), moved=st.integers(0, 4))
@settings(max_examples=50, derandomize=True)
def test_against_brute_force(seed, smoothness, moved):
    truth = regions(seed, smoothness)
    found = np.roll(truth, moved, axis=1) * (regions(seed + 1, 3) > 0)
    if truth.any() or found.any():
        metrics = object_metrics(counts_of(truth, found))
        assert metrics == pytest.approx(brute_force(truth, found), nan_ok=True)


@pytest.mark.parametrize("seed", range(8))
def test_seg_is_that_of_the_cell_tracking_challenge_s_tool(seed, tmp_path):
    images = [(regions(seed + 8 * part, 2.0), regions(seed + 8 * part + 4, 1.5)) for part in (0, 1)]
    images = [(truth, np.where(truth > 0, truth, other) % 7) for truth, other in images]
    labels, overlaps = [], []
    for part, (truth, found) in enumerate(images):
        paths = [tmp_path / f"{name}{part}.tif" for name in ("truth", "found")]
        for path, objects in zip(paths, (truth, found), strict=True):
            tifffile.imwrite(path, objects.astype(np.uint16))
        numbers, _, _, _, iou = match(*map(str, paths))
        labels.append(numbers)
        overlaps.append(iou)
    total = sum(counts_of(truth, found) for truth, found in images)
    assert 0.1 < object_metrics(total)["seg"] < 0.95
    assert object_metrics(total)["seg"] == pytest.approx(seg(labels, overlaps))


def test_ctc_seg_by_hand():
    # IoU of 2 / 3 for the first; exactly half of the second is found, which is not more than half
    truth = [[1, 1, 1, 0, 2, 2]]
    found = [[5, 5, 0, 0, 9, 0]]
    assert object_metrics(counts_of(truth, found))["seg"] == pytest.approx(1 / 3)


def test_merged_split_missed_and_invented():
    truth = [[1, 1, 0, 2, 2, 0, 3, 3, 3, 3, 0, 4, 0, 0]]
    found = [[1, 1, 1, 1, 1, 0, 2, 2, 3, 3, 0, 0, 0, 7]]
    counts = dict(zip(COUNTS, counts_of(truth, found), strict=True))
    found = {name: counts[name] for name in ("merged", "split", "missed", "invented")}
    # objects 3 and 4 are missed: neither part has more than half of object 3
    assert found == {"merged": 1, "split": 1, "missed": 2, "invented": 1}


@pytest.mark.parametrize("largest", [LARGEST_IN_TABLE, LARGEST_IN_TABLE + 1, 2**31 - 1])
def test_large_numbers(largest):
    truth, found = np.array([[0, largest, 3, -1]]), np.array([[largest, largest, 0, 7]])
    overlaps = find_overlaps(truth, found)
    assert overlaps.true_areas.tolist() == [1, 1]
    assert overlaps.found_areas.tolist() == [1, 2]
    pairs = zip(overlaps.true, overlaps.found, overlaps.areas, strict=True)
    assert list(pairs) == [(1, 1, 1)]


def test_numbers_do_not_matter():
    truth = np.array([[0, 70000, 70000, 3]])
    metrics = object_metrics(counts_of(truth, [[0, 1, 1, 2]]))
    assert {float(value) for value in metrics.values()} == {1.0}


def test_images_add_up():
    one, other = counts_of([[1, 1, 0]], [[1, 1, 0]]), counts_of([[1, 0, 2]], [[0, 0, 2]])
    total = one + other
    assert total[:2].tolist() == [3, 2]
    assert object_metrics(total)["f1"] == pytest.approx(4 / 5)
    assert object_metrics(total)["seg"] == pytest.approx(2 / 3)


def test_nothing_there_and_nothing_found_is_undefined():
    assert all(math.isnan(value) for value in object_metrics(counts_of([[0]], [[0]])).values())
    invented = object_metrics(counts_of([[0]], [[1]]))
    assert invented["f1"] == 0
    assert math.isnan(invented["seg"])


class TestRandScores:
    @given(seed=st.integers(0, 10**6), smoothness=st.floats(0.8, 2.5), moved=st.integers(0, 5))
    @settings(max_examples=30, derandomize=True)
    def test_against_scikit_image(self, seed, smoothness, moved):
        """Of regions without gaps, so that nothing is grown."""
        truth = regions(seed, smoothness)
        found = label(np.roll(regions(seed + 1, smoothness), moved, axis=0) + 1, background=-1)
        if not truth.any():
            return
        rand, info = rand_scores(truth, found)
        inside = truth > 0
        given_found, given_truth = variation_of_information(found[inside], truth[inside])
        entropies = [
            entropy(np.unique(labels[inside], return_counts=True)[1], base=2)
            for labels in (found, truth)
        ]
        mutual = entropies[1] - given_found
        assert mutual == pytest.approx(entropies[0] - given_truth, abs=1e-9)
        if sum(entropies):
            assert info == pytest.approx(2 * mutual / sum(entropies), abs=1e-9)
        error, *_ = adapted_rand_error(truth, found, ignore_labels=(0,))
        assert rand == pytest.approx(1 - error, abs=0.02)  # it counts pairs of different pixels

    def test_membranes_are_not_scored(self):
        truth = np.zeros((20, 31), int)
        truth[:, :14], truth[:, 17:] = 1, 2
        thick = np.where(np.abs(np.arange(31) - 15) < 6, 0, truth)
        assert rand_scores(truth, thick) == (1.0, 1.0)

    def test_a_merger_by_hand(self):
        truth = np.repeat([[1, 2]], 5, axis=1)
        # p = (1/2, 1/2), t = (1/2, 1/2), s = 1: V_Rand = 1/2 / (1/4 + 1/2), and no information
        rand, info = rand_scores(truth, np.ones((1, 10), int))
        assert rand == pytest.approx(2 / 3)
        assert info == pytest.approx(0)

    def test_without_objects(self):
        assert all(math.isnan(value) for value in rand_scores(np.zeros((3, 3)), np.ones((3, 3))))
        assert rand_scores(np.ones((3, 3), int), np.zeros((3, 3), int)) == (0, 0)
        assert rand_scores(np.ones((3, 3), int), np.full((3, 3), 5)) == (1, 1)
