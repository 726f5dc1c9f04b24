"""Where a model is good and where it is not: figures by size, by share of a class, by group.

Pictures are put into bins of about equal number; each bin is a small set with its own figure and
interval. A group is what the data say of a picture (a breed, a film), else what the names say.
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

BINS = 3
MOST_GROUPS = 60  # more than a page shows
MOST_CLASSES = 6
ALL_BUT_NUMBER = re.compile(r"^(.*?)[\s_.\-]*\d+$")


@dataclass(frozen=True)
class Row:
    """A part of the pictures and its figure.

    Args:
        label: What they have in common.
        images: How many there are.
        value: Mean IoU, or the IoU of one class; nan where it does not exist.
        low: Of the interval; nan for one picture.
        high: Likewise.
    """

    label: str
    images: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Share:
    """How one class fares by the share of a picture that it fills.

    Args:
        name: Of the class.
        rows: IoU of the class in pictures that have little, more and much of it.
        without: How many pictures have none of it.
        false_alarms: In how many of these it is predicted somewhere.
    """

    name: str
    rows: tuple[Row, ...]
    without: int
    false_alarms: int


def by_size(records: Sequence[Record]) -> list[Row]:
    """Mean IoU of small, middling and large pictures; empty where all are of one size."""
    sides = np.array([np.sqrt(np.prod(record["size"])) for record in records])
    rows = []
    for low, high, members in _bins(sides):
        label = f"about {low:.0f} px" if low == high else f"{low:.0f} to {high:.0f} px"
        rows.append(_row(label, [records[i] for i in members.tolist()]))
    return rows if len(rows) > 1 else []


def by_fraction(records: Sequence[Record], classes: Classes) -> list[Share]:
    """Each class, background apart, by the share of a picture that it fills.

    Of many classes the MOST_CLASSES with the lowest IoU; a class that fills the same share of every
    picture is left out.
    """
    counts = stacked(records, "confusion", "original")
    truth, predicted = counts.sum(2), counts.sum(1)  # (N, K)
    shares = truth / np.maximum(truth.sum(1, keepdims=True), 1)
    scores = iou_score(counts.sum(0))
    order = np.argsort(np.nan_to_num(scores, nan=2.0)).tolist()
    wanted = sorted([k for k in order if k != classes.background][:MOST_CLASSES])
    found = []
    for index in wanted:
        present = np.flatnonzero(truth[:, index])
        rows = tuple(
            _row(_range(low, high), [records[i] for i in present[members].tolist()], index)
            for low, high, members in _bins(shares[present, index])
        )
        if len(rows) > 1:
            absent = truth[:, index] == 0
            alarms = absent & (predicted[:, index] > 0)
            name = classes.names[index]
            found.append(Share(name, rows, int(absent.sum()), int(alarms.sum())))
    return found


def _range(low: float, high: float) -> str:
    """Two shares with as many digits as tell them apart.

    >>> _range(0.1, 0.253), _range(0.00021, 0.00036)
    ('10 to 25 %', '0.021 to 0.036 %')
    """
    return f"{100 * low:.2g} to {100 * high:.2g} %"


def by_group(records: Sequence[Record]) -> list[Row]:
    """Mean IoU of each group, the worst first; empty where pictures have no groups in common.

    Of many groups the MOST_GROUPS that are worst.
    """
    members: dict[str, list[Record]] = defaultdict(list)
    for record, group in zip(records, group_names(records), strict=True):
        members[group].append(record)
    if len(members) < 2:
        return []
    rows = [_row(name, some) for name, some in members.items()]
    return sorted(rows, key=lambda row: (np.isnan(row.value), row.value))[:MOST_GROUPS]


def group_names(records: Sequence[Record]) -> list[str]:
    """The group of each picture: as recorded, else its folder, else its name without a number.

    A group that is recorded as a code gets its name from the pictures' names, where they agree. All
    are in one where nothing is recorded and too few names share a beginning.

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
    """Smallest and largest value, and places, of bins of about equal number; equals stay together.

    >>> [places.tolist() for _, _, places in _bins(np.array([3, 1, 1, 1, 2, 9]))]
    [[1, 2, 3, 4], [0, 5]]
    """
    if not len(values):
        return []
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)))
    places = np.digitize(values, edges[1:-1], right=True)
    members = [np.flatnonzero(places == number) for number in range(BINS)]
    return [(values[m].min(), values[m].max(), m) for m in members if len(m)]


def _row(label: str, records: Sequence[Record], index: int | None = None) -> Row:
    """A row of the mean IoU, or of the IoU of one class."""
    return Row(label, len(records), *mean_iou_of(records, index))


def constant_prediction(confusion: Any, classes: Classes) -> Mapping[str, Any]:
    """What the answer "always the most frequent class" would score on the same pixels.

    >>> from unetkit.data.classes import TRIMAP_CLASSES
    >>> constant_prediction([[1, 0, 0], [0, 6, 0], [1, 0, 0]], TRIMAP_CLASSES)
    {'class': 'background', 'pixel_accuracy': 0.75, 'mean_iou': 0.25}
    """
    truth = np.asarray(confusion, np.int64).sum(1)
    index = int(truth.argmax())
    share = float(truth[index] / max(1, truth.sum()))
    occurring = max(1, int(np.count_nonzero(truth)))
    return {
        "class": classes.names[index],
        "pixel_accuracy": share,
        "mean_iou": share / occurring,
    }
