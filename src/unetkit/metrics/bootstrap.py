"""Bootstrap intervals of metrics: how much they depend on the choice of images.

The images are resampled with replacement many times; the interval of a metric is the middle 95 % of
its values (Efron 1979, percentile method). It reflects the choice of images only, neither repeated
training nor images of another kind. Whole images are resampled, because the pixels of an image are
not independent.

The seed is fixed, so that two models with metrics of the same images can be compared resample by
resample.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from unetkit.metrics.confusion import divide

RESAMPLES = 2000
COVERAGE = 0.95
CHUNK = 250  # resamples at a time, so that tens of thousands of images fit in memory
SEED = 0

Metrics = Mapping[str, Any]  # metrics by name, which may be nested


def resampled_sums(values: np.ndarray) -> np.ndarray:
    """Returns sums over images resampled with replacement.

    Args:
        values: Counts or metrics of each image, (N, ...).

    Returns:
        (RESAMPLES, ...) float64. Resample i has the same images for any values of N images.
    """
    rng = np.random.default_rng(SEED)
    number = len(values)
    flat = np.asarray(values, np.float64).reshape(number, -1)
    probabilities = np.full(number, 1 / number)
    sums = [rng.multinomial(number, probabilities, CHUNK) @ flat for _ in range(RESAMPLES // CHUNK)]
    return np.concatenate(sums).reshape(RESAMPLES, *values.shape[1:])


def interval(draws: np.ndarray) -> tuple[float, float]:
    """Returns the ends of a metric's interval; nan if the metric has no value.

    Args:
        draws: Value of the metric in each resample, or nan, (RESAMPLES,).

    >>> low, high = interval(np.arange(1001.0))
    >>> round(low), round(high)
    (25, 975)
    """
    known = draws[~np.isnan(draws)]
    if not known.size:
        return float("nan"), float("nan")
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(known, (tail, 1 - tail))
    return float(low), float(high)


def draws_of_metrics(
    counts: np.ndarray, measure: Callable[[np.ndarray], Metrics]
) -> dict[tuple[str, ...], np.ndarray]:
    """Returns each metric of the summed counts, in each resample.

    Args:
        counts: Counts of each image, (N, ...).
        measure: Function from arrays of summed counts to metrics.

    Returns:
        Values, (RESAMPLES,) float64, by the path of keys of the metric. A metric that depends on
        one image is nan throughout. Means over classes are nan in resamples that lack a class,
        because they would be means over other classes.
    """
    total, each = flatten(measure(counts.sum(0))), flatten(measure(counts))
    draws = flatten(measure(resampled_sums(counts)))
    single = [path for path in draws if np.count_nonzero(~np.isnan(each[path])) < 2]
    vanished = np.zeros(RESAMPLES, bool)
    for path, values in draws.items():
        if not np.isnan(total[path]):
            vanished |= np.isnan(values)
    for path in draws:
        if path in single:
            draws[path] = np.full(RESAMPLES, np.nan)
        elif len(path) == 1 and path[0].startswith("mean"):
            draws[path] = np.where(vanished, np.nan, draws[path])
    return draws


def draws_of_means(
    counts: np.ndarray, measure: Callable[[np.ndarray], Metrics]
) -> dict[tuple[str, ...], np.ndarray]:
    """Returns the mean of each metric over images, in each resample; nan values are left out.

    Args:
        counts: Counts of each image, (N, ...).
        measure: Function from arrays of counts to metrics.

    Returns:
        Values, (RESAMPLES,) float64, by the path of keys of the metric. A metric that only one
        image has is nan throughout.
    """
    columns = flatten(measure(counts))
    table = np.stack(list(columns.values()), axis=1)  # (N, metrics)
    means = divide(resampled_sums(np.nan_to_num(table)), resampled_sums(~np.isnan(table)))
    means[:, np.count_nonzero(~np.isnan(table), axis=0) < 2] = np.nan  # one image
    return dict(zip(columns, means.T, strict=True))


def intervals(draws: Mapping[tuple[str, ...], np.ndarray]) -> dict[str, Any]:
    """Returns [low, high] of each metric, nested like the metrics.

    Args:
        draws: Values in each resample, by the path of keys of the metric.
    """
    nested: dict[str, Any] = {}
    for path, values in draws.items():
        inner = nested
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = list(interval(values))
    return nested


def flatten(metrics: Metrics) -> dict[tuple[str, ...], Any]:
    """Returns nested metrics by their path of keys.

    >>> flatten({"accuracy": 1.0, "iou": {"pet": 0.5}})
    {('accuracy',): 1.0, ('iou', 'pet'): 0.5}
    """
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            flat |= {(name, *path): inner for path, inner in flatten(value).items()}
        else:
            flat[name,] = value
    return flat
