"""From the counts of each picture to a set's figures."""

import numpy as np
import pytest

from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.metrics.boundaries import boundary_iou, distance_names
from unetkit.metrics.calibration import BINS, calibration_error
from unetkit.metrics.confusion import compute_metrics, iou_score
from unetkit.metrics.summary import (
    classes_from_json,
    classes_to_json,
    distance_metrics,
    mean_iou_of,
    summarise_metrics,
)


def records(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "confusion": {
                name: rng.integers(0, 50, (3, 3)).tolist() for name in ("original", "training")
            },
            "confidence": np.sort(rng.random((BINS, 3)) * 9)[:, ::-1].tolist(),
            "boundary": np.sort(rng.integers(1, 90, (3, 2))).tolist(),
            "distance": np.sort(rng.integers(1, 90, (8, 2)))[:, ::-1].tolist(),
        }
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def some():
    return records(20)


@pytest.fixture(scope="module")
def summary(some):
    return summarise_metrics(some, TRIMAP_CLASSES)


def test_every_figure_is_that_of_the_summed_counts(some, summary):
    for name in ("original", "training"):
        total = np.sum([one["confusion"][name] for one in some], axis=0)
        assert summary["figures"][name]["summed"] == compute_metrics(total, TRIMAP_CLASSES)
        assert summary["figures"][name]["confusion"] == total.tolist()
    boundary = boundary_iou(np.sum([one["boundary"] for one in some], axis=0))
    assert list(summary["boundary_iou"]["classes"].values()) == boundary.tolist()
    assert summary["boundary_iou"]["mean"] == pytest.approx(boundary.mean())
    confidence = np.sum([one["confidence"] for one in some], axis=0)
    assert summary["calibration"]["error"] == pytest.approx(calibration_error(confidence))
    near = np.sum([one["distance"][0] for one in some], axis=0)
    assert summary["distance"][distance_names()[0]] == pytest.approx(near[1] / near[0])


def two_class_records(count=5):
    rng = np.random.default_rng(3)
    return [
        {
            "confusion": {
                name: [[900, 20], [30, int(rng.integers(40, 60))]]
                for name in ("original", "training")
            },
            "confidence": np.sort(rng.random((BINS, 3)) * 9)[:, ::-1].tolist(),
            "boundary": [[80, 90], [10, 20]],
            "distance": np.sort(rng.integers(1, 90, (8, 2)))[:, ::-1].tolist(),
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("background", [0, 1])
def test_of_two_classes_the_foreground_is_quoted_first(background):
    names = ("background", "disk") if background == 0 else ("disk", "background")
    classes = Classes(names, (0, 1), background=background)
    rows = two_class_records()
    if background == 1:
        for row in rows:
            row["confusion"] = {k: np.flip(v).tolist() for k, v in row["confusion"].items()}
            row["boundary"] = row["boundary"][::-1]
    ranking = np.zeros((2, 4, 2), int)
    ranking[1 - background, 1:] = [[5, 1], [0, 0], [0, 5]]
    summary = summarise_metrics(rows, classes, ranking)
    hits = sum(row["confusion"]["original"][1 - background][1 - background] for row in rows)
    quoted = {row["metric"]: row for row in summary["headline"]}
    assert list(quoted)[:4] == [
        "foreground_dice",
        "foreground_iou",
        "foreground_roc_auc",
        "foreground_average_precision",
    ]
    assert quoted["foreground_iou"]["value"] == pytest.approx(hits / (hits + 50 * 5))
    assert quoted["foreground_dice"]["value"] == pytest.approx(2 * hits / (2 * hits + 50 * 5))
    low, high = quoted["foreground_dice"]["interval"]
    assert low < quoted["foreground_dice"]["value"] < high
    assert quoted["foreground_boundary_iou"]["value"] == 0.5
    # 6 pixels of the class, 5 others: 5 above all, 1 level with all
    assert quoted["foreground_roc_auc"]["value"] == pytest.approx((25 + 5 / 2) / 30)
    assert not any(name.startswith("mean") for name in quoted)
    assert next(iter(summary["figures"]["original"]["summed"])) == "foreground_dice"


def test_of_several_classes_means_are_quoted_first(summary):
    assert [row["metric"] for row in summary["headline"]][:2] == ["mean_iou", "mean_dice"]


def test_every_metric_lies_in_its_interval_and_has_one(summary):
    def check(metrics, bounds):
        assert metrics.keys() <= bounds.keys() | {"confusion", "bins"}
        for name, value in metrics.items():
            if isinstance(value, dict):
                check(value, bounds[name])
            elif name in bounds:
                assert bounds[name][0] < value < bounds[name][1]

    check(summary["figures"], summary["intervals"])
    for name in ("boundary_iou", "calibration", "distance"):
        check(summary[name], summary["intervals"][name])


def test_of_one_picture_there_are_no_intervals():
    one = records(1)
    assert summarise_metrics(one, TRIMAP_CLASSES)["intervals"] == {}
    value, *bounds = mean_iou_of(one)
    assert value == pytest.approx(iou_score(np.array(one[0]["confusion"]["original"])).mean())
    assert np.isnan(bounds).all()


def test_the_iou_of_one_class_can_be_asked_for(some):
    total = np.sum([one["confusion"]["original"] for one in some], axis=0)
    value, low, high = mean_iou_of(some, 2)
    assert value == pytest.approx(iou_score(total)[2])
    assert low < value < high


def test_a_distance_that_no_pixel_has_is_nan():
    assert np.isnan(distance_metrics(np.zeros((8, 2)))["64+"])


def test_classes_come_back_as_they_were():
    back = classes_from_json(classes_to_json(TRIMAP_CLASSES))
    for name in ("names", "background", "border", "colours"):
        assert getattr(back, name) == getattr(TRIMAP_CLASSES, name)
