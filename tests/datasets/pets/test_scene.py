"""Surroundings, shadow and foreground, by hand where they are even, else by what may change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.datasets.pets.animal import BODY, HEAD, LEG
from unetkit.datasets.pets.coat import draw_light
from unetkit.datasets.pets.scene import (
    _darken,
    _garden,
    _paint_leaves,
    _paint_thing,
    _room,
    _shift,
    _tone,
    _weave,
    paint_foreground,
    paint_shadow,
    paint_surroundings,
)
from unetkit.datasets.pets.surface import Camera, Cone, fur_tile

STEADY = settings(derandomize=True, max_examples=30)
BALD = np.zeros((256, 256), np.float32)
LIGHT = np.array((0.5, -0.7, 0.5), np.float32)
ABOVE = np.array((0, -1, 0), np.float32)


def rng_of(seed=0):
    return np.random.default_rng(seed)


def surroundings(seed, shape=(48, 64), row=40.0):
    camera = Camera(np.diag((1.0, -1, 1)), 30.0, 32.0, row)
    return paint_surroundings(shape, camera, fur_tile(), draw_light(rng_of(seed)), rng_of(seed))


class TestSurroundings:
    def test_every_pixel_has_a_colour(self):
        for seed in range(20):
            image = surroundings(seed)
            assert (image.shape, image.dtype) == ((48, 64, 3), np.float32)
            assert np.isfinite(image).all()
            # `_expose` of `synthetic_pets` clips what is brighter than white.
            assert 0 <= image.min() < 128 < image.max() < 400

    @pytest.mark.parametrize("shape", [(16, 16), (16, 90), (90, 16)])
    def test_narrow_and_small_canvases_are_painted(self, shape):
        for seed in range(10):
            assert surroundings(seed, shape, row=12.0).shape == (*shape, 3)

    def test_the_generator_decides_everything(self):
        np.testing.assert_array_equal(surroundings(3), surroundings(3))
        assert (surroundings(3) != surroundings(4)).mean() > 0.9

    @pytest.mark.parametrize("paint", [_room, _garden])
    def test_wall_and_ground_differ(self, paint):
        steps = []
        for seed in range(12):
            canvas = np.zeros((60, 60, 3), np.uint8)
            paint(canvas, 40, 60.0, rng_of(seed))
            assert canvas.reshape(-1, 3).max(1).min() > 0  # no pixel is left out
            rows = canvas.astype(float).mean((1, 2))
            steps.append(abs(rows[:35].mean() - rows[45:].mean()))
        assert np.median(steps) > 10


class TestTexture:
    def test_without_hairs_nothing_changes(self):
        image = np.full((20, 30, 3), 100, np.float32)
        _weave(image, 8, 25.0, BALD, rng_of())
        assert (image == 100).all()

    def test_hairs_of_the_floor_are_stronger_and_keep_the_mean(self):
        wall, floor = [], []
        for seed in range(20):
            image = np.full((40, 60, 3), 100, np.float32)
            _weave(image, 20, 50.0, fur_tile(), rng_of(seed))
            assert image.mean() == pytest.approx(100, abs=3)
            wall.append(image[:20].std())
            floor.append(image[20:].std())
        # At most 0.05 and 0.13 of 100, on average the half
        assert np.mean(wall) == pytest.approx(2.5, abs=1)
        assert np.mean(floor) == pytest.approx(6.5, abs=2)


class TestSoftEllipses:
    def test_by_hand(self):
        shade = np.ones((5, 9), np.float32)
        _darken(shade, (4, 2), (4, 2), 0.5)
        # 1 - 0.5 (1 - (column / 4)^2 - (row / 2)^2); beyond the ellipse 1
        assert shade[2].tolist() == [1, 0.78125, 0.625, 0.53125, 0.5, 0.53125, 0.625, 0.78125, 1]
        assert shade[:, 4].tolist() == [1, 0.625, 0.5, 0.625, 1]
        assert shade[1, 1] == pytest.approx(1 - 0.5 * (1 - 9 / 16 - 1 / 4))
        assert shade[0, 0] == 1

    def test_two_multiply(self):
        shade = np.ones((3, 3), np.float32)
        for strength in (0.5, 0.2):
            _darken(shade, (1, 1), (2, 2), strength)
        assert shade[1, 1] == pytest.approx(0.5 * 0.8)

    @given(
        st.tuples(st.floats(-20, 30), st.floats(-20, 30)),
        st.tuples(st.floats(1, 15), st.floats(1, 15)),
        st.floats(0, 1),
    )
    @STEADY
    def test_pixels_in_the_ellipse_are_darker_and_no_others(self, centre, axes, strength):
        shade = np.ones((10, 12), np.float32)
        _darken(shade, centre, axes, strength)
        (x, y), (a, b) = centre, axes
        rows, columns = np.indices(shade.shape)
        inside = np.maximum(1 - ((columns - x) / a) ** 2 - ((rows - y) / b) ** 2, 0)
        np.testing.assert_allclose(shade, 1 - strength * inside, atol=1e-4)


class TestShadow:
    def shade(self, *cones, light=ABOVE):
        image = np.full((40, 40, 3), 100, np.float32)
        paint_shadow(image, list(cones), Camera(np.diag((1.0, -1, 1)), 10.0, 20.0, 30.0), light)
        assert (image == image[:, :, :1]).all()
        return image[:, :, 0]

    def test_a_ball_on_the_ground_takes_three_tenths_below_it(self):
        shade = self.shade(Cone((0, 0, 0), (0, 0, 0), 0.5, 0.5, BODY))
        assert shade[30, 20] == pytest.approx(70)
        # Half axes 1.2 and 0.45 times the radius of 5 pixels: 6 and 2.25
        rows, columns = np.nonzero(shade < 100)
        assert (columns.min(), columns.max()) == (15, 25)
        assert (rows.min(), rows.max()) == (28, 32)

    def test_higher_parts_have_fainter_and_wider_shadows(self):
        # Height 1: 0.3 / 7; reach 10 (0.5 + 0.4), times 1.2
        shade = self.shade(Cone((0, 1, 0), (0, 1, 0), 0.5, 0.5, BODY))
        assert shade[30, 20] == pytest.approx(100 - 30 / 7)
        assert np.ptp(np.nonzero(shade < 100)[1]) > 16

    def test_it_moves_away_from_the_light(self):
        ball = Cone((0, 1, 0), (0, 1, 0), 0.5, 0.5, LEG)
        shade = self.shade(ball, light=np.array((1, 0, 0), np.float32))
        # 0.6 of a height of 10 pixels, to the left of column 20
        assert np.unravel_index(shade.argmin(), shade.shape) == (30, 14)

    def test_the_head_casts_none(self):
        assert (self.shade(Cone((0, 0, 0), (0, 0, 0), 0.5, 0.5, HEAD)) == 100).all()


class TestForeground:
    def test_it_changes_the_image_only_where_it_covers_the_animal(self):
        outcomes = set()
        for seed in range(40):
            image = np.full((48, 48, 3), 500, np.float32)  # brighter than anything painted
            coverage = np.ones((48, 48), np.float32)
            paint_foreground(image, coverage, BALD, LIGHT, rng_of(seed))
            assert -1e-6 <= coverage.min() <= coverage.max() <= 1
            changed = (image != 500).any(2)
            np.testing.assert_array_equal(changed, coverage < 1)
            outcomes.add(bool(changed.any()))
        assert outcomes == {False, True}

    def test_about_a_third_of_images_have_one(self):
        count = 0
        for seed in range(150):
            coverage = np.ones((24, 24), np.float32)
            paint_foreground(np.zeros((24, 24, 3), np.float32), coverage, BALD, LIGHT, rng_of(seed))
            count += bool((coverage < 1).any())
        # 0.36 of 150, less and more 3 deviations of 6
        assert 36 < count < 72

    def test_leaves_grow_up_from_their_place(self):
        image = np.zeros((60, 60, 3), np.float32)
        coverage = np.ones((60, 60), np.float32)
        _paint_leaves(image, coverage, (30, 50), 20.0, rng_of())
        rows, columns = np.nonzero(coverage < 0.5)
        # Twice half the height times 0.35 to 0.55, to each side of the middle of a leaf
        assert 25 <= rows.min() < 36
        assert rows.max() <= 56
        assert columns.min() < 25 < 35 < columns.max()
        assert (image[coverage < 0.01] > 0).any(1).all()

    def test_a_toy_stands_on_its_place(self):
        kinds = set()
        for seed in range(12):
            image = np.zeros((60, 60, 3), np.float32)
            surface = _paint_thing(image, (30, 50), 10.0, BALD, LIGHT, rng_of(seed))
            alpha = np.zeros((60, 60), np.float32)
            alpha[surface.window] = surface.alpha
            np.testing.assert_array_equal(image.any(2), alpha > 0)
            assert alpha[47, 30] > 0.9
            rows, columns = np.nonzero(alpha > 0.5)
            assert columns.mean() == pytest.approx(29.9, abs=1)
            assert rows.max() <= 54  # leaning by at most a quarter of half the width
            # Widths: ball 20, cushion 23, blanket 32, bolster 36
            kinds.add(np.digitize(np.ptp(columns), (21, 28)).item())
        assert kinds == {0, 1, 2}


class TestColours:
    def test_colours_are_whole_numbers_within_a_byte(self):
        colours = np.array([_tone(rng_of(seed), tint=0.5) for seed in range(300)])
        assert colours.dtype.kind == "i"
        assert 8 <= colours.min() < 60
        assert 200 < colours.max() <= 248

    def test_without_tint_colours_are_those_of_coats(self):
        # Green and violet come from tints: no coat is much greener or bluer than it is red.
        def cold(tint):
            colours = np.array([_tone(rng_of(seed), tint) for seed in range(300)])
            return (colours[:, 1:].max(1) - colours[:, 0] > 30).mean()

        assert cold(0.0) < 0.02 < cold(1.0)

    def test_a_factor_is_cut_off_at_black_and_white(self):
        assert _shift((100, 200, 11), 1.5) == (150, 255, 16)
        assert _shift((100, 200, 11), 0.5) == (50, 100, 5)
        assert _shift((100, 200, 11), -1) == (0, 0, 0)
