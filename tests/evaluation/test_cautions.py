"""Each caution appears where it applies, and nowhere else."""

import re

import numpy as np
import pytest

from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.evaluation.cautions import find_cautions

RUN = {
    "data": "/pets",
    "best_step": 20,
    "findings": [],
    "parts": {
        "train": {"images": 900, "classes": {"pet": 0.3, "background": 0.58, "border": 0.12}},
        "validation": {"images": 100, "classes": {}},
    },
    "curves": [
        {"step": step, "validation_loss": loss} for step, loss in ((10, 0.9), (20, 0.5), (30, 0.55))
    ],
}
MATRIX = [[300, 10, 10], [10, 600, 10], [10, 10, 100]]


def images(*matrices):
    return [
        {"name": f"pet_{i}", "group": None, "confusion": {"original": matrix}}
        for i, matrix in enumerate(matrices)
    ]


SOUND = {
    "part": "test",
    "data": "/pets",
    "pairs": 300,
    "listed": 300,
    "seen": None,
    "skipped": {},
    "figures": {"original": {"summed": {"mean_iou": 0.8}, "confusion": MATRIX}},
    "intervals": {"original": {"summed": {"mean_iou": [0.795, 0.805]}}},
    "calibration": {"error": 0.02},
    "classes": {"kind": "classes"},
    "scale": "resize",
    "images": images(*[MATRIX] * 300),
    "run": RUN,
}


def cautions(**changes):
    found = find_cautions({**SOUND, **changes}, TRIMAP_CLASSES)
    return [f"{one.text} {one.advice}" for one in found]


def run(**changes):
    return {"run": {**RUN, **changes}}


def test_a_sound_evaluation_has_no_cautions():
    assert cautions() == []


def with_confusion(matrix, mean_iou=0.8, count=300):
    """A set of images that all have the same matrix."""
    figures = {"original": {"summed": {"mean_iou": mean_iou}, "confusion": matrix}}
    return {"figures": figures, "images": images(*[matrix] * count)}


def issue(code, level):
    return {"level": level, "code": code, "text": "2 groups are alike", "remedy": ""}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"part": "validation"}, r"validation split: the weights were chosen .* Quote .* test"),
        ({"part": "train"}, r"was trained on these images"),
        ({"part": "all", "seen": 7}, r"7 of these 300 images were used in training"),
        ({"listed": 3669}, r"has 3,669 test images; 300 of them were evaluated\. .* as a subset"),
        ({"skipped": {"a": "broken"}, "listed": 301}, r"1 image of this split could not be read"),
        (
            run(findings=[issue("near-duplicate", "warning")]),
            r"2 groups are al",
        ),
        (run(findings=[issue("folders", "note")]), r"--group-by"),
        (with_confusion([[1, 319, 0], [0, 630, 0], [0, 120, 0]], 0.21), r"“background” .* 0\.19"),
        ({"pairs": 12, "listed": None}, r"There are 12 images .*--folds"),
        ({"pairs": 1, "listed": None, "intervals": {}}, r"There is 1 image in"),
        (
            {"intervals": {"original": {"summed": {"mean_iou": [0.75, 0.85]}}}},
            r"0\.100 wide, from 0\.750 to 0\.850\. .*unetkit compare",
        ),
        (
            {
                "images": [
                    {**i, "group": f"film {1 + k % 2}"} for k, i in enumerate(SOUND["images"])
                ]
            },
            r"300 images come from 2 groups \(film 1, film 2\)",
        ),
        (
            with_confusion([[300, 9, 9], [9, 600, 9], [0, 0, 0]]),
            r"No pixel of this split is border",
        ),
        (
            with_confusion([[300, 9, 9], [9, 600, 9], [0, 0, 1]]),
            r"border covers 0\.11% of the pixels",
        ),
        (
            with_confusion([[300, 9, 9], [9, 600, 9], [10, 10, 400]]),
            r"border covers 31\.\d% of the pixels here and 12\.0% of the training pixels",
        ),
        (
            {"images": images(*[MATRIX] * 3, *[[[310, 10, 0], [10, 700, 0], [0, 0, 0]]] * 297)},
            r"border occurs in 3 images",
        ),
        (
            run(parts={"train": {"images": 9, "classes": {"border": 0.0}}}),
            r"border covers 11\.\d% of the pixels here and does not occur in training",
        ),
        ({"calibration": {"error": 0.11}}, r"calibration error is 0\.110"),
        (
            {"images": images((np.array(MATRIX) * 150).tolist(), *[MATRIX] * 299)},
            r"pet_0 has 33% of all pixels\. .* quote the means over images",
        ),
        ({"classes": {"kind": "instances"}}, r"a number for each object, and only pixels are"),
        (
            {"images": [{**one, "objects": [10, 1]} for one in SOUND["images"]]},
            r"300 of 3,000 objects are smaller than 8 px at the network's scale \(resize\)",
        ),
        ({"run": None}, r"as a file, without its run folder"),
        (
            run(parts={"validation": {"images": 5}}),
            r"chosen on 5 images",
        ),
        (
            run(curves=[*RUN["curves"], {"step": 40, "validation_loss": 0.7}]),
            r"lowest at step 20 \(0\.500\) and rose to 0\.700",
        ),
        (run(best_step=30), r"last validation pass were the best"),
    ],
)
def test_a_limit_of_the_evaluation_is_a_caution(arguments, words):
    (found,) = cautions(**arguments)
    assert re.search(words, found), found


def test_scored_objects_have_no_caution():
    assert cautions(classes={"kind": "instances"}, instances={"metrics": {}, "counts": {}}) == []


def test_larger_objects_and_even_images_have_no_caution():
    rows = [{**one, "objects": [30, 2]} for one in SOUND["images"]]
    assert cautions(images=rows) == []
    two = [MATRIX, (np.array(MATRIX) * 1.5).astype(int).tolist()]
    assert not any("of all pixels" in text for text in cautions(images=images(*two)))


def test_of_two_classes_the_interval_is_that_of_the_foreground():
    classes = Classes(("background", "disk"), (0, 1), background=0)
    matrix = [[600, 10], [10, 300]]
    bounds = {"mean_iou": [0.7, 0.9], "foreground_iou": {"all": [0.6, 0.64]}}
    figures = {"original": {"summed": {"mean_iou": 0.8}, "confusion": matrix}}
    result = {
        **SOUND,
        "figures": figures,
        "images": images(*[matrix] * 300),
        "intervals": {"original": {"summed": bounds}},
    }
    (found,) = find_cautions(result, classes)
    assert found.text == "The interval of foreground IoU is 0.040 wide, from 0.600 to 0.640."


def test_copies_within_a_split_are_not_a_caution():
    assert cautions(**run(findings=[issue("near-duplicate", "note")])) == []


def test_issues_of_other_data_are_not_a_caution():
    assert cautions(data="/other", **run(findings=[issue("near-duplicate", "warning")])) == []


def test_all_pairs_of_new_data_have_no_caution():
    assert cautions(part="all", seen=0) == []


@pytest.mark.parametrize(("matrix", "iou"), [([[0, 0, 0], [0, 9, 0], [0, 0, 0]], 1.0), (0, None)])
def test_with_one_class_or_none_there_is_no_caution_about_a_constant_prediction(matrix, iou):
    found = cautions(**with_confusion((np.zeros((3, 3), int) + matrix).tolist(), iou))
    assert not any("for every pixel" in text for text in found)


def test_without_curves_there_is_no_caution_about_them():
    assert cautions(**run(curves=[])) == []
