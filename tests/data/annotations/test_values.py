"""Labels, names, sizes and points of annotation files, accepted and refused."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.data.annotations.values import (
    flatten_points,
    to_image_name,
    to_image_size,
    to_label,
    to_points,
    to_ring,
)
from unetkit.data.classes import LONGEST_NAME
from unetkit.errors import DataError

STEADY = settings(derandomize=True, max_examples=60)
COORDINATES = st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6)
POINTS = st.lists(st.tuples(COORDINATES, COORDINATES).map(list), min_size=3, max_size=6)


def refused(message: str):
    """Expects a `DataError` of exactly this message."""
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


class TestLabels:
    @pytest.mark.parametrize("label", ["a", "T cell", "Zelle (groß)", "細胞", "x" * LONGEST_NAME])
    def test_printable_text_is_a_label(self, label):
        assert to_label(label) == label

    @pytest.mark.parametrize(
        ("value", "seen"),
        [
            ("", "''"),
            ("a\nb", r"'a\nb'"),
            ("a\0", r"'a\x00'"),
            ("\u200b", r"'\u200b'"),
            (5, "5"),
            (None, "missing"),
            (["a"], "['a']"),
        ],
    )
    def test_anything_else_is_refused(self, value, seen):
        with refused(f"the label is {seen}; accepted are 1 to 200 printable characters; rename it"):
            to_label(value)

    def test_a_label_may_not_be_too_long(self):
        with pytest.raises(DataError, match=r"^the label is 'x+\.\.\.x+'; accepted are 1 to 200 "):
            to_label("x" * (LONGEST_NAME + 1))


class TestImageNames:
    @pytest.mark.parametrize(
        ("value", "name"),
        [("a.png", "a.png"), ("", ""), ("x\\y\\a.png", "x/y/a.png"), ("x" * 1000, "x" * 1000)],
    )
    def test_folders_are_separated_by_forward_slashes(self, value, name):
        assert to_image_name(value) == name

    @pytest.mark.parametrize(
        ("value", "seen"),
        [
            ("a\0", r"'a\x00'"),
            ("a.png\n", r"'a.png\n'"),
            ("\ud800", r"'\ud800'"),
            (7, "7"),
            (None, "missing"),
        ],
    )
    def test_anything_else_is_refused(self, value, seen):
        with refused(f"the image's name is {seen}; accepted is the name of a file"):
            to_image_name(value)

    def test_a_name_may_not_be_too_long(self):
        with pytest.raises(DataError, match=r"^the image's name is 'x+\.\.\.x+'; accepted is the"):
            to_image_name("x" * 1001)


class TestImageSizes:
    def test_height_comes_first(self):
        assert to_image_size({"h": 3, "w": 5.0}, "h", "w") == (3, 5)

    @pytest.mark.parametrize("record", [{}, {"h": None}, {"h": None, "w": None}])
    def test_a_record_may_have_neither(self, record):
        assert to_image_size(record, "h", "w") is None

    @pytest.mark.parametrize(
        ("record", "seen"),
        [
            ({"h": 3}, "w is missing"),
            ({"w": 3}, "h is missing"),
            ({"h": 0, "w": 3}, "h is 0"),
            ({"h": 3, "w": 2.5}, "w is 2.5"),
        ],
    )
    def test_half_a_size_is_refused(self, record, seen):
        with refused(f"{seen}; accepted are whole numbers from 1 to 1000000"):
            to_image_size(record, "h", "w")


class TestPoints:
    def test_x_and_y_become_row_and_column(self):
        points = to_points([1, 2, 3.5, 4])
        assert points.dtype == np.float64
        assert points.tolist() == [[2, 1], [4, 3.5]]

    def test_no_number_is_no_point(self):
        assert to_points([]).shape == (0, 2)

    @pytest.mark.parametrize(
        ("value", "seen"), [([1], "[1]"), ((1, 2), "(1, 2)"), ("12", "'12'"), (None, "missing")]
    )
    def test_a_point_has_two_coordinates(self, value, seen):
        with refused(f"an outline is {seen}; accepted is a list of x and y in turn"):
            to_points(value)

    @pytest.mark.parametrize(
        ("value", "seen"),
        [
            ("5", "'5'"),
            (None, "missing"),
            (True, "True"),
            ([1], "[1]"),
            (math.nan, "nan"),
            (math.inf, "inf"),
            (1_000_001, "1000001"),
            (-1e7, "-10000000.0"),
        ],
    )
    def test_the_first_coordinate_out_of_range_is_named(self, value, seen):
        with refused(
            f"a coordinate is {seen}; accepted are numbers of pixels from -1000000 to 1000000"
        ):
            to_points([0, 1_000_000, value, math.nan])

    @given(POINTS)
    @STEADY
    def test_flattened_points_come_back(self, positions):
        assert to_points(flatten_points(positions))[:, ::-1].tolist() == positions


class TestRings:
    def test_a_repeated_closing_point_is_left_out(self):
        triangle = [[0, 0], [0, 4], [3, 0]]  # (row, column)
        assert to_ring([0, 0, 4, 0, 0, 3]).tolist() == triangle
        assert to_ring([0, 0, 4, 0, 0, 3, 0, 0]).tolist() == triangle

    @given(POINTS)
    @STEADY
    def test_closing_an_open_ring_changes_nothing(self, positions):
        if positions[0] != positions[-1]:
            ring = to_ring(flatten_points(positions))
            closed = to_ring(flatten_points([*positions, positions[0]]))
            np.testing.assert_array_equal(closed, ring)


class TestFlattening:
    def test_height_above_ground_is_left_out(self):
        assert flatten_points([[1, 2], [3, 4, 99]]) == [1, 2, 3, 4]

    @pytest.mark.parametrize(("value", "seen"), [([], "[]"), (5, "5"), (None, "missing")])
    def test_an_outline_has_points(self, value, seen):
        with refused(
            f"an outline is {seen}; accepted is a list that is not empty; complete or remove it"
        ):
            flatten_points(value)

    @pytest.mark.parametrize(
        ("position", "seen"),
        [([1], "[1]"), ([1, 2, 3, 4], "[1, 2, 3, 4]"), ((1, 2), "(1, 2)"), (None, "missing")],
    )
    def test_a_point_has_two_or_three_coordinates(self, position, seen):
        with refused(f"a point is {seen}; accepted is [x, y]"):
            flatten_points([[1, 2], position])
