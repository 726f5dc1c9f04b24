"""All metrics as a table: identical columns once, and everything in metrics.csv."""

import csv

import pytest

from unetkit.evaluation.tables import metric_table, metrics_csv

SCORES = {"mean_iou": 0.5, "iou": {"a": 0.4, "b": 0.6}}
OTHER = {"mean_iou": 0.7, "iou": {"a": 0.6, "b": 0.8}}


def shown(cell):
    return f"{cell[0]:.3f}"


def result(original, original_means, training, training_means, intervals=None):
    return {
        "figures": {
            "original": {"summed": original, "mean_over_images": original_means},
            "training": {"summed": training, "mean_over_images": training_means},
        },
        "intervals": intervals or {},
        "boundary_iou": {"mean": 0.3, "classes": {"a": 0.2, "b": None}},
        "ranking": {
            "roc_auc": {"mean": 0.9, "classes": {"a": 0.8, "b": 1.0}, "error": 1e-5},
            "average_precision": {"mean": 0.7, "classes": {"a": 0.6, "b": 0.8}, "error": 1e-5},
        },
        "calibration": {"error": 0.02, "bins": []},
    }


@pytest.mark.parametrize(
    ("columns", "headings"),
    [
        (
            (SCORES, OTHER, SCORES, OTHER),  # a network that is given the image's own pixels
            [
                ("original and training resolution", "over all pixels"),
                ("original and training resolution", "mean over images"),
            ],
        ),
        (
            (SCORES, SCORES, OTHER, OTHER),  # one image
            [
                ("original resolution", "over all pixels and mean over images"),
                ("training resolution", "over all pixels and mean over images"),
            ],
        ),
        (
            (SCORES,) * 4,
            [("original and training resolution", "over all pixels and mean over images")],
        ),
        (
            (SCORES, {**SCORES, "mean_iou": 0.51}, OTHER, {**OTHER, "mean_iou": 0.52}),
            [
                ("original resolution", "over all pixels"),
                ("original resolution", "mean over images"),
                ("training resolution", "over all pixels"),
                ("training resolution", "mean over images"),
            ],
        ),
    ],
)
def test_identical_columns_are_shown_once(columns, headings):
    table = metric_table(result(*columns), shown)
    assert list(table.columns) == headings
    assert [name for name, _ in table.rows] == ["mean IoU", "IoU: a", "IoU: b"]
    assert {len(cells) for _, cells in table.rows} == {len(headings)}


def test_columns_that_differ_in_an_interval_are_two_where_it_is_shown():
    bounds = {
        "original": {"summed": {"mean_iou": (0.4, 0.6)}, "mean_over_images": {}},
    }
    found = result(*(SCORES,) * 4, intervals=bounds)
    assert len(metric_table(found, shown).columns) == 1
    assert len(metric_table(found, str).columns) == 2


def test_every_metric_is_a_row_of_the_file():
    bounds = {"original": {"summed": {"mean_iou": (0.4, 0.6)}}}
    rows = list(csv.reader(metrics_csv(result(*(SCORES,) * 4, intervals=bounds)).splitlines()))
    assert rows[0][:2] == ["metric", "of"]
    assert rows[1] == ["mean_iou", "", "original", "summed", "0.5", "0.4", "0.6"]
    assert rows[2] == ["iou", "a", "original", "summed", "0.4", "", ""]
    assert ["boundary_iou", "b", "original", "summed", "", "", ""] in rows
    assert ["average_precision", "b", "original", "summed", "0.8", "", ""] in rows
    assert len(rows) == 1 + 4 * 3 + 3 + 6 + 1
