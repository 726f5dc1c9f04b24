"""Metrics of subsets of the images: by size, by the fraction that a class fills, and by group.

Images are put into bins of nearly equal numbers; each bin has its own metric and interval. The
group of an image (a breed, a video) is the recorded one, or else follows from its name.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unetkit.data.classes import Classes
from unetkit.metrics.confusion import iou_score
from unetkit.metrics.summary import Record, mean_iou_of, stacked

SUBSETS = 3  # number of bins
MOST_GROUPS = 60  # as many as fit in a report
MOST_CLASSES_SHOWN = 6
ALL_BUT_NUMBER = re.compile(r"^(.*?)[\s_.\-]*\d+$")


@dataclass(frozen=True)
class SubsetMetric:
    """Metric of a subset of the images.

    Args:
        label: Description of the subset.
        images: Number of images.
        value: Mean IoU, or the IoU of one class; nan if it does not exist.
        low: Lower end of the interval; nan for one image.
        high: Upper end of the interval; nan for one image.
    """

    label: str
    images: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassBreakdown:
    """IoU of one class by the fraction of the image that it fills.

    Args:
        name: Name of the class.
        rows: IoU of the class in images with a small, medium and large fraction of it.
        without: Number of images without the class.
        false_alarms: Number of these images in which the class is predicted.
    """

    name: str
    rows: tuple[SubsetMetric, ...]
    without: int
    false_alarms: int


def break_down_by_size(records: Sequence[Record]) -> list[SubsetMetric]:
    """Returns the mean IoU of small, medium and large images; empty if all have one size."""
    sides = np.array([np.sqrt(np.prod(record["size"])) for record in records])
    rows = []
    for low, high, members in _bins(sides):
        label = f"about {low:.0f} px" if low == high else f"{low:.0f} to {high:.0f} px"
        rows.append(_row(label, [records[i] for i in members.tolist()]))
    return rows if len(rows) > 1 else []


def break_down_by_class_fraction(
    records: Sequence[Record], classes: Classes
) -> list[ClassBreakdown]:
    """Returns the IoU of each class, except the background, by the fraction that it fills.

    At most the MOST_CLASSES_SHOWN classes with the lowest IoU are returned. A class that fills the
    same fraction of every image is left out.
    """
    counts = stacked(records, "confusion", "original")
    truth, predicted = counts.sum(2), counts.sum(1)  # (N, K)
    fractions = truth / np.maximum(truth.sum(1, keepdims=True), 1)
    scores = iou_score(counts.sum(0))
    order = np.argsort(np.nan_to_num(scores, nan=2.0)).tolist()
    wanted = sorted([k for k in order if k != classes.background][:MOST_CLASSES_SHOWN])
    found = []
    for index in wanted:
        present = np.flatnonzero(truth[:, index])
        rows = tuple(
            _row(_range(low, high), [records[i] for i in present[members].tolist()], index)
            for low, high, members in _bins(fractions[present, index])
        )
        if len(rows) > 1:
            absent = truth[:, index] == 0
            alarms = absent & (predicted[:, index] > 0)
            name = classes.names[index]
            found.append(ClassBreakdown(name, rows, int(absent.sum()), int(alarms.sum())))
    return found


def _range(low: float, high: float) -> str:
    """Range of fractions, in percent with two significant digits.

    >>> _range(0.1, 0.253), _range(0.00021, 0.00036)
    ('10 to 25 %', '0.021 to 0.036 %')
    """
    return f"{100 * low:.2g} to {100 * high:.2g} %"


def break_down_by_group(records: Sequence[Record]) -> list[SubsetMetric]:
    """Returns the mean IoU of each group, the lowest first; empty if there are no groups.

    At most the MOST_GROUPS groups with the lowest mean IoU are returned.
    """
    members: dict[str, list[Record]] = defaultdict(list)
    for record, group in zip(records, group_names(records), strict=True):
        members[group].append(record)
    if len(members) < 2:
        return []
    rows = [_row(name, some) for name, some in members.items()]
    return sorted(rows, key=lambda row: (np.isnan(row.value), row.value))[:MOST_GROUPS]


def group_names(records: Sequence[Record]) -> list[str]:
    """Returns the group of each image: the recorded one, its folder, or its name without a number.

    If recorded groups and names divide the images in the same way, groups are called by the names.
    If no group is recorded and too few names have a common start, all groups are "".

    >>> group_names([{"name": n, "group": None} for n in ("pug_1", "pug_2", "lab_1", "lab_7")])
    ['pug', 'pug', 'lab', 'lab']
    >>> group_names([{"name": "pug_1", "group": "7"}, {"name": "pug_2", "group": "7"}])
    ['pug', 'pug']
    """
    names = [str(record["name"]) for record in records]
    folders = [name.rpartition("/")[0] for name in names]
    stems = [match[1] if (match := ALL_BUT_NUMBER.match(name)) else name for name in names]
    recorded = [record["group"] for record in records]
    if any(group is not None for group in recorded):
        same = len(set(zip(recorded, stems, strict=True))) == len(set(recorded)) == len(set(stems))
        return stems if same else [str(group or "(none)") for group in recorded]
    for found in (folders, stems):
        if 2 <= len(set(found)) <= len(found) / 2:
            return [group or "(none)" for group in found]
    return [""] * len(names)


def _bins(values: np.ndarray) -> list[tuple[float, float, np.ndarray]]:
    """Smallest value, largest value and indices of each bin; equal values stay in one bin.

    >>> [places.tolist() for _, _, places in _bins(np.array([3, 1, 1, 1, 2, 9]))]
    [[1, 2, 3, 4], [0, 5]]
    """
    if not len(values):
        return []
    edges = np.unique(np.quantile(values, np.linspace(0, 1, SUBSETS + 1)))
    places = np.digitize(values, edges[1:-1], right=True)
    members = [np.flatnonzero(places == number) for number in range(SUBSETS)]
    return [(values[m].min(), values[m].max(), m) for m in members if len(m)]


def _row(label: str, records: Sequence[Record], index: int | None = None) -> SubsetMetric:
    """Mean IoU of some images, or the IoU of one class."""
    return SubsetMetric(label, len(records), *mean_iou_of(records, index))


def constant_prediction(confusion: Any, classes: Classes) -> Mapping[str, Any]:
    """Returns the scores of a constant prediction, the most frequent class, on the same pixels.

    Args:
        confusion: Confusion matrix, (K, K), rows truth, columns prediction, in pixels.
        classes: Classes of the matrix.

    >>> from unetkit.data.classes import TRIMAP_CLASSES
    >>> constant_prediction([[1, 0, 0], [0, 6, 0], [1, 0, 0]], TRIMAP_CLASSES)
    {'class': 'background', 'pixel_accuracy': 0.75, 'mean_iou': 0.25}
    """
    truth = np.asarray(confusion, np.int64).sum(1)
    index = int(truth.argmax())
    fraction = float(truth[index] / max(1, truth.sum()))
    occurring = max(1, int(np.count_nonzero(truth)))
    return {
        "class": classes.names[index],
        "pixel_accuracy": fraction,
        "mean_iou": fraction / occurring,
    }
