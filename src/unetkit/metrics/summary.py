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
    flatten,
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
    foreground_class,
    iou_score,
    mean_over_images,
    mean_score,
    to_scalar,
)
from unetkit.metrics.instances import object_counts, object_metrics, rand_metrics
from unetkit.metrics.ranking import ranking_metrics

QUOTED = ("f1", "panoptic_quality", "seg")  # metrics of objects
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


def summarise_metrics(
    records: Sequence[Record], classes: Classes, ranking: np.ndarray | None = None
) -> dict[str, Any]:
    """Returns all metrics of a set of images, with intervals.

    Args:
        records: Records of one or more images, each with "confusion" by resolution, "confidence"
            (BINS, 3), "boundary" (K, 2) and "distance" (D, 2); and maybe "instances" of
            `count_objects`.
        classes: Classes of the counts.
        ranking: Counts of `ranking_counts`, summed over the images, (K, B, 2); None for none.

    Returns:
        "headline", the metrics to quote, of `headline`; "figures" by resolution ("summed",
        "mean_over_images", and the "confusion" matrix), "boundary_iou", "calibration", "distance",
        "ranking" of `ranking_metrics` or None, "instances" ("metrics" and "counts" of objects) or
        None, and "intervals" in the same nesting, which is empty
        for one image. The metrics of the ranking have no intervals, as they need the counts of
        every image.
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
            **_likelihood(records),
        },
        "distance": distance_metrics(distance.sum(0)),
        "ranking": None if ranking is None else ranking_metrics(ranking, classes.names),
        "instances": None,
        "intervals": {},
    }
    has_instances = all("instances" in record for record in records)
    if has_instances:
        instances = stacked(records, "instances")
        total_counts = instances.sum(0)
        summary["instances"] = {
            "metrics": {
                **{name: float(value) for name, value in object_metrics(total_counts).items()},
                **mean_over_images(stacked(records, "rand"), rand_metrics),
            },
            "counts": object_counts(total_counts),
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
        if has_instances:
            draws = draws_of_metrics(instances, object_metrics)
            draws |= draws_of_means(stacked(records, "rand"), rand_metrics)
            summary["intervals"]["instances"] = intervals(draws)
    return {"headline": headline(summary, classes), **summary}


def _likelihood(records: Sequence[Record]) -> dict[str, Any]:
    """The log-loss a pixel, and log-loss and calibration error before the model was calibrated."""
    if not all("log_loss" in record for record in records):  # of earlier versions
        return {}
    pixels, after, before = stacked(records, "log_loss").sum(0)
    found: dict[str, Any] = {"log_loss": to_scalar(divide(after, pixels)), "before": None}
    if any("confidence_before" in record for record in records):
        counts = [record.get("confidence_before", record["confidence"]) for record in records]
        found["before"] = {
            "error": calibration_error(np.sum(counts, axis=0)),
            "log_loss": to_scalar(divide(before, pixels)),
        }
    return found


def headline(summary: Mapping[str, Any], classes: Classes) -> list[dict[str, Any]]:
    """Returns the metrics to quote, the most important first, over all pixels of the masks.

    With one class beside the background they are those of this class, otherwise means over classes.

    Args:
        summary: Result of `summarise_metrics`, or the content of an evaluation.json.
        classes: Classes of the counts.

    Returns:
        For each metric its "metric", such as "foreground_dice", its "value", and its "interval",
        [low, high] or None.
    """
    index = foreground_class(classes)
    bounds = summary["intervals"]
    figures = flatten(summary["figures"]["original"]["summed"])
    intervals_of = flatten(bounds.get("original", {}).get("summed", {}))
    boundary, ranking = summary["boundary_iou"], summary.get("ranking")
    boundary_bounds = bounds.get("boundary_iou", {})
    found: list[tuple[str, Any, Any]]
    paths: list[tuple[str, ...]]
    if index is not None:
        name, prefix = classes.names[index], "foreground"
        paths = [("foreground_dice", "all"), ("foreground_iou", "all")]
        contour = boundary["classes"][name], boundary_bounds.get("classes", {}).get(name)
    else:
        prefix = "mean"
        paths = [("mean_iou",), ("mean_dice",)]
        paths += [path for path in figures if path[0] == "foreground_iou"][:1]
        contour = boundary["mean"], boundary_bounds.get("mean")
    found = [(path[0], figures[path], intervals_of.get(path)) for path in paths]
    for metric, values in (ranking or {}).items():
        value = values["mean"] if index is None else values["classes"][classes.names[index]]
        found.append((f"{prefix}_{metric}", value, None))
    path = ("pixel_accuracy",)
    found += [
        (f"{prefix}_boundary_iou", *contour),
        ("pixel_accuracy", figures[path], intervals_of.get(path)),
        (
            "calibration_error",
            summary["calibration"]["error"],
            bounds.get("calibration", {}).get("error"),
        ),
    ]
    if instances := summary.get("instances"):
        of_objects = bounds.get("instances", {})
        values = instances["metrics"]
        found = [(f"object_{name}", values[name], of_objects.get(name)) for name in QUOTED] + found
    return [{"metric": name, "value": value, "interval": pair} for name, value, pair in found]


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
        "kind": classes.kind,
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
