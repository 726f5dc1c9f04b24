"""How far a figure would move if other pictures of the same kind had been taken.

Pictures are drawn anew from those at hand, with replacement, many times; the middle 95 % of what
the figure then is, is its interval (Efron 1979, percentile method). It covers the choice of
pictures and nothing else: not another training, and not pictures of another kind. Whole pictures
are drawn, because pixels of one picture are no independent witnesses.

The same seed draws the same pictures, so two models that were scored on the same pictures can be
compared draw by draw.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

RESAMPLES = 2000
COVERAGE = 0.95
CHUNK = 250  # draws at a time, so that tens of thousands of pictures fit into memory
SEED = 0

Figures = Mapping[str, Any]  # figures by name, which may be nested


def resampled_sums(values: np.ndarray) -> np.ndarray:
    """Sums over pictures that were drawn with replacement.

    Args:
        values: (N, ...) counts or figures of each picture.

    Returns:
        (RESAMPLES, ...) float64. The same for the same values, draw by draw the same pictures for
        any values of the same number of pictures.
    """
    rng = np.random.default_rng(SEED)
    number = len(values)
    flat = np.asarray(values, np.float64).reshape(number, -1)
    shares = np.full(number, 1 / number)
    sums = [rng.multinomial(number, shares, CHUNK) @ flat for _ in range(RESAMPLES // CHUNK)]
    return np.concatenate(sums).reshape(RESAMPLES, *values.shape[1:])


def interval(draws: np.ndarray) -> tuple[float, float]:
    """The middle of what a figure was in all draws; nan where it never existed.

    Args:
        draws: (RESAMPLES,) the figure in each draw, or nan.

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
    counts: np.ndarray, measure: Callable[[np.ndarray], Figures]
) -> dict[tuple[str, ...], np.ndarray]:
    """Each figure of the summed counts, in each draw.

    Args:
        counts: (N, ...) of each picture.
        measure: From summed counts, many at once, to figures.

    Returns:
        (RESAMPLES,) float64 by the figure's path of names. A figure that rests on one picture alone
        is nan throughout. Means over classes are nan in draws from which a class has vanished: they
        would be means of something else.
    """
    whole, each = flatten(measure(counts.sum(0))), flatten(measure(counts))
    draws = flatten(measure(resampled_sums(counts)))
    single = [path for path in draws if np.count_nonzero(~np.isnan(each[path])) < 2]
    vanished = np.zeros(RESAMPLES, bool)
    for path, values in draws.items():
        if not np.isnan(whole[path]):
            vanished |= np.isnan(values)
    for path in draws:
        if path in single:
            draws[path] = np.full(RESAMPLES, np.nan)
        elif len(path) == 1 and path[0].startswith("mean"):
            draws[path] = np.where(vanished, np.nan, draws[path])
    return draws


def draws_of_means(
    counts: np.ndarray, measure: Callable[[np.ndarray], Figures]
) -> dict[tuple[str, ...], np.ndarray]:
    """Each figure's mean over pictures, in each draw; pictures without the figure are left out."""
    columns = flatten(measure(counts))
    table = np.stack(list(columns.values()), axis=1)  # (N, figures)
    sums = resampled_sums(np.nan_to_num(table))
    numbers = resampled_sums(~np.isnan(table))
    means = np.divide(sums, numbers, out=np.full(sums.shape, np.nan), where=numbers > 0)
    means[:, np.count_nonzero(~np.isnan(table), axis=0) < 2] = np.nan  # of one picture alone
    return dict(zip(columns, means.T, strict=True))


def intervals(draws: Mapping[tuple[str, ...], np.ndarray]) -> dict[str, Any]:
    """(low, high) of each figure, nested as the figures are."""
    nested: dict[str, Any] = {}
    for path, values in draws.items():
        inner = nested
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = list(interval(values))
    return nested


def flatten(figures: Figures) -> dict[tuple[str, ...], Any]:
    """Nested figures by their path of names.

    >>> flatten({"accuracy": 1.0, "iou": {"pet": 0.5}})
    {('accuracy',): 1.0, ('iou', 'pet'): 0.5}
    """
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            flat |= {(name, *path): inner for path, inner in flatten(value).items()}
        else:
            flat[name,] = value
    return flat
