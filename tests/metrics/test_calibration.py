"""Confidence and accuracy by bin, by hand and against an independent computation."""

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from unetkit.data.scale import IGNORE
from unetkit.errors import SizeError
from unetkit.metrics.calibration import (
    BINS,
    calibration_error,
    confidence_counts,
    fit_temperature,
    log_loss_sum,
)


def random_answers(seed, size=(9, 11), num_classes=3):
    rng = np.random.default_rng(seed)
    scores = rng.gamma(0.6, size=(*size, num_classes)).astype(np.float32) + 1e-6
    return rng.integers(0, num_classes, size), scores / scores.sum(-1, keepdims=True)


def test_by_hand():
    truth = np.array([[0, 1, 1, IGNORE]])
    probabilities = np.array([[[0.95, 0.05], [0.95, 0.05], [0.4, 0.6], [0.9, 0.1]]])
    counts = confidence_counts(truth, probabilities)
    # 0.95 * 15 = 14.25 -> bin 14, one right of two; 0.6 * 15 = 9 -> bin 9 (or 8 in binary), right
    assert counts[14] == pytest.approx([2, 1.9, 1])
    assert counts[8:10].sum(0) == pytest.approx([1, 0.6, 1])
    assert counts[:, 0].sum() == 3  # the ignored pixel is in no bin
    # |1 - 1.9| + |1 - 0.6| = 1.3, over three pixels
    assert calibration_error(counts) == pytest.approx(1.3 / 3)


@pytest.mark.parametrize("seed", range(5))
def test_the_error_is_that_of_a_loop_over_bins(seed):
    truth, probabilities = random_answers(seed)
    confidence, answer = probabilities.max(-1), probabilities.argmax(-1)
    expected = 0.0
    for number in range(BINS):
        inside = (confidence >= number / BINS) & (confidence < (number + 1) / BINS)
        if number == BINS - 1:
            inside |= confidence == 1
        if inside.any():
            gap = abs((answer == truth)[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap
    assert calibration_error(confidence_counts(truth, probabilities)) == pytest.approx(
        expected, abs=1e-6
    )


def test_a_sure_and_right_network_has_no_error():
    truth = np.array([[0, 1]])
    counts = confidence_counts(truth, np.eye(2)[truth])
    assert counts[BINS - 1].tolist() == [2, 2, 2]
    assert calibration_error(counts) == 0


@given(st.integers(0, 2**31), st.integers(0, 2**31))
def test_counts_of_two_pictures_add_up(one, other):
    pictures = [random_answers(seed, (4, 5)) for seed in (one, other)]
    both = [np.concatenate(pair) for pair in zip(*pictures, strict=True)]
    apart = sum(confidence_counts(*picture) for picture in pictures)
    assert confidence_counts(*both) == pytest.approx(apart)


def test_without_pixels_there_is_no_error():
    nothing = confidence_counts(np.full((2, 2), IGNORE), np.full((2, 2, 2), 0.5))
    assert np.isnan(calibration_error(nothing))


def test_other_sizes_are_refused():
    with pytest.raises(SizeError, match=r"truth is \(2, 2\) .* accepted are \(H, W\)"):
        confidence_counts(np.zeros((2, 2), int), np.zeros((2, 3, 2)))


@pytest.mark.parametrize("seed", range(3))
def test_the_log_loss_is_that_of_scikit_learn(seed):
    truth, probabilities = random_answers(seed)
    truth[0, :3] = IGNORE
    counted = truth != IGNORE
    total, pixels = log_loss_sum(truth, probabilities)
    expected = sklearn.metrics.log_loss(
        truth[counted], probabilities[counted].astype(float), labels=range(3)
    )
    assert pixels == counted.sum()
    assert total / pixels == pytest.approx(expected, rel=1e-6)


class TestTemperature:
    @pytest.mark.parametrize("true_temperature", [0.4, 1.0, 2.5])
    def test_is_the_minimum_that_scipy_finds(self, true_temperature):
        rng = np.random.default_rng(3)
        z = rng.normal(0, 3, (4000, 4))
        powers = np.exp(z / true_temperature)
        powers /= powers.sum(-1, keepdims=True)
        truth = np.array([rng.choice(4, p=p) for p in powers])

        def loss(t):
            logs = scipy.special.log_softmax(z / t, axis=-1)
            return -logs[np.arange(len(z)), truth].mean()

        best = scipy.optimize.minimize_scalar(loss, bounds=(0.05, 20), method="bounded")
        found = fit_temperature(z, truth, (0.05, 20))
        assert found == pytest.approx(best.x, rel=1e-3)
        assert found == pytest.approx(true_temperature, rel=0.1)

    def test_stays_within_its_limits(self):
        z = np.array([[2.0, 0.0]] * 3)
        assert fit_temperature(z, np.array([0, 0, 0]), (0.1, 10)) == pytest.approx(0.1)
        assert fit_temperature(z, np.array([1, 1, 1]), (0.1, 10)) == pytest.approx(10)
        assert fit_temperature(np.zeros((0, 2)), np.zeros(0), (0.1, 10)) == 1
