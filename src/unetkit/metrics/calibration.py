"""Calibration: confidence compared with the fraction of pixels that are correct.

The confidence of a pixel is the probability of its predicted class. Of pixels with a confidence of
80 %, 80 % should be correct. Pixels are counted by bins of confidence for each image, so that the
counts of any set of images can be summed.
"""

from typing import Any

import numpy as np

from unetkit.data.scale import IGNORE
from unetkit.errors import SizeError
from unetkit.metrics.confusion import divide, to_scalar

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
