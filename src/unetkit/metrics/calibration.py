"""Calibration: confidence compared with the fraction of pixels that are correct.

The confidence of a pixel is the probability of its predicted class. Of pixels with a confidence of
80 %, 80 % should be correct. Pixels are counted by bins of confidence for each image, so that the
counts of any set of images can be summed.

A network that is too sure, or not sure enough, is calibrated by one number: its log-probabilities
are divided by a temperature, which leaves the order of the classes as it is.
"""

from typing import Any

import numpy as np

from unetkit.data.scale import IGNORE
from unetkit.errors import SizeError
from unetkit.metrics.confusion import divide, to_scalar

LEAST_PROBABILITY = 1e-12  # of which a logarithm is taken
BISECTIONS = 40
BINS = 15  # number of bins of equal width in [0, 1], as in Guo et al.


def confidence_counts(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Counts pixels, sums their confidence and counts correct pixels, by bin of confidence.

    Args:
        truth: Class indices in [0, K), or IGNORE, (H, W).
        probabilities: Probability of each class, (H, W, K) float32, with sum 1 over the classes.

    Returns:
        (BINS, 3) float64: number of pixels, sum of their confidences, number of correct pixels.
        Ignored pixels are left out.

    Raises:
        SizeError: The sizes differ.

    >>> counts = confidence_counts(np.array([[0, 1]]), np.array([[[0.7, 0.3], [0.7, 0.3]]]))
    >>> counts[10].round(6)
    array([2. , 1.4, 1. ])
    """
    if truth.shape != probabilities.shape[:2]:
        raise SizeError(
            f"truth is {truth.shape} and probabilities {probabilities.shape}; accepted are (H, W) "
            "and (H, W, K) of one size"
        )
    counted = truth != IGNORE
    # The largest of few classes is found many times as fast plane by plane as pixel by pixel.
    planes = np.ascontiguousarray(np.moveaxis(probabilities, -1, 0))
    confidence = planes.max(0)[counted].astype(np.float64)
    correct = probabilities.argmax(-1)[counted] == truth[counted]
    bins = np.clip((confidence * BINS).astype(np.int64), 0, BINS - 1)
    columns = [np.bincount(bins, weights, BINS) for weights in (None, confidence, correct)]
    return np.stack(columns, axis=-1).astype(np.float64)


def log_loss_sum(truth: np.ndarray, probabilities: np.ndarray) -> tuple[float, int]:
    """Sums the negative log-likelihood of the true classes.

        -sum_i log p_i(truth_i)

    Args:
        truth: Class indices in [0, K), or IGNORE, (H, W).
        probabilities: Probability of each class, (H, W, K) float32.

    Returns:
        The sum in nats, and the number of pixels, without ignored ones.

    >>> total, pixels = log_loss_sum(np.array([[0, 255]]), np.array([[[0.5, 0.5], [1.0, 0.0]]]))
    >>> round(total, 4), pixels
    (0.6931, 1)
    """
    counted = truth != IGNORE
    index = np.where(counted, truth, 0)[..., None].astype(np.intp)
    true = np.take_along_axis(probabilities, index, axis=-1)[..., 0][counted]
    return float(-np.log(np.maximum(true, LEAST_PROBABILITY)).sum(dtype=np.float64)), true.size


def fit_temperature(
    log_probabilities: np.ndarray, truth: np.ndarray, limits: tuple[float, float]
) -> float:
    """Finds the temperature with the smallest negative log-likelihood.

        T = argmin_T -sum_i log softmax(z_i / T)(truth_i)

    It is convex in b = 1 / T, and its derivative is the sum of the expected z under softmax(b z),
    less the z of the true class: b is found by bisection.

    Args:
        log_probabilities: Logits or log-probabilities z, (N, K) floats.
        truth: Class indices, (N,) integers in [0, K).
        limits: Smallest and largest temperature.

    Returns:
        The temperature; 1 without pixels.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2.

    >>> z = np.log([[0.9, 0.1]] * 4)  # as sure as 9 of 10, and right in 3 of 4: 9 ** (1 / T) is 3
    >>> round(fit_temperature(z, np.array([0, 0, 0, 1]), (0.1, 10)), 3)
    2.0
    """
    if not len(truth):
        return 1.0
    z = log_probabilities - log_probabilities.max(-1, keepdims=True)
    true = float(np.take_along_axis(z, truth[:, None].astype(np.intp), axis=-1).sum())
    low, high = 1 / limits[1], 1 / limits[0]
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        powers = np.exp(middle * z)
        expected = float(((powers * z).sum(-1) / powers.sum(-1)).sum())
        if expected > true:
            high = middle
        else:
            low = middle
    return 2 / (low + high)


def calibration_error(counts: np.ndarray) -> Any:
    """Expected calibration error (ECE): mean difference between confidence and accuracy.

        ECE = sum_b |correct_b - confidence_b| / sum_b pixels_b

    Args:
        counts: Counts of `confidence_counts`, summed over images, (BINS, 3); or many such sums,
            (..., BINS, 3).

    Returns:
        A float in [0, 1], lower is better; nan without pixels. An array (...) for many sums.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.

    >>> calibration_error(np.array([[10, 9.0, 6], [0, 0, 0]]))
    0.3
    """
    gaps = np.abs(counts[..., 2] - counts[..., 1]).sum(-1)
    return to_scalar(divide(gaps, counts[..., 0].sum(-1)))
