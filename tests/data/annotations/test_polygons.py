"""Fills against hand arithmetic, against matplotlib, and against the laws of a plane."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from unetkit.data.annotations import polygons
from unetkit.data.annotations.polygons import (
    ImageAnnotation,
    RunLengths,
    Shape,
    ShapeCollector,
    box,
    ellipse,
    encode_run_lengths,
    rasterise,
    rasterise_instances,
    rotate_ring,
    to_run_lengths,
)
from unetkit.errors import DataError

STEADY = settings(derandomize=True, max_examples=150)
HEIGHT, WIDTH = 11, 13


def ring(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, float)


def square(top: float, left: float, side: float) -> np.ndarray:
    return box(ring((top, left), (top + side, left + side)))


def fill(*parts, size=(HEIGHT, WIDTH)) -> np.ndarray:
    return rasterise(ImageAnnotation("", None, (Shape("a", parts),)), size, {"a": 1}).astype(bool)


def pile(*shapes: Shape, size=None) -> ImageAnnotation:
    return ImageAnnotation("a.png", size, shapes, "a.json")


class TestRings:
    def test_triangle(self):
        # Inside is row + column < 4, of centres r + 0.5 + c + 0.5 < 4, so r + c < 3.
        filled = fill((ring((0, 0), (0, 4), (4, 0)),), size=(4, 4))
        assert filled.tolist() == [[r + c < 3 for c in range(4)] for r in range(4)]

    def test_direction_and_first_point_do_not_matter(self):
        outline = ring((0.2, 1), (3, 8.1), (9.7, 4), (6, 0.3))
        for version in (
            outline[::-1],
            np.roll(outline, 1, axis=0),
            np.vstack([outline, outline[0]]),
        ):
            assert (fill((version,)) == fill((outline,))).all()

    def test_centre_on_an_outline_belongs_to_its_right_and_below(self):
        # From 0.5 to 2.5: centres 0.5 and 1.5 are in, 2.5 is on the far side and out.
        expected = np.zeros((4, 4), bool)
        expected[:2, :2] = True
        assert (fill((square(0.5, 0.5, 2),), size=(4, 4)) == expected).all()

    def test_ring_in_a_ring_is_a_hole_and_one_in_that_an_island(self):
        filled = fill((square(0, 0, 7), square(1, 1, 5), square(3, 3, 1)))
        # 7 * 7 - 5 * 5 + 1 * 1 = 25
        assert filled.sum() == 25
        assert filled[0, 0]
        assert not filled[1, 1]
        assert filled[3, 3]

    def test_parts_unite_where_they_overlap(self):
        # 3 * 3 + 3 * 3 - 2 * 2 = 14 pixels, and none is a hole.
        assert fill((square(0, 0, 3),), (square(1, 1, 3),)).sum() == 14

    def test_outline_beyond_the_image_is_cut_off(self):
        assert fill((square(-1e6, -1e6, 2e6),)).all()
        assert fill((square(9, -3, 5),)).sum() == 2 * 2  # rows 9, 10 and columns 0, 1

    @pytest.mark.parametrize("corner", [(-9, 2), (40, 2), (2, -9), (2, 40)])
    def test_outline_outside_the_image_fills_nothing(self, corner):
        assert not fill((square(*corner, 5),)).any()

    def test_outline_without_area_fills_nothing(self):
        assert not fill((ring((1, 1), (5, 5), (1, 1)),)).any()

    def test_figure_of_eight_fills_both_loops(self):
        # Sides are the lines c = r and c = 4 - r. At r = 0.5 from 0.5 to 3.5, at 1.5 from 1.5 to
        # 2.5, at 2.5 and 3.5 the same again; the left end is in, the right one out.
        filled = fill((ring((0, 0), (0, 4), (4, 0), (4, 4)),), size=(4, 4))
        assert filled.astype(int).tolist() == [
            [1, 1, 1, 0],
            [0, 1, 0, 0],
            [0, 1, 0, 0],
            [1, 1, 1, 0],
        ]

    @given(
        st.lists(
            st.lists(
                st.tuples(st.floats(-3, HEIGHT + 3), st.floats(-3, WIDTH + 3)),
                min_size=3,
                max_size=9,
            ),
            min_size=1,
            max_size=3,
        )
    )
    @STEADY
    def test_matplotlib_agrees(self, outlines):
        rings = tuple(ring(*points) for points in outlines)
        centres = np.stack(np.mgrid[:HEIGHT, :WIDTH], axis=-1).reshape(-1, 2) + 0.5
        expected = np.zeros(len(centres), bool)
        far = np.ones(len(centres), bool)
        for one in rings:
            expected ^= Outline(np.vstack([one, one[:1]])).contains_points(centres)
            far &= distance_to_outline(centres, one) > 1e-6  # elsewhere it is a question of ties
        assert (fill(rings).ravel() == expected)[far].all()

    @given(st.lists(st.integers(0, 40), min_size=6, max_size=6))
    @STEADY
    def test_shapes_that_share_edges_neither_overlap_nor_leave_a_gap(self, numbers):
        # Halves of whole numbers: many centres lie exactly on edges and corners.
        top, left, height, width, row, column = (number / 2 for number in numbers)
        corners = box(ring((top, left), (top + height, left + width)))
        inner = (top + min(row, height), left + min(column, width))
        times = np.zeros((45, 45), int)
        for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            times += fill((ring(start, inner, end),), size=(45, 45))
        assert (times == fill((corners,), size=(45, 45))).all()

    def test_edges_taken_in_portions_give_the_same(self, monkeypatch):
        outline = ellipse(np.array([5.0, 6.0]), np.array([4.5, 7.5]))
        whole = fill((outline,))
        monkeypatch.setattr(polygons, "CROSSINGS_AT_ONCE", 1)
        assert (fill((outline,)) == whole).all()


def distance_to_outline(points: np.ndarray, outline: np.ndarray) -> np.ndarray:
    nearest = np.full(len(points), np.inf)
    for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        along = end - start
        length = along @ along
        share = (
            np.clip((points - start) @ along / length, 0, 1) if length else np.zeros(len(points))
        )
        nearest = np.minimum(nearest, np.hypot(*(points - start - share[:, None] * along).T))
    return nearest


class TestOutlines:
    def test_ellipse_is_the_pixels_of_its_inequality(self):
        centre, radii = np.array([20.3, 30.1]), np.array([15.2, 27.7])
        rows, columns = np.mgrid[:40, :60] + 0.5
        inside = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 < 1
        assert (fill((ellipse(centre, radii),), size=(40, 60)) == inside).all()

    def test_quarter_turn_swaps_height_and_width(self):
        upright = box(ring((2, 1), (4, 7)))  # 2 rows, 6 columns about (3, 4)
        expected = np.zeros((HEIGHT, WIDTH), bool)
        expected[0:6, 3:5] = True
        assert (fill((rotate_ring(upright, 90).round(9),)) == expected).all()

    def test_turn_is_clockwise_on_the_screen(self):
        # The right end of a level line goes down: from (0, 2) to (1, 1) about (0, 1).
        assert np.allclose(rotate_ring(ring((0, 0), (0, 2)), 90), [[-1, 1], [1, 1]])


class TestRunLengths:
    def test_runs_go_along_rows_or_down_columns(self):
        # 1 out, 2 in, 3 out.
        counts = np.array([1, 2, 3])
        along = [[False, True, True], [False, False, False]]
        down = [[False, True, False], [True, False, False]]
        assert RunLengths(counts, (2, 3)).decode().tolist() == along
        assert RunLengths(counts, (2, 3), by_column=True).decode().tolist() == down

    @given(st.integers(1, 6), st.integers(1, 6), st.data())
    @STEADY
    def test_mask_comes_back(self, height, width, data):
        bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
        mask = np.array(bits).reshape(height, width)
        assert (encode_run_lengths(mask).decode() == mask).all()

    @pytest.mark.parametrize("corner", [(2, 3), (-1, -2), (9, 11), (-5, 0), (50, 50), (0, -60)])
    def test_mask_is_placed_at_its_corner_and_cut_off(self, corner):
        counts, size = np.array([0, 12]), (3, 4)
        covered = box(ring(corner, np.add(corner, size)))
        assert (fill(RunLengths(counts, size, corner)) == fill((covered,))).all()

    @pytest.mark.parametrize("counts", [[1, 2], [7], [-1, 7], [3, 3.0], [True, 5], ["6"], [None]])
    def test_counts_must_sum_to_the_size(self, counts):
        with pytest.raises(DataError, match=r"run lengths is .* sum to 2 x 3 = 6; export"):
            to_run_lengths(counts, (2, 3))

    def test_mask_may_not_be_huge(self):
        with pytest.raises(
            DataError, match=r"size of a mask is \(1000000, 1000000\); accepted are"
        ):
            to_run_lengths([10**12], (10**6, 10**6))


class TestRasterise:
    def test_later_shapes_lie_on_earlier_ones(self):
        low, high = Shape("low", ((square(0, 0, 2),),)), Shape("high", ((square(0, 1, 2),),))
        values = {"low": 7, "high": 70000}
        assert rasterise(pile(low, high), (2, 3), values).tolist() == [[7, 70000, 70000]] * 2
        assert rasterise(pile(high, low), (2, 3), values).tolist() == [[7, 7, 70000]] * 2

    def test_value_0_erases(self):
        shapes = Shape("a", ((square(0, 0, 3),),)), Shape("hole", ((square(1, 1, 1),),))
        drawn = rasterise(pile(*shapes), (3, 3), {"a": 1, "hole": 0})
        assert drawn.tolist() == [[1, 1, 1], [1, 0, 1], [1, 1, 1]]

    def test_nothing_drawn_is_0(self):
        drawn = rasterise(pile(), (2, 3), {})
        assert drawn.dtype == np.int32
        assert drawn.tolist() == [[0, 0, 0]] * 2

    def test_label_without_a_value_is_named(self):
        message = r"a.json: image 'a.png': label 'fox' is no class; accepted are 'cat', 'dog'; add"
        with pytest.raises(DataError, match=message):
            rasterise(pile(Shape("fox", ((square(0, 0, 1),),))), (2, 3), {"cat": 1, "dog": 2})

    def test_image_of_another_size_is_refused(self):
        message = (
            r"a.json: image 'a.png' was annotated at 3 x 2 \(height x width\) and the image has "
            r"2 x 3; accepted is the same size; use the image that was annotated"
        )
        for fill_in in (lambda *a: rasterise(*a, {}), rasterise_instances):
            with pytest.raises(DataError, match=message):
                fill_in(pile(size=(3, 2)), (2, 3))


class TestInstances:
    def test_objects_are_numbered_in_drawing_order(self):
        shapes = [Shape("a", ((square(0, column, 1),),)) for column in (2, 0, 1)]
        assert rasterise_instances(pile(*shapes), (1, 4)).tolist() == [[2, 3, 1, 0]]

    def test_hidden_object_keeps_its_number_and_no_pixel(self):
        shapes = [Shape("a", ((square(0, 0, side),),)) for side in (1, 2, 1)]
        assert rasterise_instances(pile(*shapes), (2, 2)).tolist() == [[3, 2], [2, 2]]

    def test_pieces_of_a_group_are_one_object_of_a_label(self):
        keys = [("a", 1), ("a", 2), ("a", 1), ("b", 1), ("a", None), ("a", None)]
        shapes = [
            Shape(label, ((square(0, i, 1),),), group) for i, (label, group) in enumerate(keys)
        ]
        assert rasterise_instances(pile(*shapes), (1, 6)).tolist() == [[1, 2, 1, 3, 4, 5]]

    def test_crowds_are_minus_1_and_take_no_number(self):
        crowd = Shape("a", ((square(0, 0, 1),),), crowd=True)
        single = Shape("a", ((square(0, 1, 1),),))
        assert rasterise_instances(pile(crowd, single), (1, 3)).tolist() == [[-1, 1, 0]]

    def test_erasing_label_is_no_object(self):
        shapes = [Shape(name, ((square(0, i, 2),),)) for i, name in enumerate(["a", "ground", "a"])]
        drawn = rasterise_instances(pile(*shapes), (1, 4), erasing=("ground",))
        assert drawn.tolist() == [[1, 0, 2, 2]]


class TestShapeCollector:
    @pytest.mark.parametrize(
        ("ring", "fits"),
        [
            ([], False),
            ([[1, 2]], False),
            ([[1, 2], [5, 2]], False),
            ([[1, 1], [3, 3], [7, 7], [3, 3]], False),
            ([[2, 2], [2, 2], [2, 2]], False),
            ([[0.1, 0.1], [0.3, 0.3], [0.7, 0.8]], True),
            ([[0, 0], [2, 2], [0, 2], [2, 0]], True),  # crosses itself; both halves are filled
        ],
    )
    def test_only_rings_with_an_area_are_kept(self, ring, fits):
        collector = ShapeCollector()
        with collector.reading("shape 1"):
            collector.add(Shape("a", ((np.array(ring, float).reshape(-1, 2),),)))
        assert len(collector.shapes) == fits
        assert len(collector.left_out) == (not fits)
        assert not collector.problems

    def test_other_faults_are_problems_of_the_image(self):
        collector = ShapeCollector()
        with collector.reading("shape 1"):
            raise DataError("label is 5")
        with collector.reading("shape 2"):
            collector.add(Shape("a", ()))
        found = collector.collected("a.png", (4, 4))
        assert found.problems == ("shape 1: label is 5",)
        assert found.left_out == ("shape 2: it has no outline",)
