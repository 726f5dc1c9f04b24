"""Intervals from images drawn anew, against SciPy's bootstrap and against theory."""

import numpy as np
import pytest
import scipy.stats

from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.metrics.bootstrap import (
    RESAMPLES,
    draws_of_means,
    draws_of_metrics,
    flatten,
    interval,
    intervals,
    resampled_sums,
)
from unetkit.metrics.confusion import compute_metrics, mean_over_images, pixel_accuracy


@pytest.fixture
def counts():
    return np.random.default_rng(3).integers(0, 400, (40, 3, 3))


def measure(matrix):
    return compute_metrics(matrix, TRIMAP_CLASSES)


def test_the_interval_of_a_ratio_is_that_of_scipy(counts):
    def iou(places):
        total = counts[places].sum(0)
        return measure(total)["mean_iou"]

    low, high = interval(draws_of_metrics(counts, measure)["mean_iou",])
    oracle = scipy.stats.bootstrap(
        (np.arange(len(counts)),),
        iou,
        n_resamples=RESAMPLES,
        method="percentile",
        vectorized=False,
        rng=np.random.default_rng(5),
    ).confidence_interval
    width = oracle.high - oracle.low
    assert low == pytest.approx(oracle.low, abs=0.1 * width)
    assert high == pytest.approx(oracle.high, abs=0.1 * width)


def test_the_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(0).normal(size=400)
    low, high = interval(resampled_sums(values) / len(values))
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert (high - low) / 2 == pytest.approx(half, rel=0.08)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=0.1 * half)


def test_about_95_of_100_intervals_cover_the_truth():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        sample = rng.exponential(size=60)
        low, high = interval(resampled_sums(sample) / len(sample))
        covered += low <= 1 <= high
    assert 175 <= covered <= 198  # 190 are expected; the percentile method is a little narrow


def test_the_same_images_are_drawn_for_all_counts_of_a_set():
    values = np.random.default_rng(2).normal(size=30)
    assert (resampled_sums(values) == resampled_sums(values)).all()
    assert resampled_sums(values + 1) == pytest.approx(resampled_sums(values) + 30)


def test_means_over_images_leave_out_images_without_the_figure(counts):
    counts[:10, 0] = counts[:10, :, 0] = 0  # the first class is in 30 images only
    draws = draws_of_means(counts, measure)
    expected = mean_over_images(list(counts), measure)["iou"]["pet"]
    low, high = interval(draws["iou", "pet"])
    assert low < expected < high
    assert draws["iou", "pet"].mean() == pytest.approx(expected, abs=0.01)


def test_draws_without_a_class_are_no_draws_of_the_mean_over_classes():
    counts = np.zeros((30, 3, 3))
    counts[:, 1, 1] = 90
    counts[:, 1, 0] = 10
    counts[:, 0, 0] = 40
    counts[:2, 2] = (0, 30, 10)  # the border in two images, badly: 13 % of draws have neither
    draws = draws_of_metrics(counts, measure)
    lost = np.isnan(draws["iou", "border"])
    assert 0.05 < lost.mean() < 0.25
    assert (np.isnan(draws["mean_iou",]) == lost).all()
    whole = measure(counts.sum(0))["mean_iou"]
    low, high = interval(draws["mean_iou",])
    assert low <= whole <= high < whole + 0.05  # not the mean of the two good classes


def test_a_figure_that_rests_on_one_image_has_no_interval(counts):
    counts[1:, 2] = counts[1:, :, 2] = 0
    for draws in (draws_of_metrics(counts, measure), draws_of_means(counts, measure)):
        assert np.isnan(interval(draws["iou", "border"])).all()
        assert not np.isnan(interval(draws["iou", "pet"])).any()


def test_a_figure_that_never_exists_has_no_interval():
    counts = np.zeros((5, 3, 3))
    counts[:, 1, 1] = 7
    nested = intervals(draws_of_metrics(counts, measure))
    assert np.isnan(nested["iou"]["pet"]).all()
    assert nested["iou"]["background"] == [1, 1]
    assert nested.keys() == measure(counts[0]).keys()


def test_images_that_are_alike_leave_no_doubt():
    counts = np.repeat(np.array([[[5, 1], [2, 9]]]), 12, axis=0)
    draws = draws_of_metrics(counts, lambda matrices: {"accuracy": pixel_accuracy(matrices)})
    assert interval(draws["accuracy",]) == pytest.approx((14 / 17, 14 / 17))


def test_nested_figures_are_flat_by_their_path():
    assert list(flatten(measure(np.ones((3, 3), int))))[:4] == [
        ("pixel_accuracy",),
        ("mean_iou",),
        ("mean_dice",),
        ("iou", "pet"),
    ]
