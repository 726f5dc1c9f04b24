"""From the counts of each picture to the figures of a set, with intervals.

A record of a picture holds its confusion matrix by resolution, and at the masks' own resolution
its counts by confidence, boundary and distance. All of them add up, so a set's figures follow from
the sum, and intervals from sums over pictures that are drawn anew.
"""

from collections.abc import Callable, Mapping, Sequence
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
    iou_score,
    mean_over_images,
    mean_score,
)

RESOLUTIONS = ("original", "training")
Record = Mapping[str, Any]


def stacked(records: Sequence[Record], *keys: str) -> np.ndarray:
    """The same counts of each picture, (N, ...) float64."""
    found = []
    for record in records:
        value: Any = record
        for key in keys:
            value = value[key]
        found.append(value)
    return np.array(found, np.float64)


def summarise(records: Sequence[Record], classes: Classes) -> dict[str, Any]:
    """Figures of a set of pictures.

    Args:
        records: At least one, each with "confusion" by resolution, "confidence" (BINS, 3),
            "boundary" (K, 2) and "distance" (D, 2).

    Returns:
        `figures` by resolution ("summed", "mean_over_images", and the "confusion" matrix),
        `boundary_iou`, `calibration`, `distance`, and `intervals` of all of them in the same
        nesting; without intervals where there is one picture alone.
    """
    by_resolution, bounds = {}, {}
    measure: Callable[[np.ndarray], dict[str, object]] = partial(compute_metrics, classes=classes)
    for resolution in RESOLUTIONS:
        counts = stacked(records, "confusion", resolution).astype(np.int64)
        total = counts.sum(0)
        by_resolution[resolution] = {
            "summed": measure(total),
            "mean_over_images": mean_over_images(list(counts), measure),
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
    """Boundary IoU by class, and the mean over classes that occur; of counts (..., K, 2)."""
    scores = boundary_iou(counts)
    return {"mean": mean_score(scores), "classes": by_name(scores, classes.names)}


def distance_metrics(counts: np.ndarray) -> dict[str, Any]:
    """Accuracy by distance from the true boundary, of counts (..., D, 2).

    It is nan where no pixel is that far from one.
    """
    pixels, right = counts[..., 0], counts[..., 1]
    accuracy = np.divide(right, pixels, out=np.full(pixels.shape, np.nan), where=pixels > 0)
    return by_name(accuracy, distance_names())


def mean_iou_of(records: Sequence[Record], index: int | None = None) -> tuple[float, float, float]:
    """Mean IoU of some pictures at the masks' resolution, and its interval.

    Args:
        index: Of the class whose IoU is meant, instead of the mean over classes.

    Returns:
        Value, low and high; the interval is nan of one picture.
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


def plain(value: Any) -> Any:
    """A result as JSON takes it, which has no nan: a figure that does not exist is null."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and np.isnan(value):
        return None
    return value


def classes_to_json(classes: Classes) -> dict[str, Any]:
    """What a report needs to know of the classes."""
    return {
        "names": list(classes.names),
        "background": classes.background,
        "border": classes.border,
        "colours": [list(colour) for colour in classes.colours],
    }


def classes_from_json(raw: Mapping[str, Any]) -> Classes:
    """Reads back what `classes_to_json` wrote; values in files are the indices.

    Raises:
        KeyError, TypeError, ConfigError: It is something else.
    """
    names = raw["names"]
    special = [raw[name] for name in ("background", "border")]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"names of classes are {names!r:.80}")
    if not all(type(index) in (int, type(None)) for index in special):
        raise TypeError(f"background and border are {special!r:.80}")
    return Classes(
        names=tuple(names),
        values=tuple(range(len(names))),
        background=special[0],
        border=special[1],
        colours=tuple((int(r), int(g), int(b)) for r, g, b in raw["colours"]),
    )
