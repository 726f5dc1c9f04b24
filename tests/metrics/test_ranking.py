"""ROC AUC and average precision of probabilities counted by bins, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from unetkit.data.scale import IGNORE
from unetkit.errors import SizeError
from unetkit.metrics.ranking import (
    PROBABILITY_BINS,
    average_precision,
    ranking_counts,
    ranking_metrics,
    roc_auc,
)


def scene(seed, *, num_classes=3, sharpness=1.0, size=(60, 70)):
    """Classes, some of them ignored, and probabilities that are right more often than not."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(
        num_classes, size, p=np.arange(1, num_classes + 1) / sum(range(1, 1 + num_classes))
    )
    logits = rng.normal(0, 1, (*size, num_classes)) + 1.2 * np.eye(num_classes)[truth]
    logits = (sharpness * logits).astype(np.float32)
    scores = np.exp(logits - logits.max(-1, keepdims=True))
    truth = truth.astype(np.uint8)
    truth[rng.random(size) < 0.1] = IGNORE
    return truth, (scores / scores.sum(-1, keepdims=True)).astype(np.float32)


def of_sklearn(truths, scores, index):
    known = truths != IGNORE
    is_class, p = truths[known] == index, scores[known][:, index]
    return roc_auc_score(is_class, p), average_precision_score(is_class, p)


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 6.0, 30.0])
def test_values_are_those_of_scikit_learn_within_the_stated_error(sharpness):
    scenes = [scene(seed, sharpness=sharpness) for seed in range(3)]
    counts = sum(ranking_counts(*one) for one in scenes)
    truths = np.concatenate([truth.ravel() for truth, _ in scenes])
    scores = np.concatenate([p.reshape(-1, 3) for _, p in scenes])
    for measure, place in ((roc_auc, 0), (average_precision, 1)):
        values, errors = measure(counts)
        assert (errors < (0.1 if sharpness > 20 else 0.006)).all()  # 1e-20 and 1e-30 are one bin
        for index in range(3):
            expected = of_sklearn(truths, scores, index)[place]
            assert abs(values[index] - expected) <= errors[index] + 1e-12


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.0, 1e-30, 0.2, 0.2001, 0.5, 0.999, 1.0])),
        min_size=2,
        max_size=40,
    )
)
def test_the_error_holds_for_ties_zeros_and_ones(pixels):
    truth = np.array([[is_class for is_class, _ in pixels]], np.uint8)
    p = np.array([p for _, p in pixels], np.float32)
    counts = ranking_counts(truth, np.stack([1 - p, p], axis=-1)[None])
    if len(set(truth.ravel().tolist())) == 1:
        assert np.isnan(roc_auc(counts)[0]).all()
        assert np.isnan(average_precision(counts)[0]).all()
        return
    for measure, oracle in (
        (roc_auc, roc_auc_score),
        (average_precision, average_precision_score),
    ):
        values, errors = measure(counts)
        expected = oracle(truth.ravel(), p)
        assert abs(values[1] - expected) <= errors[1] + 1e-9


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=2, max_size=30), st.data())
def test_no_order_within_the_bins_leaves_the_stated_error(pixels, data):
    """Pixels are counted in three bins; their true order within a bin is any."""
    counts = np.zeros((1, 5, 2), np.int64)  # none have exactly 0 or 1
    for is_class, place in pixels:
        counts[0, place + 1, int(is_class)] += 1
    if not counts.sum(1).all():
        return
    within = data.draw(st.permutations(range(len(pixels))))
    scores = [place + order / 100 for (_, place), order in zip(pixels, within, strict=True)]
    for measure, oracle in (
        (roc_auc, roc_auc_score),
        (average_precision, average_precision_score),
    ):
        values, errors = measure(counts)
        expected = oracle([is_class for is_class, _ in pixels], scores)
        assert abs(values[0] - expected) <= errors[0] + 1e-12


def test_counts_have_a_fixed_size_and_leave_ignored_pixels_out():
    truth, p = scene(0)
    counts = ranking_counts(truth, p)
    assert counts.shape == (3, PROBABILITY_BINS, 2)
    assert (counts.sum((1, 2)) == np.count_nonzero(truth != IGNORE)).all()


def test_a_class_without_pixels_has_no_value_and_is_in_no_mean():
    truth, p = scene(0, num_classes=3)
    truth[truth == 0] = IGNORE
    found = ranking_metrics(ranking_counts(truth, p), ("a", "b", "c"))
    for metric in found.values():
        assert np.isnan(metric["classes"]["a"])
        assert metric["mean"] == pytest.approx(
            (metric["classes"]["b"] + metric["classes"]["c"]) / 2
        )
        assert 0 <= metric["error"] < 0.002


def test_other_sizes_are_refused():
    with pytest.raises(SizeError, match=r"truth is \(2, 3\) and probabilities \(3, 2, 2\)"):
        ranking_counts(np.zeros((2, 3), np.uint8), np.zeros((3, 2, 2), np.float32))
