"""Bins of images, and the groups that names give."""

import numpy as np
import pytest

from unetkit.data.classes import Classes
from unetkit.metrics.breakdown import (
    break_down_by_class_fraction,
    break_down_by_group,
    break_down_by_size,
    group_names,
)

CLASSES = Classes(("ground", "cell"), (0, 1), background=0)


def record(name="a_1", size=(10, 10), cells=50, hits=40, group=None):
    """Record of an image with pixels of cells, some of them predicted, and no false positive."""
    ground = size[0] * size[1] - cells
    return {
        "name": name,
        "size": list(size),
        "group": group,
        "confusion": {"original": [[ground, 0], [cells - hits, hits]]},
    }


def test_sizes_are_cut_into_three_of_equal_number():
    records = [record(size=(10 + i, 10 + i)) for i in range(9)]
    rows = break_down_by_size(records)
    assert [row.images for row in rows] == [3, 3, 3]
    assert [row.label for row in rows] == ["10 to 12 px", "13 to 15 px", "16 to 18 px"]
    # cells: IoU 40/50; ground of the first three: (50 + 71 + 94) / (215 + 30 missed cells)
    assert rows[0].value == pytest.approx((0.8 + 215 / 245) / 2)
    assert all(row.low <= row.value <= row.high for row in rows)


def test_images_of_one_size_are_not_divided():
    assert break_down_by_size([record() for _ in range(5)]) == []


def test_fractions_of_a_class_leave_images_without_it_apart():
    records = [
        record(cells=0, hits=0),
        {**record(), "confusion": {"original": [[98, 2], [0, 0]]}},  # false positives
        *(record(cells=10 * i, hits=5 * i) for i in range(1, 7)),
    ]
    (found,) = break_down_by_class_fraction(records, CLASSES)  # without the background
    assert (found.name, found.without, found.false_alarms) == ("cell", 2, 1)
    assert [row.label for row in found.rows] == ["10 to 20 %", "30 to 40 %", "50 to 60 %"]
    assert [row.value for row in found.rows] == [0.5, 0.5, 0.5]


def test_of_many_classes_the_worst_are_shown():
    names = tuple(f"class{i}" for i in range(12))
    classes = Classes(names, tuple(range(12)), background=0)
    rng = np.random.default_rng(0)
    records = []
    for _ in range(9):
        confusion = np.diag(rng.integers(50, 90, 12)) + 1
        confusion[3:9, 0] += 200  # these are missed
        records.append({**record(), "confusion": {"original": confusion.tolist()}})
    assert [found.name for found in break_down_by_class_fraction(records, classes)] == list(
        names[3:9]
    )


def test_groups_come_the_worst_first():
    records = [
        record(name=f"{breed}_{i}", hits=hits)
        for breed, hits in (("pug", 45), ("lab", 5), ("cat", 30))
        for i in range(3)
    ]
    assert [row.label for row in break_down_by_group(records)] == ["lab", "cat", "pug"]


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (("film1/t01", "film1/t02", "film2/t01", "film2/t09"), ["film1"] * 2 + ["film2"] * 2),
        (("Maine_Coon_1", "Maine_Coon_22", "pug-7", "pug-8"), ["Maine_Coon"] * 2 + ["pug"] * 2),
        (("img001", "img002", "img003"), [""] * 3),  # all alike
        (("ann", "bob", "cyd", "dan"), [""] * 4),  # none alike
        (("001", "002", "a_1", "a_2"), ["(none)"] * 2 + ["a"] * 2),
    ],
)
def test_names_give_groups_where_several_share_one(names, groups):
    assert group_names([{"name": name, "group": None} for name in names]) == groups


def test_what_is_recorded_wins_over_names_that_divide_otherwise():
    records = [{"name": f"{n}_{i}", "group": g} for i, (n, g) in enumerate(["ax", "bx", "ay"])]
    assert group_names(records) == ["x", "x", "y"]


def test_there_are_no_groups_of_one():
    assert break_down_by_group([record(name="a_1"), record(name="b_1")]) == []
