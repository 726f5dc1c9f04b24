"""Metrics of a set of images, with intervals, from the counts of each image.

The record of an image contains its confusion matrix at each resolution, and its counts by
confidence, boundary and distance at the resolution of the masks. All are additive: metrics of a
set follow from the sums, and intervals from sums over resampled images.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from unetkit.data.classes import Classes
from unetkit.metrics.bootstrap import (
    COVERAGE,
    RESAMPLES,
    draws_of_means,
    draws_of_metrics,
    interval,
    intervals,
    resampled_sums,
)
from unetkit.metrics.boundaries import boundary_iou, distance_names
from unetkit.metrics.calibration import calibration_error
from unetkit.metrics.confusion import (
    by_name,
    compute_metrics,
    divide,
    iou_score,
    mean_over_images,
    mean_score,
)

RESOLUTIONS = ("original", "training")
Record = Mapping[str, Any]


def stacked(records: Sequence[Record], *keys: str) -> np.ndarray:
    """Returns the counts under some keys of each record as one array, (N, ...) float64."""
    found = []
    for record in records:
        value: Any = record
        for key in keys:
            value = value[key]
        found.append(value)
    return np.array(found, np.float64)


def summarise_metrics(records: Sequence[Record], classes: Classes) -> dict[str, Any]:
    """Returns all metrics of a set of images, with intervals.

    Args:
        records: Records of one or more images, each with "confusion" by resolution, "confidence"
            (BINS, 3), "boundary" (K, 2) and "distance" (D, 2).
        classes: Classes of the counts.

    Returns:
        "figures" by resolution ("summed", "mean_over_images", and the "confusion" matrix),
        "boundary_iou", "calibration", "distance", and "intervals" of all of them in the same
        nesting; "intervals" is empty for one image.
    """
    by_resolution, bounds = {}, {}
    measure = partial(compute_metrics, classes=classes)
    for resolution in RESOLUTIONS:
        counts = stacked(records, "confusion", resolution).astype(np.int64)
        total = counts.sum(0)
        by_resolution[resolution] = {
            "summed": measure(total),
            "mean_over_images": mean_over_images(counts, measure),
            "confusion": total.tolist(),
        }
        if len(records) > 1:
            bounds[resolution] = {
                "summed": intervals(draws_of_metrics(counts, measure)),
                "mean_over_images": intervals(draws_of_means(counts, measure)),
            }
    boundary, confidence = stacked(records, "boundary"), stacked(records, "confidence")
    distance = stacked(records, "distance")
    of_boundary = partial(boundary_metrics, classes=classes)
    summary: dict[str, Any] = {
        "figures": by_resolution,
        "boundary_iou": of_boundary(boundary.sum(0)),
        "calibration": {
            "error": calibration_error(confidence.sum(0)),
            "bins": confidence.sum(0).tolist(),
        },
        "distance": distance_metrics(distance.sum(0)),
        "intervals": {},
    }
    if bounds:
        summary["intervals"] = {
            "coverage": COVERAGE,
            "resamples": RESAMPLES,
            **bounds,
            "boundary_iou": intervals(draws_of_metrics(boundary, of_boundary)),
            "calibration": {"error": list(interval(calibration_error(resampled_sums(confidence))))},
            "distance": intervals(draws_of_metrics(distance, distance_metrics)),
        }
    return summary


def boundary_metrics(counts: np.ndarray, classes: Classes) -> dict[str, Any]:
    """Returns the boundary IoU by class, and its mean over classes that occur.

    Args:
        counts: Counts of `boundary_counts`, summed over images, (..., K, 2).
        classes: Classes of the counts.
    """
    scores = boundary_iou(counts)
    return {"mean": mean_score(scores), "classes": by_name(scores, classes.names)}


def distance_metrics(counts: np.ndarray) -> dict[str, Any]:
    """Returns the accuracy by distance from the true boundary; nan for distances without pixels.

    Args:
        counts: Counts of `distance_counts`, summed over images, (..., D, 2).
    """
    return by_name(divide(counts[..., 1], counts[..., 0]), distance_names())


def mean_iou_of(records: Sequence[Record], index: int | None = None) -> tuple[float, float, float]:
    """Returns the mean IoU of some images at the resolution of the masks, and its interval.

    Args:
        records: Records of the images.
        index: Index of a class whose IoU is returned instead of the mean over classes.

    Returns:
        Value, lower end and upper end of the interval; the ends are nan for one image.
    """

    def scores(counts: np.ndarray) -> dict[str, Any]:
        ious = iou_score(counts)
        by_class = {str(k): ious[..., k] for k in range(ious.shape[-1])}
        return {"mean": mean_score(ious), **by_class}

    name = "mean" if index is None else str(index)
    counts = stacked(records, "confusion", "original")
    value = float(scores(counts.sum(0))[name])
    if len(records) < 2:
        return value, float("nan"), float("nan")
    return value, *interval(draws_of_metrics(counts, scores)[name,])


def classes_to_json(classes: Classes) -> dict[str, Any]:
    """Returns the classes of an evaluation as a JSON object."""
    return {
        "names": list(classes.names),
        "background": classes.background,
        "border": classes.border,
        "colours": [list(colour) for colour in classes.colours],
    }


def classes_from_json(raw: Mapping[str, Any]) -> Classes:
    """Returns the classes that `classes_to_json` wrote, with their indices as values.

    Args:
        raw: Record whose types have been checked.

    Raises:
        ConfigError: The classes are not valid.
    """
    names = tuple(raw["names"])
    return Classes(
        names=names,
        values=tuple(range(len(names))),
        background=raw["background"],
        border=raw["border"],
        colours=tuple((int(r), int(g), int(b)) for r, g, b in raw["colours"]),
    )
