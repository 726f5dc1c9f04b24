"""Metrics of objects: found, missed, invented, merged and split ones, and scores of their overlap.

Everything follows from the overlaps of the true and the found objects of an image, which are
counted once. Counts of images add up; scores are computed from the sum.

Source: Caicedo et al., Nature Methods 2019 (F1 and average precision); Kirillov et al., CVPR 2019
(panoptic quality); Maška et al., Nature Methods 2023 (SEG).
"""

from dataclasses import dataclass

import numpy as np

from unetkit.metrics.confusion import divide
from unetkit.objects.flooding import flood

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))  # of the IoU
HALF = 0.5
LARGEST_IN_TABLE = 1 << 20  # of an object that is looked up in a table rather than sorted
COUNTS = (
    *("true", "found", *(f"matched_{threshold}" for threshold in THRESHOLDS)),
    *("iou", "seg", "merged", "split", "missed", "invented"),
)


@dataclass(frozen=True)
class Overlaps:
    """How the true and the found objects of an image overlap.

    Args:
        true_areas: Area of each true object, (n,) int64.
        found_areas: Area of each found object, (m,) int64.
        true: True object of each pair that overlaps, indices (k,) of `true_areas`.
        found: Found object of each pair, indices (k,) of `found_areas`.
        areas: Number of common pixels of each pair, (k,) int64.
    """

    true_areas: np.ndarray
    found_areas: np.ndarray
    true: np.ndarray
    found: np.ndarray
    areas: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each pair, (k,) float64."""
        unions = self.true_areas[self.true] + self.found_areas[self.found] - self.areas
        return self.areas / unions


def find_overlaps(truth: np.ndarray, found: np.ndarray) -> Overlaps:
    """Counts the common pixels of true and found objects.

    Args:
        truth: Numbers of the true objects, (H, W) integers; 0 outside objects.
        found: Numbers of the found objects, (H, W) integers; 0 outside objects.
    """
    true_numbers, true_places = _numbered(truth)
    found_numbers, found_places = _numbered(found)
    columns = found_numbers + 1
    pairs, counts = np.unique(true_places * columns + found_places, return_counts=True)
    rows, places = np.divmod(pairs, columns)
    true_areas = np.bincount(true_places, minlength=true_numbers + 1)[1:]
    found_areas = np.bincount(found_places, minlength=columns)[1:]
    both = (rows > 0) & (places > 0)
    return Overlaps(true_areas, found_areas, rows[both] - 1, places[both] - 1, counts[both])


def _numbered(objects: np.ndarray) -> tuple[int, np.ndarray]:
    """Number of objects, and each pixel's place among their numbers in order, 0 outside."""
    numbers = np.maximum(objects, 0).ravel()
    if numbers.max(initial=0) > LARGEST_IN_TABLE:  # a table of all numbers would be large
        numbers = np.unique(np.append(numbers, 0), return_inverse=True)[1][:-1]
    is_used = np.bincount(numbers) > 0
    is_used[:1] = False
    places = np.cumsum(is_used)
    return int(is_used.sum()), places[numbers]


def wrong_objects(overlaps: Overlaps) -> dict[str, np.ndarray]:
    """Finds the objects of each kind of error.

    - merged: found objects that have more than half of two true ones or more
    - split: true objects of which two found ones or more lie more than half inside
    - missed: true objects of which no found one has more than half
    - invented: found objects that lie less than half inside true ones

    Returns:
        By kind, indices of found objects for "merged" and "invented", of true ones for "split" and
        "missed".
    """
    n, m = len(overlaps.true_areas), len(overlaps.found_areas)
    takes = overlaps.areas > HALF * overlaps.true_areas[overlaps.true]
    lies = overlaps.areas > HALF * overlaps.found_areas[overlaps.found]
    covered = np.bincount(overlaps.found, overlaps.areas, minlength=m)
    return {
        "merged": np.flatnonzero(np.bincount(overlaps.found[takes], minlength=m) > 1),
        "split": np.flatnonzero(np.bincount(overlaps.true[lies], minlength=n) > 1),
        "missed": np.setdiff1d(np.arange(n), overlaps.true[takes]),
        "invented": np.flatnonzero(covered < HALF * overlaps.found_areas),
    }


def count_objects(overlaps: Overlaps) -> np.ndarray:
    """Counts matched objects, and those of each kind of `wrong_objects`.

    - matched: true objects with a found one of more than each IoU of `THRESHOLDS`
    - iou: sum of the IoU of the pairs above 0.5
    - seg: sum over true objects of the IoU with the found one that has more than half of it

    Returns:
        (18,) float64 in the order of `COUNTS`. Those of several images add up.
    """
    iou, n = overlaps.iou, len(overlaps.true_areas)
    best = np.zeros(n)
    np.maximum.at(best, overlaps.true, iou)
    takes = overlaps.areas > HALF * overlaps.true_areas[overlaps.true]
    counts = [
        *(n, len(overlaps.found_areas)),
        *((best > threshold).sum() for threshold in THRESHOLDS),
        *(iou[iou > HALF].sum(), iou[takes].sum()),
        *(len(places) for places in wrong_objects(overlaps).values()),
    ]
    return np.array(counts, np.float64)


def object_metrics(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of objects, each from 0 to 1; nan where there is neither a true nor a found object.

    Args:
        counts: Counts of one image or the sum of several, (..., 18).

    Returns:
        `f1` and `average_precision` at an IoU of 0.5, the means of both over 0.5 to 0.95
        (`mean_f1`, `mean_average_precision`), `panoptic_quality`, and `seg` (nan without a true
        object), each (...) float64.
    """
    of = dict(zip(COUNTS, np.moveaxis(counts, -1, 0), strict=True))
    matched = np.stack([of[f"matched_{threshold}"] for threshold in THRESHOLDS])
    total = of["true"] + of["found"]
    every = np.broadcast_to(total, matched.shape)
    f1, precision = divide(2 * matched, every), divide(matched, every - matched)
    return {
        "f1": f1[0],
        "mean_f1": f1.mean(axis=0),
        "average_precision": precision[0],
        "mean_average_precision": precision.mean(axis=0),
        "panoptic_quality": divide(2 * of["iou"], total),
        "seg": divide(of["seg"], of["true"]),
    }


def object_counts(counts: np.ndarray) -> dict[str, int]:
    """Numbers of true, found, merged, split, missed and invented objects.

    Args:
        counts: Counts of one image or the sum of several, (18,).
    """
    of = dict(zip(COUNTS, counts.tolist(), strict=True))
    names = ("true", "found", "merged", "split", "missed", "invented")
    return {name: int(of[name]) for name in names}


def rand_scores(truth: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Scores of a segmentation into regions that fill an image but for thin membranes.

    Found objects are first grown until no pixel of a true one is left empty: the thickness of
    membranes is not scored. Pixels outside of true objects do not count. With p the fraction of
    pixels in each pair of a true and a found object, s and t those in each of them:

        V_Rand = sum p^2 / (sum s^2 / 2 + sum t^2 / 2)
        V_Info = I(s, t) / (H(s) / 2 + H(t) / 2)

    Args:
        truth: Numbers of the true objects, (H, W) integers; 0 outside objects.
        found: Numbers of the found objects, (H, W) integers; 0 outside objects.

    Returns:
        V_Rand and V_Info, each from 0 to 1; nan without a true object, 0 if nothing is found.

    Source: Arganda-Carreras et al., Frontiers in Neuroanatomy 2015 (the ISBI 2012 challenge).
    """
    inside = truth > 0
    if not inside.any():
        return float("nan"), float("nan")
    if not (found > 0).any():
        return 0.0, 0.0
    everywhere = np.ones(truth.shape, bool)
    grown = flood(np.maximum(found, 0), np.zeros(truth.shape, np.float32), everywhere)
    overlaps = find_overlaps(np.where(inside, truth, 0), np.where(inside, grown, 0))
    areas = overlaps.areas, overlaps.true_areas, overlaps.found_areas
    pairs, of_true, of_found = (counts / inside.sum() for counts in areas)
    rand = 2 * (pairs**2).sum() / ((of_true**2).sum() + (of_found**2).sum())
    joint, first, second = (-(p * np.log(p)).sum() for p in (pairs, of_true, of_found))
    if first + second == 0:  # one object, found as one
        return float(rand), 1.0
    return float(rand), float(2 * (first + second - joint) / (first + second))


def rand_metrics(scores: np.ndarray) -> dict[str, np.ndarray]:
    """`v_rand` and `v_info` of `rand_scores` of images, (N, 2), by name, each (N,)."""
    return {"v_rand": scores[..., 0], "v_info": scores[..., 1]}
