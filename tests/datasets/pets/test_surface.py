"""Round cones: projection by hand, and their surface against spheres laid along the axis."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.datasets.pets.surface import (
    Camera,
    Cone,
    chain,
    find_surface,
    fur_tile,
    sample_tile,
)

STEADY = settings(derandomize=True, max_examples=30)
SHAPE = (60, 80)
BALD = np.zeros((256, 256), np.float32)
COORDINATES = st.floats(-5, 5)


def turn(angle):
    """Rotation about the axis towards the viewer, (3, 3)."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def ball(column, row, depth, radius, region=0):
    return Cone((column, row, depth), (column, row, depth), radius, radius, region)


def surface_of(*cones, fur=BALD, scale=20.0):
    return find_surface(list(cones), SHAPE, fur, scale)


def at(surface, array, row, column):
    """Value of an array of the surface at a pixel of the canvas."""
    return array[row - surface.window[0].start, column - surface.window[1].start]


def spheres(cone, surface):
    """Largest depth of many spheres along a cone in the window; -inf outside of all."""
    rows = np.arange(surface.window[0].start, surface.window[0].stop)[:, None]
    columns = np.arange(surface.window[1].start, surface.window[1].stop)
    start, end = np.array(cone.start), np.array(cone.end)
    best = np.full(surface.alpha.shape, -np.inf)
    for t in np.linspace(0, 1, 400):
        column, row, depth = start + t * (end - start)
        radius = cone.start_radius + t * (cone.end_radius - cone.start_radius)
        rest = radius**2 - (columns - column) ** 2 - (rows - row) ** 2
        front = depth + np.sqrt(np.maximum(rest, 0))
        best = np.where(rest > 0, np.maximum(best, front), best)
    return best


class TestCamera:
    def test_points_are_turned_then_scaled_then_moved(self):
        # A quarter turn takes (1, 2, 3) to (-2, 1, 3); times 10, plus (5, 7, 0).
        camera = Camera(turn(math.pi / 2), 10.0, 5.0, 7.0)
        np.testing.assert_allclose(camera.project(np.array([[1, 2, 3]])), [[-15, 17, 30]])

    @given(
        st.lists(st.tuples(COORDINATES, COORDINATES, COORDINATES), min_size=1, max_size=4),
        st.floats(0, 6.28),
        st.floats(0.5, 200),
        COORDINATES,
    )
    @STEADY
    def test_unproject_is_the_inverse_of_project(self, points, angle, scale, shift):
        camera = Camera(turn(angle), scale, shift, -2 * shift)
        points = np.array(points)
        np.testing.assert_allclose(camera.unproject(camera.project(points)), points, atol=1e-9)

    def test_a_projected_cone_keeps_region_and_offset(self):
        camera = Camera(np.eye(3), 10.0, 5.0, 7.0)
        cone = Cone((0, 0, 0), (1, 0, 2), 0.5, 0.25, 3, 0.75).projected(camera)
        np.testing.assert_allclose(cone.start, (5, 7, 0))
        np.testing.assert_allclose(cone.end, (15, 7, 20))
        assert cone[2:] == (5.0, 2.5, 3, 0.75)


class TestChain:
    def test_offset_is_the_length_so_far(self):
        points = [(0, 0, 0), (3, 4, 0), (3, 4, 12), (3, 5, 12)]
        cones = chain(points, [4.0, 3.0, 2.0, 1.0], 6)
        # Lengths: 5 = sqrt(9 + 16), 12, 1.
        assert [cone.offset for cone in cones] == [0, 5, 17]
        assert [(cone.start, cone.end) for cone in cones] == [*pairwise(points)]
        assert [cone[2:4] for cone in cones] == [(4, 3), (3, 2), (2, 1)]
        assert {cone.region for cone in cones} == {6}

    def test_one_point_has_no_cone(self):
        assert chain([(0, 0, 0)], [1.0], 0) == []


class TestFur:
    def test_tile_has_mean_0_and_deviation_1(self):
        tile = fur_tile()
        assert (tile.shape, tile.dtype) == ((256, 256), np.float32)
        assert tile.mean() == pytest.approx(0, abs=1e-6)
        assert tile.std() == pytest.approx(1, abs=1e-6)
        assert fur_tile() is tile

    def test_hairs_follow_the_direction_of_the_columns(self):
        tile = fur_tile()
        across, along = (np.abs(np.diff(tile, axis=axis)).mean() for axis in (0, 1))
        assert along < 0.5 * across

    def test_tile_continues_beyond_its_edges(self):
        tile = fur_tile()
        for axis in (0, 1):
            inside = np.abs(np.diff(tile, axis=axis)).mean()
            edge = np.abs(np.take(tile, 0, axis) - np.take(tile, -1, axis)).mean()
            assert edge < 1.3 * inside

    def test_samples_between_pixels_are_linear_and_wrap_round(self):
        tile = np.arange(12, dtype=np.float32).reshape(3, 4)
        columns, rows = np.array([[1, 1.5, 1, 5, 3.5]]), np.array([[2, 0, 0.5, -1, 0]])
        # 9; between 1 and 2; between 1 and 5; (row 2, column 1); between 3 and, round the edge, 0
        assert sample_tile(tile, columns, rows).tolist() == [[9, 1.5, 3, 9, 1.5]]


class TestOneBall:
    def test_depth_and_outline_are_those_of_a_sphere(self):
        surface = surface_of(ball(40, 30, 5, 12, region=4))
        front = 5 + math.sqrt(144 - 3**2 - 4**2)
        assert at(surface, surface.depth, 30, 40) == pytest.approx(17)
        assert at(surface, surface.depth, 33, 44) == pytest.approx(front)
        assert (surface.region == 4).all()
        # pi 12^2 pixels; the soft edge is as wide within as without.
        assert surface.alpha.sum() == pytest.approx(math.pi * 144, rel=0.02)
        assert at(surface, surface.alpha, 30, 40) == 1
        assert at(surface, surface.alpha, 30, 26) == 0

    def test_normals_have_about_length_1_and_point_away_from_the_centre(self):
        surface = surface_of(ball(40, 30, 0, 12))
        # At the outline the part towards the viewer is 0.1 at least: sqrt(1 + 0.01).
        lengths = np.linalg.norm(surface.normal, axis=2)
        assert 0.999 < lengths.min() <= lengths.max() < 1.005
        np.testing.assert_allclose(at(surface, surface.normal, 30, 40), (0, 0, 1), atol=1e-5)
        # Half the radius to the right and below
        np.testing.assert_allclose(at(surface, surface.normal, 30, 46)[:2], (0.5, 0), atol=1e-3)
        np.testing.assert_allclose(at(surface, surface.normal, 36, 40)[:2], (0, 0.5), atol=1e-3)

    def test_window_is_within_the_canvas_and_holds_the_whole_ball(self):
        surface = surface_of(ball(2, 57, 0, 10))
        rows, columns = surface.window
        assert (rows.stop, columns.start) == (60, 0)
        assert rows.start <= 47
        assert columns.stop >= 13
        assert surface.alpha.shape == (rows.stop - rows.start, columns.stop - columns.start)
        assert surface.alpha[0].max() == surface.alpha[:, -1].max() == 0

    def test_hairs_move_the_outline_and_not_the_depth(self):
        hairy, bald = (surface_of(ball(40, 30, 0, 12), fur=fur) for fur in (fur_tile(), BALD))
        np.testing.assert_array_equal(hairy.depth, bald.depth)
        assert (hairy.alpha != bald.alpha).any()
        # 0.005 of the scale of 20, and hairs of at most 5 deviations
        assert np.abs(hairy.alpha - bald.alpha).max() < 0.5
        assert (bald.hair == 0).all()
        assert hairy.hair.std() > 0.5


class TestSeveralCones:
    def test_the_nearer_ball_covers_the_other(self):
        near, far = ball(44, 30, 9, 8, region=1), ball(36, 30, -9, 8, region=2)
        for cones in ((near, far), (far, near)):
            surface = surface_of(*cones)
            assert at(surface, surface.region, 30, 38) == 1
            assert at(surface, surface.region, 30, 33) == 2
            assert at(surface, surface.depth, 30, 44) == pytest.approx(17)

    def test_balls_that_pass_through_each_other_meet_half_way(self):
        surface = surface_of(ball(35, 30, 0, 10, region=1), ball(45, 30, 0, 10, region=2))
        row = [at(surface, surface.region, 30, column) for column in (30, 39, 41, 50)]
        assert row == [1, 1, 2, 2]

    def test_outside_of_all_the_nearest_outline_decides(self):
        # The ball behind ends 1 pixel away, the one in front 2 pixels.
        surface = surface_of(ball(30, 30, 50, 8, region=1), ball(50, 30, -50, 9, region=2))
        assert at(surface, surface.region, 30, 40) == 2


class TestOneCone:
    def test_hairs_run_along_the_limb_from_its_offset(self):
        cone = Cone((20, 30, 0), (60, 30, 0), 8, 8, 0, offset=1.5)
        surface = surface_of(cone, scale=20.0)
        # 1.5 body lengths of 20 pixels, and 10 pixels from the start
        assert at(surface, surface.along, 30, 30) == pytest.approx(40)
        assert at(surface, surface.along, 27, 30) == pytest.approx(40)

    def test_length_along_a_foreshortened_limb_is_that_in_space(self):
        # 40 to the right and 30 towards the viewer: 50 / 40 of the length seen.
        surface = surface_of(Cone((20, 30, 0), (60, 30, 30), 8, 8, 0))
        assert at(surface, surface.along, 30, 40) == pytest.approx(25)

    @given(st.floats(15, 65), st.floats(15, 45), st.floats(15, 65), st.floats(15, 45))
    @STEADY
    def test_a_limb_of_even_width_is_the_union_of_its_spheres(self, c0, r0, c1, r1):
        cone = Cone((c0, r0, 3.0), (c1, r1, 3.0), 8.0, 8.0, 0)
        surface = surface_of(cone)
        expected = spheres(cone, surface)
        inside = np.isfinite(expected) & (surface.depth > -1e5)
        assert (np.isfinite(expected) != inside).mean() < 0.01  # spheres leave notches
        np.testing.assert_allclose(surface.depth[inside], expected[inside], atol=0.5)
        deep = np.where(inside, expected - 3, 0) > 4
        np.testing.assert_allclose(surface.depth[deep], expected[deep], atol=0.01)

    def test_a_tapering_limb_is_nearly_the_union_of_its_spheres(self):
        cone = Cone((20, 25, 0), (60, 35, 10), 12.0, 6.0, 0)
        surface = surface_of(cone)
        expected = spheres(cone, surface)
        deep = np.where(np.isfinite(expected), expected, 0) > 6
        assert deep.sum() > 300
        np.testing.assert_allclose(surface.depth[deep], expected[deep], atol=1)
        covered = (surface.alpha > 0.5).sum()
        assert covered == pytest.approx(np.isfinite(expected).sum(), rel=0.02)

    def test_a_limb_seen_from_its_end_is_the_ball_of_that_end(self):
        limb = surface_of(Cone((40, 30, -30), (41, 30, 20), 14, 10, 0))
        sphere = surface_of(ball(41, 30, 20, 10))
        assert limb.window == sphere.window
        np.testing.assert_array_equal(limb.depth, sphere.depth)
        np.testing.assert_array_equal(limb.alpha, sphere.alpha)

    @pytest.mark.parametrize("factor", [0.5, 2.0])
    def test_a_larger_canvas_shows_the_same_surface(self, factor):
        cone = Cone((20, 25, 0), (50, 35, 10), 12.0, 8.0, 0)
        large = Cone(*(tuple(factor * x for x in p) for p in cone[:2]), 12 * factor, 8 * factor, 0)
        shape = tuple(int(factor * side) for side in SHAPE)
        small = surface_of(cone, scale=60.0)
        other = find_surface([large], shape, BALD, 60.0 * factor)
        assert other.alpha.sum() == pytest.approx(factor**2 * small.alpha.sum(), rel=0.02)
        assert other.depth.max() == pytest.approx(factor * small.depth.max(), rel=0.01)
