"""The confusion matrix, and the metrics that follow from it.

Counts are first summed over the whole set and divided once at the end, so that every pixel has the
same weight. A class that neither occurs nor is predicted has no score: it is nan, not 1 and not 0,
and is left out of means. `mean_over_images` gives every image the same weight instead.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from unetkit.data.classes import Classes
from unetkit.data.scale import IGNORE
from unetkit.errors import ConfigError, SizeError, did_you_mean

BORDER_POLICIES = ("border_as_foreground", "border_as_background", "border_ignored")


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts pixels by true and predicted class.

    Args:
        truth: Class indices in [0, K), or IGNORE, of any shape and integer type.
        prediction: Class indices in [0, K), of the same shape.
        num_classes: Number of classes, K.

    Returns:
        (K, K) int64, rows truth, columns prediction, in pixels; ignored pixels are not counted.

    Raises:
        SizeError: The shapes differ.
        ConfigError: An index is out of range.

    >>> confusion_matrix(np.array([0, 0, 1, 255]), np.array([0, 1, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    if truth.shape != prediction.shape:
        raise SizeError(
            f"truth is {truth.shape} and prediction {prediction.shape}; accepted are equal shapes"
        )
    counted = truth != IGNORE
    rows, columns = truth[counted].astype(np.int64), prediction[counted].astype(np.int64)
    for name, indices in (("truth", rows), ("prediction", columns)):
        if indices.size and not 0 <= indices.min() <= indices.max() < num_classes:
            worst = indices.max() if indices.max() >= num_classes else indices.min()
            raise ConfigError(
                f"{name} has class {worst}; accepted are 0 to {num_classes - 1}, and {IGNORE} in "
                "the truth for ignored pixels; check the number of classes"
            )
    counts = np.bincount(rows * num_classes + columns, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def pixel_accuracy(counts: np.ndarray) -> Any:
    """Fraction of pixels that are correct; nan without pixels.

        accuracy = sum_k counts_kk / sum counts

    Args:
        counts: Confusion matrix, (K, K) int64, in pixels; or many of them, (..., K, K).

    Returns:
        A float in [0, 1] or nan; an array (...) for many matrices.

    Raises:
        SizeError: `counts` is not square.

    >>> pixel_accuracy(np.array([[2, 0], [1, 1]]))
    0.75
    """
    _require_square(counts)
    hits = np.trace(counts, axis1=-2, axis2=-1)
    return to_scalar(divide(hits, counts.sum((-2, -1))))


def iou_score(counts: np.ndarray) -> np.ndarray:
    """Intersection over union (Jaccard index) of each class, from summed pixel counts.

        iou_k = tp_k / (tp_k + fp_k + fn_k)

    Args:
        counts: Confusion matrix, (K, K) int64, rows truth, columns prediction, in pixels; or many
            of them, (..., K, K).

    Returns:
        (..., K) float64 in [0, 1]; nan for a class absent from truth and prediction.

    Raises:
        SizeError: `counts` is not square.

    Source: Jaccard 1912.

    >>> iou_score(np.array([[2, 0], [1, 1]]))
    array([0.66666667, 0.5       ])
    """
    _require_square(counts)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return divide(hits, counts.sum(-2) + counts.sum(-1) - hits)


def dice_score(counts: np.ndarray) -> np.ndarray:
    """Dice coefficient (F1) of each class, from summed pixel counts.

        dice_k = 2 tp_k / (2 tp_k + fp_k + fn_k)

    Args:
        counts: Confusion matrix, (K, K) int64, rows truth, columns prediction, in pixels; or many
            of them, (..., K, K).

    Returns:
        (..., K) float64 in [0, 1]; nan for a class absent from truth and prediction.

    Raises:
        SizeError: `counts` is not square.

    Source: Dice 1945.

    >>> dice_score(np.array([[2, 0], [1, 1]]))
    array([0.8       , 0.66666667])
    """
    _require_square(counts)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return divide(2 * hits, counts.sum(-2) + counts.sum(-1))


def mean_score(scores: np.ndarray) -> Any:
    """Mean over the classes with a score, along the last axis; nan if there is none.

    >>> mean_score(np.array([0.5, np.nan, 1.0]))
    0.75
    """
    present = ~np.isnan(scores)
    return to_scalar(divide(np.where(present, scores, 0).sum(-1), present.sum(-1)))


def foreground_counts(counts: np.ndarray, classes: Classes, policy: str) -> np.ndarray:
    """Confusion matrix of background and foreground, from the matrix of all classes.

    Foreground is every class except the background. A border class is counted as foreground, as
    background, or is ignored: then pixels whose truth is border are not counted, and border
    predicted elsewhere is foreground.

    Args:
        counts: Confusion matrix, (..., K, K).
        classes: Classes of the matrix.
        policy: How the border class is counted, one of BORDER_POLICIES; without a border class all
            give the same.

    Returns:
        (..., 2, 2); index 0 is background, 1 foreground.

    Raises:
        ConfigError: `policy` is unknown, or the classes have no background.
    """
    if policy not in BORDER_POLICIES:
        raise ConfigError(
            f"border policy {policy!r} is unknown; accepted are {', '.join(BORDER_POLICIES)}"
            f"{did_you_mean(policy, BORDER_POLICIES)}"
        )
    if classes.background is None:
        raise ConfigError(
            f"classes {list(classes.names)} have no background; foreground metrics need one; "
            "set the background class"
        )
    foreground = np.arange(len(classes)) != classes.background
    truth_counted = np.ones(len(classes), bool)
    if classes.border is not None:
        foreground[classes.border] = policy != "border_as_background"
        truth_counted[classes.border] = policy != "border_ignored"
    sides = np.stack([~foreground, foreground]).astype(np.int64)  # (2, K)
    return (sides * truth_counted) @ counts @ sides.T


def compute_metrics(counts: np.ndarray, classes: Classes) -> dict[str, object]:
    """All metrics that follow from a confusion matrix, by name.

    Args:
        counts: Confusion matrix, (K, K), or many of them, (..., K, K).
        classes: Classes of the matrix.

    Returns:
        "pixel_accuracy", "mean_iou", "mean_dice"; "iou" and "dice" by class name; and, if the
        classes have a background, "foreground_dice" and "foreground_iou" by border policy ("all"
        without a border class). Values are floats in [0, 1] or nan, or arrays (...) of them. With
        one class beside the background, those of the foreground come first.
    """
    iou, dice = iou_score(counts), dice_score(counts)
    of_foreground: dict[str, object] = {}
    if classes.background is not None:
        policies = BORDER_POLICIES if classes.border is not None else BORDER_POLICIES[:1]
        pairs = {policy: foreground_counts(counts, classes, policy) for policy in policies}
        if classes.border is None:
            pairs = {"all": pairs[BORDER_POLICIES[0]]}
        of_foreground = {
            "foreground_dice": {k: to_scalar(dice_score(v)[..., 1]) for k, v in pairs.items()},
            "foreground_iou": {k: to_scalar(iou_score(v)[..., 1]) for k, v in pairs.items()},
        }
    of_all: dict[str, object] = {
        "pixel_accuracy": pixel_accuracy(counts),
        "mean_iou": mean_score(iou),
        "mean_dice": mean_score(dice),
        "iou": by_name(iou, classes.names),
        "dice": by_name(dice, classes.names),
    }
    if foreground_class(classes) is not None:
        return {**of_foreground, **of_all}
    return {**of_all, **of_foreground}


def foreground_class(classes: Classes) -> int | None:
    """Index of the one class beside the background; None if there are more, or no background.

    A mean over two classes is as much of the background, which is easy, as of what is looked for;
    then the metrics of the foreground are those to quote.

    >>> foreground_class(Classes(("background", "vessel"), (0, 1), background=0))
    1
    """
    if classes.background is None or len(classes) != 2:
        return None
    return 1 - classes.background


def lead_metric(classes: Classes) -> tuple[str, ...]:
    """Path of the metric that conclusions are drawn from: foreground IoU, else mean IoU."""
    return ("mean_iou",) if foreground_class(classes) is None else ("foreground_iou", "all")


def by_name(scores: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Returns scores, (..., K), by the name of the class, as floats or arrays (...)."""
    return {name: to_scalar(scores[..., k]) for k, name in enumerate(names)}


def metric_name(path: Sequence[str]) -> str:
    """Returns the name of a metric for display, from its path of keys; class names are kept.

    >>> metric_name(("mean_iou",)), metric_name(("iou", "serious_case"))
    ('mean IoU', 'IoU: serious_case')
    >>> metric_name(("foreground_dice", "all")), metric_name(("foreground_roc_auc",))
    ('foreground Dice', 'foreground AUC (ROC)')
    >>> metric_name(("object_f1",)), metric_name(("object_seg",))
    ('object F1', 'object SEG')
    """
    key, *names = path
    first = key.replace("roc_auc", "AUC (ROC)").replace("_", " ")
    first = first.replace("iou", "IoU").replace("dice", "Dice")
    first = re.sub(r"\bf1\b", "F1", first).replace("seg", "SEG") if "object" in key else first
    if key.startswith("foreground") and names == ["all"]:
        names = []
    shown = [name.replace("_", " ") if name in BORDER_POLICIES else name for name in names]
    return ": ".join([first, *shown])


def mean_over_images(
    counts: Sequence[np.ndarray] | np.ndarray, measure: Callable[[np.ndarray], dict[str, Any]]
) -> dict[str, Any]:
    """Mean of each metric over images, each with the same weight; nan values are left out.

    Args:
        counts: Confusion matrix of each of N images, at least one.
        measure: Function from matrices, (N, K, K), to metrics, (N,), which may be nested.
    """
    return _means(measure(np.asarray(counts)))


def _means(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _means(values) if isinstance(values, Mapping) else mean_score(values)
        for name, values in metrics.items()
    }


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotients; nan where the denominator is 0."""
    nan = np.full(np.shape(denominator), np.nan)
    return np.divide(numerator, denominator, out=nan, where=np.asarray(denominator) > 0)


def to_scalar(value: Any) -> Any:
    """A Python float if the value is a scalar, else the array."""
    return float(value) if np.ndim(value) == 0 else value


def _require_square(counts: np.ndarray) -> None:
    if counts.ndim < 2 or counts.shape[-2] != counts.shape[-1]:
        raise SizeError(
            f"confusion matrix has shape {counts.shape}; accepted is (K, K), rows truth and "
            "columns prediction; use confusion_matrix"
        )
