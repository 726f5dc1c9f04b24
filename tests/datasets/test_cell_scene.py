"""Fields of cells: hills, labels and light against hand arithmetic and brute force."""

import cmath
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from unetkit.datasets.cell_scene import (
    DISHES,
    OFFSET,
    WHITE,
    Dish,
    _blur_beyond_focus,
    _Cell,
    _draw_cells,
    _expose,
    _illuminate,
    _place_cells,
    _raise_hill,
    _raise_hills,
    _Relief,
    _smooth_noise,
    _stain_cells,
    _tidy_labels,
    draw_dish,
    draw_field,
)

STEADY = settings(derandomize=True, max_examples=25)
DISH = Dish(0.6, 16.0, 0.5, 700.0, 0.5, 0.3 + 0j, 0.7)


class Still:
    """Stands in for a generator: no deviation, factors of 1, no debris."""

    def normal(self, mean, deviation):
        return mean

    def uniform(self, low, high):
        return 1.0

    def poisson(self, mean):
        return 0


def cell(centre=0j, radius=10.0, **changes):
    """A round cell without bends, its nucleus in the middle."""
    plain = _Cell(centre, radius, 1.0, 1 + 0j, np.zeros(3, complex), 0j, 0.4, 1.0)
    return plain._replace(**changes)


def hill(one, *places):
    plane = np.array([places], np.complex64)
    height, nucleus = _raise_hill(plane, one)
    return height[0], nucleus[0]


def relief(labels, count):
    labels = np.array(labels, np.int32)
    height = (labels > 0).astype(np.float32)
    none = np.zeros(labels.shape, np.float32)
    return _Relief(labels, height, none, none, [np.s_[0 : labels.shape[0], :]] * count)


class TestDishes:
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_every_property_has_another_level_in_each_dish(self, seed):
        dishes = [draw_dish(number, seed) for number in range(DISHES)]
        for levels in zip(*dishes, strict=True):
            sizes = np.sort(np.abs(levels) if np.iscomplexobj(levels) else levels)
            assert (np.diff(sizes) > 0).all()

    def test_dishes_of_another_seed_are_others(self):
        assert draw_dish(0, 0) != draw_dish(0, 1)

    def test_light_falls_from_four_sides(self):
        ways = [cmath.phase(draw_dish(number, 5).gradient) for number in range(DISHES)]
        turns = np.diff(ways) % (2 * math.pi)
        np.testing.assert_allclose(turns, math.pi / 2)

    def test_a_level_differs_from_its_dish_by_four_percent_at_most(self):
        radii = sorted(draw_dish(number, 5).radius for number in range(DISHES))
        np.testing.assert_allclose(radii, [13, 15, 17, 19.5], rtol=0.04)


class TestFields:
    @given(st.integers(16, 48), st.integers(16, 48), st.integers(0, 3), st.integers(0, 1000))
    @STEADY
    def test_counts_are_whole_and_labels_are_numbered_pieces(self, height, width, number, seed):
        rng = np.random.default_rng(seed)
        counts, labels = draw_field((height, width), draw_dish(number, seed), rng)
        assert (counts.dtype, labels.dtype) == (np.float32, np.uint16)
        assert counts.shape == labels.shape == (height, width)
        assert (counts == np.rint(counts)).all()
        assert 0 <= counts.min() <= counts.max() <= WHITE
        assert labels.max() >= 1
        for value in range(1, labels.max() + 1):
            assert ndimage.label(labels == value)[1] == 1  # 4-connected, and at least one pixel

    def test_the_generator_decides_everything(self):
        fields = [draw_field((32, 32), DISH, np.random.default_rng(s))[0] for s in (3, 3, 4)]
        np.testing.assert_array_equal(fields[0], fields[1])
        assert (fields[0] != fields[2]).mean() > 0.5


class TestPlaces:
    @given(st.integers(16, 200), st.integers(16, 200), st.integers(0, 1000))
    @STEADY
    def test_the_first_cell_is_well_inside(self, height, width, seed):
        first, *_ = _place_cells((height, width), 8.0, DISH, np.random.default_rng(seed))
        # The origin of the lattice is between 0.3 and 0.7 of each side.
        assert 0.3 * width <= first.centre.real <= 0.7 * width
        assert 0.3 * height <= first.centre.imag <= 0.7 * height

    def test_more_occupancy_gives_more_cells(self):
        counts = [
            len(_place_cells((200, 200), 8.0, DISH._replace(occupancy=o), np.random.default_rng(1)))
            for o in (0.2, 0.4, 0.8)
        ]
        # One cell besides the fraction of the lattice: 2 and 4 times as many.
        assert (counts[1] - 1) / (counts[0] - 1) == pytest.approx(2, rel=0.05)
        assert (counts[2] - 1) / (counts[0] - 1) == pytest.approx(4, rel=0.05)

    def test_properties_of_cells_stay_within_their_limits(self):
        places = np.arange(500) * (1 + 1j)
        cells = _draw_cells(places, 10.0, np.random.default_rng(0))
        assert [one.centre for one in cells] == places.tolist()
        radii = np.array([one.radius for one in cells])
        # 0.6 to 1.6 of the radius, and 0.75 of that for cells about to divide
        assert 4.5 <= radii.min() < 8 < 12 < radii.max() <= 16
        assert all(1 <= one.stretch <= math.exp(0.5) for one in cells)
        assert all(abs(abs(one.turn) - 1) < 1e-9 for one in cells)
        assert max(abs(one.bends).max() for one in cells) <= 0.13 * math.sqrt(2)
        assert max(abs(one.nucleus) for one in cells) <= 0.22


class TestOneHill:
    def test_height_falls_evenly_from_centre_to_outline(self):
        # 1 - distance / radius
        height, _ = hill(cell(), 0, 5, 10, 20j, 3 + 4j)
        np.testing.assert_allclose(height, [1, 0.5, 0, -1, 0.5], atol=1e-6)

    def test_stretch_moves_the_outline_out_along_and_in_across(self):
        height, _ = hill(cell(stretch=2.0), 20, 5j, 10)
        np.testing.assert_allclose(height, [0, 0, 0.5], atol=1e-6)

    def test_turn_brings_the_long_axis_to_the_columns(self):
        # A quarter turn: the long axis was along the rows.
        height, _ = hill(cell(stretch=2.0, turn=1j), 20j, 5)
        np.testing.assert_allclose(height, [0, 0], atol=1e-6)

    def test_harmonics_bend_the_outline(self):
        # The radius is 1 + 0.1 cos(2 angle): 11 along the columns, 9 along the rows.
        height, _ = hill(cell(bends=np.array([0.1, 0, 0], complex)), 11, 9j, -11)
        np.testing.assert_allclose(height, [0, 0, 0], atol=1e-6)
        # 1 + 0.1 cos(3 angle): 11 to the right, 9 to the left.
        height, _ = hill(cell(bends=np.array([0, 0.1, 0], complex)), 11, -9)
        np.testing.assert_allclose(height, [0, 0], atol=1e-6)

    def test_nucleus_has_a_steep_edge(self):
        # 4 (1 - distance / 0.4), clipped; its centre is 0.2 of the radius to the right.
        _, nucleus = hill(cell(nucleus=0.2 + 0j), 2, 5, 5.5, 6, -3)
        np.testing.assert_allclose(nucleus, [1, 1, 0.5, 0, 0], atol=1e-6)


class TestHills:
    def test_all_hills_on_the_whole_plane_give_the_same(self):
        rng = np.random.default_rng(2)
        shape, radius = (40, 50), 8.0
        places = rng.uniform(-4, 50, (9, 2)) @ (1, 1j)
        cells = _draw_cells(places, radius, rng)
        found = _raise_hills(shape, cells, radius, np.random.default_rng(7))
        noise = np.random.default_rng(7)
        plane = (np.arange(50) + 1j * np.arange(40)[:, None]).astype(np.complex64)
        plane.real += 0.13 * radius * _smooth_noise(shape, 0.9 * radius, noise)
        plane.imag += 0.13 * radius * _smooth_noise(shape, 0.9 * radius, noise)
        heights, nuclei = map(np.array, zip(*(_raise_hill(plane, c) for c in cells), strict=True))
        heights = np.maximum(heights, 0)
        winner = np.where(heights.max(0) > 0, heights.argmax(0) + 1, 0)
        np.testing.assert_array_equal(found.labels, winner)
        ordered = np.sort(heights, 0)
        np.testing.assert_array_equal(found.height, ordered[-1])
        np.testing.assert_array_equal(found.second, ordered[-2])
        expected = np.take_along_axis(nuclei, heights.argmax(0)[None], 0)[0] * (winner > 0)
        np.testing.assert_array_equal(found.nucleus, expected)

    def test_a_cell_outside_the_image_has_an_empty_window(self):
        cells = [cell(8 + 8j, 5.0), cell(-90 - 90j, 5.0), cell(90 + 8j, 5.0)]
        found = _raise_hills((16, 16), cells, 5.0, np.random.default_rng(0))
        assert np.unique(found.labels).tolist() == [0, 1]
        assert all(found.labels[window].size == 0 for window in found.windows[1:])


class TestLabels:
    def test_the_largest_piece_of_each_cell_is_kept(self):
        labels, kept = _tidy_labels(
            relief([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2], [0, 0, 1, 0, 0]], 2), radius=1.0
        )
        assert labels.dtype == np.uint16
        assert labels.tolist() == [[1, 1, 0, 2, 2], [1, 1, 0, 2, 2], [0, 0, 0, 0, 0]]
        assert kept == [0, 1]

    def test_tiny_and_hidden_cells_get_no_number(self):
        # Cell 2 is hidden; cell 3 has 3 pixels, fewer than 4.
        labels, kept = _tidy_labels(
            relief([[1, 1, 3, 3], [1, 1, 3, 0], [4, 4, 4, 4]], 4), radius=1.0
        )
        assert labels.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [2, 2, 2, 2]]
        assert kept == [0, 3]

    def test_the_limit_grows_with_the_radius(self):
        # 0.15 pi 4^2 = 7.5 pixels
        rows = [[1, 0, 2, 2, 0], [0, 0, 2, 2, 0], [0, 0, 2, 2, 0], [0, 0, 2, 0, 0]]
        assert _tidy_labels(relief(rows, 2), radius=4.0)[1] == [0]
        rows[3][3] = 2
        assert _tidy_labels(relief(rows, 2), radius=4.0)[1] == [0, 1]

    def test_the_first_cell_is_kept_whatever_its_size(self):
        labels, kept = _tidy_labels(relief([[1, 0], [0, 0]], 1), radius=9.0)
        assert (labels.tolist(), kept) == ([[1, 0], [0, 0]], [0])


class TestLight:
    def stain(self, dish, **changes):
        rng = np.random.default_rng(0)
        cells = [cell(14 + 16j, 9.0, **changes), cell(24 + 16j, 9.0, **changes)]
        hills = _raise_hills((32, 40), cells, 9.0, rng)
        labels, kept = _tidy_labels(hills, 9.0)
        assert kept == [0, 1]
        return hills, labels, _stain_cells(hills, labels, cells, dish, rng)

    def test_there_is_none_outside_of_cells(self):
        _, labels, light = self.stain(DISH)
        assert light.dtype == np.float32
        assert (light[labels == 0] == 0).all()
        assert (light[labels > 0] > 0).mean() > 0.95

    def test_it_is_dim_at_free_edges_and_where_cells_meet(self):
        hills, labels, light = self.stain(DISH._replace(nucleus=0.0))
        inner = light[hills.height > 0.5].mean()
        assert light[(labels > 0) & (hills.height < 0.1)].mean() < 0.5 * inner
        seam = (hills.second > 0.1) & (hills.height - hills.second < 0.25)
        assert light[seam].mean() < 0.9 * inner

    def test_sign_of_the_nucleus_says_whether_it_is_bright(self):
        (hills, _, dark), (_, _, bright) = (
            self.stain(DISH._replace(nucleus=n)) for n in (-0.5, 0.5)
        )
        inside = hills.nucleus == 1
        # 1.5 and 0.5 of the same light; vesicles are outside of nuclei.
        np.testing.assert_allclose(bright[inside], 3 * dark[inside], rtol=1e-4)

    def test_brightness_of_cells_is_a_factor(self):
        _, labels, light = self.stain(DISH)
        _, _, double = self.stain(DISH, brightness=2.0)
        # Vesicles have the same light in all cells; most pixels have none.
        assert np.median(double[labels > 0] / light[labels > 0]) == pytest.approx(2, rel=1e-3)

    def test_haze_is_three_tenths_of_even_light(self):
        light = np.full((32, 48), 100, np.float32)
        haze = _blur_beyond_focus(light, 8.0, Still())
        np.testing.assert_allclose(haze, np.full((32, 48), 30), rtol=1e-4)

    def test_debris_is_brighter_than_nothing(self):
        haze = _blur_beyond_focus(np.zeros((64, 64), np.float32), 8.0, np.random.default_rng(1))
        assert haze.min() >= 0
        assert 50 < haze.max() < 1300

    def test_even_illumination_is_1(self):
        even = DISH._replace(vignette=0.0, gradient=0j)
        np.testing.assert_array_equal(_illuminate((3, 5), even, Still()), np.ones((3, 5)))

    def test_corners_are_dimmer_by_the_vignette(self):
        light = _illuminate((3, 5), DISH._replace(vignette=0.5, gradient=0j), Still())
        # 1 / (1 + 0.25 (1 + 1)) in a corner, 1 / 1.25 in the middle of a side
        np.testing.assert_allclose(light[0, [0, 2, 4]], [1 / 1.5, 1 / 1.25, 1 / 1.5], rtol=1e-6)
        assert light[1, 2] == 1

    def test_gradient_is_the_logarithm_of_the_light_at_the_edge(self):
        light = _illuminate((3, 5), DISH._replace(vignette=0.0, gradient=0.3 + 0.2j), Still())
        np.testing.assert_allclose(light[1, [0, 4]], np.exp([-0.3, 0.3]), rtol=1e-6)
        np.testing.assert_allclose(light[[0, 2], 2], np.exp([-0.2, 0.2]), rtol=1e-6)


class TestCamera:
    def test_noise_grows_as_the_root_of_the_light(self):
        rng = np.random.default_rng(0)
        spread = []
        for light in (100.0, 1600.0):
            flat = np.full((256, 256), light, np.float32)
            counts = _expose(flat, 0.7, rng)
            assert counts.mean() == pytest.approx(OFFSET + light, rel=0.01)
            spread.append(counts.std())
        # Read noise 12, and 1 / 0.4 of the light: sqrt(144 + 250), sqrt(144 + 4000).
        assert spread == pytest.approx([394**0.5, 4144**0.5], rel=0.02)

    def test_counts_end_at_0_and_white(self):
        rng = SimpleNamespace(standard_normal=lambda shape, dtype: np.full(shape, -30, dtype))
        # Deviation 12 without light: 200 - 30 * 12 is below 0.
        assert (_expose(np.zeros((4, 4), np.float32), 0.7, rng) == 0).all()
        counts = _expose(np.full((4, 4), 1e5, np.float32), 0.7, np.random.default_rng(0))
        assert (counts == WHITE).all()


class TestNoise:
    def test_deviation_is_about_the_same_at_every_grain(self):
        rng = np.random.default_rng(0)
        for grain in (2.0, 5.0, 9.3):
            assert _smooth_noise((200, 300), grain, rng).std() == pytest.approx(1.1, abs=0.12)

    def test_neighbours_resemble_each_other_within_a_grain(self):
        def resemblance(grain, distance):
            noise = _smooth_noise((200, 200), grain, np.random.default_rng(0))
            return np.corrcoef(noise[:, distance:].ravel(), noise[:, :-distance].ravel())[0, 1]

        assert resemblance(10, 1) > 0.95
        assert abs(resemblance(10, 30)) < 0.2
        assert abs(resemblance(0.5, 1)) < 0.05  # the smallest grain is a pixel
