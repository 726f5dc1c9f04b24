"""Does the network mean what it says? Confidence beside the share of pixels that are right.

A pixel's confidence is the probability of the class that it is given. Of pixels that the network
is 80 % sure of, 80 % should be right. Pixels are gathered in bins of confidence; sums are kept of
each picture, so that they add up over any set.
"""

from typing import Any

import numpy as np

from unetkit.data.scale import IGNORE
from unetkit.errors import SizeError

BINS = 15  # of equal width over [0, 1], as Guo et al. have them


def confidence_counts(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Pixels, their confidence and how many are right, by bin of confidence.

    Args:
        truth: (H, W) class indices in [0, K), or IGNORE.
        probabilities: (H, W, K) float32, summing to 1 over the classes.

    Returns:
        (BINS, 3) float64: pixels, sum of their confidences, pixels that are right. Ignored pixels
        are left out.

    Raises:
        SizeError: The sizes differ.

    >>> counts = confidence_counts(np.array([[0, 1]]), np.array([[[0.7, 0.3], [0.7, 0.3]]]))
    >>> counts[10].round(6)
    array([2. , 1.4, 1. ])
    """
    if truth.shape != probabilities.shape[:2]:
        raise SizeError(
            f"truth is {truth.shape} and probabilities {probabilities.shape}; accepted are (H, W) "
            "and (H, W, K); bring both to one size"
        )
    counted = truth != IGNORE
    confidence = probabilities.max(-1)[counted].astype(np.float64)
    right = probabilities.argmax(-1)[counted] == truth[counted]
    bins = np.clip((confidence * BINS).astype(np.int64), 0, BINS - 1)
    columns = [np.bincount(bins, weights, BINS) for weights in (None, confidence, right)]
    return np.stack(columns, axis=-1).astype(np.float64)


def calibration_error(counts: np.ndarray) -> Any:
    """Expected calibration error (ECE): mean gap between confidence and accuracy over the pixels.

        ECE = sum_b |right_b - confidence_b| / sum_b pixels_b

    Args:
        counts: (BINS, 3), as `confidence_counts` has them, summed over pictures; or many such sums,
            (..., BINS, 3).

    Returns:
        In [0, 1], lower is better; nan without pixels. An array (...) of many.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.

    >>> calibration_error(np.array([[10, 9.0, 6], [0, 0, 0]]))
    0.3
    """
    pixels = counts[..., 0].sum(-1)
    gaps = np.abs(counts[..., 2] - counts[..., 1]).sum(-1)
    errors = np.divide(gaps, pixels, out=np.full(np.shape(pixels), np.nan), where=pixels > 0)
    return float(errors) if np.ndim(errors) == 0 else errors
