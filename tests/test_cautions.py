"""Each caution is raised where it should be, in words, and nowhere else."""

import copy

import pytest

from unetkit.cautions import find_cautions
from unetkit.classes import TRIMAP_CLASSES

SOUND = {
    "part": "test",
    "pairs": 300,
    "listed": 300,
    "skipped": {},
    "figures": {
        "original": {
            "summed": {"mean_iou": 0.8},
            "confusion": [[300, 10, 10], [10, 600, 10], [10, 10, 100]],
        }
    },
    "intervals": {"original": {"summed": {"mean_iou": [0.795, 0.805]}}},
    "calibration": {"error": 0.02},
    "images": [{"group": None}],
}
TRAINING = {
    "best": {"step": 20},
    "findings": [],
    "parts": {
        "train": {"images": 900, "classes": {"pet": 0.3, "background": 0.58, "border": 0.12}},
        "validation": {"images": 100, "classes": {}},
    },
}
ROWS = [
    {"step": step, "validation_loss": loss} for step, loss in ((10, 0.9), (20, 0.5), (30, 0.55))
]


def cautions(result=None, training=TRAINING, rows=ROWS, **changes):
    found = find_cautions({**SOUND, **(result or {}), **changes}, TRIMAP_CLASSES, training, rows)
    return [f"{one.text} {one.advice}" for one in found]


def trained(**changes):
    return {**copy.deepcopy(TRAINING), **changes}


def test_a_sound_evaluation_raises_none():
    assert cautions() == []


def with_confusion(matrix, mean_iou=0.8):
    figures = {"original": {"summed": {"mean_iou": mean_iou}, "confusion": matrix}}
    return {"figures": figures}


def finding(code, level):
    return {"level": level, "code": code, "text": "2 groups are alike", "remedy": ""}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"part": "validation"}, r"validation part: the weights were chosen .* Quote .* test"),
        ({"part": "train"}, r"was trained on these images"),
        ({"part": "all"}, r"are among these"),
        ({"listed": 3669}, r"names 3,669 test images; 300 of them are here\. Call it a subset"),
        ({"skipped": {"a": "broken"}, "listed": 301}, r"1 image of this part could not be read"),
        (
            {"training": trained(findings=[finding("near-duplicate", "warning")])},
            r"2 groups are al",
        ),
        ({"training": trained(findings=[finding("folders", "note")])}, r"--group-by"),
        (with_confusion([[1, 319, 0], [0, 630, 0], [0, 120, 0]], 0.21), r"“background” .* 0\.19"),
        ({"pairs": 12, "listed": None}, r"There are 12 images .*--folds"),
        ({"pairs": 1, "listed": None, "intervals": {}}, r"There is 1 image in"),
        (
            {"intervals": {"original": {"summed": {"mean_iou": [0.75, 0.85]}}}},
            r"0\.100 wide, from 0\.750 to 0\.850\. .*unetkit compare",
        ),
        (
            {"images": [{"group": "film 1"}, {"group": "film 2"}]},
            r"300 images come from 2 groups \(film 1, film 2\)",
        ),
        (with_confusion([[300, 9, 9], [9, 600, 9], [0, 0, 0]]), r"No pixel of this part is border"),
        (
            with_confusion([[300, 9, 9], [9, 600, 9], [0, 0, 1]]),
            r"border fills 0\.11% of the pixels",
        ),
        (
            with_confusion([[300, 9, 9], [9, 600, 9], [10, 10, 400]]),
            r"border fills 31\.\d% of the pixels here and 12\.0% of those trained on",
        ),
        ({"calibration": {"error": 0.11}}, r"calibration error is 0\.110"),
        ({"training": None}, r"Only the model's file"),
        (
            {"training": trained(parts={"validation": {"images": 5}})},
            r"chosen on 5 images",
        ),
        (
            {"rows": [*ROWS, {"step": 40, "validation_loss": 0.7}]},
            r"least at step 20 \(0\.500\) and rose to 0\.700",
        ),
        ({"training": trained(best={"step": 30})}, r"last look were the best"),
    ],
)
def test_a_question_that_is_open_is_raised(arguments, words):
    (found,) = cautions(**arguments)
    import re

    assert re.search(words, found), found


def test_copies_within_a_part_are_no_caution():
    assert cautions(training=trained(findings=[finding("near-duplicate", "note")])) == []


def test_without_curves_nothing_is_said_of_them():
    assert cautions(rows=[]) == []
