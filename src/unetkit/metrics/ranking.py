"""How well probabilities rank pixels: the area under the ROC curve, and average precision.

Both are of one class against the rest, and need every pixel in the order of its probability. So
that any number of pixels fits into bounded memory, pixels are counted by bins of probability; the
order within a bin is unknown. The error that this causes is bounded by the counts themselves, and
returned with each value. Bins have equal widths of log-odds, log(p / (1 - p)), because most
probabilities of a trained network are close to 0 or 1; exactly 0 and exactly 1 have the first and
the last bin to themselves, where nothing is unknown.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from unetkit.data.scale import IGNORE
from unetkit.errors import SizeError
from unetkit.metrics.confusion import by_name, divide, mean_score

LOG_ODDS = (-40.0, 17.0)  # of 4e-18, and of the largest float32 below 1
PROBABILITY_BINS = 1 << 15  # with counts of 8 bytes, half a megabyte for each class


def ranking_counts(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Counts the pixels of each class, and all others, by bin of the probability of the class.

    Args:
        truth: Class indices in [0, K), or IGNORE, (H, W).
        probabilities: Probability of each class, (H, W, K) float32 in [0, 1].

    Returns:
        (K, PROBABILITY_BINS, 2) int64, in ascending order of probability: number of pixels of
        other classes, and of this class. Ignored pixels are left out. Counts of images can be
        summed.

    Raises:
        SizeError: The sizes differ.

    >>> counts = ranking_counts(np.array([[0, 1]]), np.array([[[0.7, 0.3], [0.6, 0.4]]]))
    >>> counts.sum(1).tolist()
    [[1, 1], [1, 1]]
    """
    if truth.shape != probabilities.shape[:2]:
        raise SizeError(
            f"truth is {truth.shape} and probabilities {probabilities.shape}; accepted are (H, W) "
            "and (H, W, K) of one size"
        )
    counted = truth != IGNORE
    of_truth = truth[counted]
    num_classes = probabilities.shape[2]
    counts = np.zeros((num_classes, PROBABILITY_BINS, 2), np.int64)
    for index in range(num_classes):
        positive = (of_truth == index).astype(np.int64)
        places = 2 * _bins_of(probabilities[..., index][counted]) + positive
        found = np.bincount(places, minlength=2 * PROBABILITY_BINS)
        counts[index] = found.reshape(PROBABILITY_BINS, 2)
    return counts


def _bins_of(probabilities: np.ndarray) -> np.ndarray:
    low, high = LOG_ODDS
    with np.errstate(divide="ignore"):  # 0 and 1 have infinite log-odds
        log_odds = np.log(probabilities / (1 - probabilities))
    inner = (np.clip(log_odds, low, high) - low) * ((PROBABILITY_BINS - 2) / (high - low))
    places = np.minimum(inner.astype(np.int64), PROBABILITY_BINS - 3) + 1
    places[probabilities <= 0] = 0
    places[probabilities >= 1] = PROBABILITY_BINS - 1
    return places


def roc_auc(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Area under the ROC curve of each class against the rest.

    It is the probability that a random pixel of the class has a higher probability than a random
    other pixel; pairs within one bin count as half. If all of them were ordered one way or the
    other, the value would change by half of their number:

        error = sum_b pos_b neg_b / (2 P N), without the first and the last bin

    Args:
        counts: Counts of `ranking_counts`, summed over images, (K, B, 2).

    Returns:
        Values, (K,) float64 in [0, 1], and bounds of their errors, (K,); nan for a class without
        pixels, or without any other pixels.

    Source: Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 2006.

    >>> value, error = roc_auc(np.array([[[0, 0], [2, 0], [1, 1], [0, 2], [0, 0]]]))
    >>> value.round(4), error.round(4)
    (array([0.9444]), array([0.0556]))
    """
    negative, positive = counts[..., 0].astype(np.float64), counts[..., 1].astype(np.float64)
    below = np.cumsum(negative, axis=-1) - negative
    together = positive.sum(-1) * negative.sum(-1)
    halves = positive * negative / 2
    value = (positive * below + halves).sum(-1)
    return divide(value, together), divide(halves[..., 1:-1].sum(-1), together)


def average_precision(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average precision of each class against the rest: the mean precision over its pixels.

        AP = sum_b (recall_b - recall_(b+1)) precision_b

    from the highest bin to the lowest, without interpolation. Within a bin with p pixels of the
    class and n others, below T and F of higher probability, the sum of their p precisions is
    largest if the p come first and smallest if the n do:

        p - (F + n) log(1 + p / (T + F + n))  <=  sum  <=  p (T + p) / (T + F + p)

    Args:
        counts: Counts of `ranking_counts`, summed over images, (K, B, 2).

    Returns:
        Values, (K,) float64 in [0, 1], and bounds of their errors, (K,); nan for a class without
        pixels, or without any other pixels.

    Source: as in scikit-learn's average_precision_score.

    >>> value, error = average_precision(np.array([[[2, 0], [0, 1], [1, 0], [0, 1]]]))
    >>> value.round(4)
    array([0.8333])
    """
    n, p = (counts[..., ::-1, side].astype(np.float64) for side in (0, 1))
    hits, false = np.cumsum(p, axis=-1), np.cumsum(n, axis=-1)  # T + p and F + n
    total = np.where(n.sum(-1) > 0, p.sum(-1), 0.0)
    value = p * _fraction(hits, hits + false)
    most = p * _fraction(hits, hits + false - n) - value
    least = p - false * np.log1p(_fraction(p, hits - p + false)) - value
    error = np.maximum(most[..., 1:-1].sum(-1), -least[..., 1:-1].sum(-1))
    return divide(value.sum(-1), total), divide(error, total)


def _fraction(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotients; 0 where the denominator is 0."""
    return np.nan_to_num(divide(numerator, denominator))


def ranking_metrics(counts: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Returns both metrics by class, their means over classes, and bounds of their errors.

    Args:
        counts: Counts of `ranking_counts`, summed over images, (K, B, 2).
        names: Names of the classes.

    Returns:
        "roc_auc" and "average_precision", each with "mean", "classes" by name, and "error", the
        largest bound of the error of a class; nan without a value.
    """
    found = {}
    for name, measure in (("roc_auc", roc_auc), ("average_precision", average_precision)):
        values, errors = measure(counts)
        error = np.nanmax(errors) if not np.isnan(errors).all() else np.nan
        found[name] = {
            "mean": mean_score(values),
            "classes": by_name(values, names),
            "error": float(error),
        }
    return found
