"""Colours of fur and shading, by hand on flat surfaces and by law on drawn animals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.datasets.pets.animal import (
    BODY,
    CHEST,
    COATS,
    EAR,
    GLINT,
    INNER_EAR,
    LEG,
    MUZZLE,
    NOSE,
    PAW,
    PUPIL,
    TAIL,
)
from unetkit.datasets.pets.coat import (
    COAT_PALETTE,
    _coat_colours,
    _markings,
    _paint_details,
    _solid_noise,
    colour_coat,
    draw_light,
    paint_surface,
    smooth_step,
)
from unetkit.datasets.pets.surface import Camera, Cone, Surface, find_surface

STEADY = settings(derandomize=True, max_examples=40)
PATTERNS = sorted({coat for coats in COATS.values() for coat in coats})
FRONT = np.array((0, 0, 1), np.float32)


def rng_of(seed=0):
    return np.random.default_rng(seed)


def flat(height, width, **changes):
    """A plane that faces the viewer, without hairs, at the top left of the canvas."""
    shape = (height, width)
    plain = Surface(
        window=(slice(0, height), slice(0, width)),
        alpha=np.ones(shape, np.float32),
        depth=np.zeros(shape, np.float32),
        normal=np.broadcast_to(FRONT, (*shape, 3)).copy(),
        along=np.zeros(shape, np.float32),
        hair=np.zeros(shape, np.float32),
        region=np.zeros(shape, np.uint8),
    )
    return plain._replace(**changes)


def painted(surface, albedo=100.0, under=0.0, light=FRONT, scale=10.0):
    """The first channel after an even colour was painted on an even image."""
    image = np.full((*surface.alpha.shape, 3), under, np.float32)
    paint_surface(image, surface, np.full(image.shape, albedo, np.float32), light, scale)
    assert (image == image[:, :, :1]).all()
    return image[:, :, 0]


def layers_of(coat, region, seed=0, **changes):
    """Layers over the coat of some pixels, all at the origin, by number of the colour."""
    region = np.array(region)
    values = {
        "points": np.zeros((region.size, 3)),
        "up": np.zeros(region.size),
        "along": np.zeros(region.size),
        "noise": np.zeros(region.size),
    }
    return _markings(coat, region, **{**values, **changes}, rng=rng_of(seed))


class TestSmoothStep:
    def test_by_hand(self):
        # At a quarter of the way: 0.25^2 (3 - 0.5) = 0.15625.
        values = smooth_step(np.array([-1, 2, 3, 4, 6, 9]), 2, 6)
        assert values.tolist() == [0, 0, 0.15625, 0.5, 1, 1]

    def test_exchanged_limits_give_a_falling_step(self):
        assert smooth_step(np.array([0.1, 0.325, 0.55]), 0.55, 0.1).tolist() == [1, 0.5, 0]

    @given(st.floats(-2, 3), st.floats(-2, 3))
    @STEADY
    def test_it_rises_and_is_symmetrical(self, one, other):
        low, high = smooth_step(np.sort([one, other]), 0, 1)
        assert 0 <= low <= high <= 1
        mirrored = smooth_step(np.array([1 - one]), 0, 1)[0]
        assert smooth_step(np.array([one]), 0, 1)[0] + mirrored == pytest.approx(1)


class TestColours:
    @pytest.mark.parametrize("coat", PATTERNS)
    def test_they_are_neither_black_nor_white(self, coat):
        for seed in range(30):
            colours = _coat_colours(coat, rng_of(seed))
            assert [colour.shape for colour in colours] == [(3,)] * 3
            assert all(colour.dtype == np.float32 for colour in colours)
            assert 12 <= np.min(colours) <= np.max(colours) <= 250

    def test_markings_are_darker_unless_the_coat_is_nearly_black(self):
        for seed in range(50):
            main, marking, _ = _coat_colours("tabby", rng_of(seed))
            assert (marking.mean() < main.mean()) == (main.mean() >= 70)

    def test_markings_of_patches_differ_from_the_coat(self):
        for seed in range(50):
            main, marking, _ = _coat_colours("patched", rng_of(seed))
            # 35 between the means, less up to 10 percent of the marking's
            assert abs(marking.mean() - main.mean()) > 10

    def test_pointed_coats_are_pale(self):
        # The darkest of cream, white, sand and silver has a mean of 152.7; times 0.9 is 137.
        assert all(_coat_colours("pointed", rng_of(seed))[0].mean() > 137 for seed in range(50))


class TestMarkings:
    @pytest.mark.parametrize("coat", PATTERNS)
    def test_opacities_are_fractions(self, coat):
        rng = rng_of(1)
        count = 400
        layers = layers_of(
            coat,
            rng.integers(16, size=count),
            points=rng.normal(0, 0.5, (count, 3)),
            up=rng.uniform(-1, 1, count),
            along=rng.uniform(0, 2, count),
            noise=rng.normal(0, 0.7, count),
        )
        assert {number for number, _ in layers} <= {1, 2}
        for _, opacity in layers:
            assert opacity.shape == (count,)
            assert 0 <= opacity.min() <= opacity.max() <= 1

    def test_a_plain_coat_is_only_lighter_below(self):
        # smooth_step(0.55, 0.2, 0.9) is 0.5, times 0.45.
        ((number, opacity),) = layers_of("plain", [BODY] * 3, seed=0, up=np.array([1, -0.55, -1]))
        assert number == 2
        np.testing.assert_allclose(opacity, [0, 0.225, 0.45])

    def test_points_are_dark_at_the_ends_of_the_animal(self):
        number, opacity = layers_of("pointed", [BODY, LEG, PAW, TAIL, MUZZLE, EAR, NOSE])[0]
        assert number == 1
        assert opacity.tolist() == [0, 0.55, 1, 1, 0.95, 1, 0]

    def test_stripes_follow_the_limb_and_fade_on_pale_regions(self):
        # A quarter of the period of 0.13 is the crest of the wave, three quarters the trough.
        along = np.array([0.0325, 0.0975, 0.1625, 0.0325])
        _, opacity = layers_of("tabby", [LEG, LEG, LEG, CHEST], along=along)[0]
        np.testing.assert_allclose(opacity, [0.75, 0, 0.75, 0.15 * 0.75], atol=1e-6)

    def test_a_saddle_is_on_the_back(self):
        _, opacity = layers_of("saddled", [BODY, BODY, LEG, EAR], up=np.array([1, -1, 1, 0]))[0]
        assert opacity.tolist() == [1, 0, 0, 0.8]

    def test_two_colours_have_light_paws_and_a_light_belly(self):
        region = [PAW, CHEST, BODY, BODY, TAIL]
        light, _ = layers_of("bicolour", region, up=np.array([0, 0, -1, 1, 0]))
        assert light[0] == 2
        assert light[1].tolist() == [1, 1, 1, 0, 0]


class TestDetails:
    def test_they_replace_the_coat(self):
        albedo = np.full((4, 3), 77.0)
        region = np.array([BODY, PUPIL, GLINT, INNER_EAR])
        _paint_details(albedo, region, np.array([100, 50, 0]), rng_of())
        # 0.45 (214, 150, 140) + 0.4 (100, 50, 0)
        expected = [[77] * 3, [12, 10, 12], [255] * 3, [136.3, 87.5, 63]]
        np.testing.assert_allclose(albedo, expected, rtol=1e-6)


class TestNoise:
    def test_it_is_within_the_sum_of_its_waves(self):
        values = _solid_noise(rng_of(1).uniform(-1, 1, (5000, 3)), 9, rng_of())
        assert values.shape == (5000,)
        # 7 waves of amplitude 1 / 2.6, of variance 1/2 each: sqrt(3.5) / 2.6 = 0.72
        assert np.abs(values).max() <= 7 / 2.6
        assert values.std() == pytest.approx(0.72, abs=0.1)

    def test_near_points_have_near_values(self):
        points = rng_of(1).uniform(-1, 1, (500, 3))
        one, other = (_solid_noise(points + shift, 5, rng_of()) for shift in (0, 0.001))
        assert 0 < np.abs(one - other).max() < 0.1


class TestCoat:
    @pytest.mark.parametrize("coat", PATTERNS)
    def test_colours_cover_the_animal_and_nothing_else(self, coat):
        camera = Camera(np.eye(3), 30.0, 40.0, 30.0)
        limb = Cone((-0.6, 0, 0), (0.6, 0, 0), 0.4, 0.4, BODY).projected(camera)
        fur = np.zeros((256, 256), np.float32)
        surface = find_surface([limb], (60, 80), fur, camera.scale)
        colours = colour_coat(coat, surface, camera, rng_of(2))
        assert colours.shape == (*surface.alpha.shape, 3)
        assert colours.dtype == np.float32
        assert colours[surface.alpha == 1].min() > 8
        assert (colours[0, 0], colours[-1, -1]) == (pytest.approx(0), pytest.approx(0))
        again = colour_coat(coat, surface, camera, rng_of(2))
        np.testing.assert_array_equal(again, colours)
        assert (colour_coat(coat, surface, camera, rng_of(3)) != colours).any()

    def test_markings_move_with_the_body(self):
        fur = np.zeros((256, 256), np.float32)
        found = []
        for column in (30.0, 50.0):
            camera = Camera(np.eye(3), 30.0, column, 30.0)
            limb = Cone((-0.2, 0, 0), (0.2, 0, 0), 0.4, 0.4, BODY).projected(camera)
            surface = find_surface([limb], (60, 80), fur, camera.scale)
            found.append(colour_coat("patched", surface, camera, rng_of(4)))
        np.testing.assert_allclose(found[0], found[1], atol=0.5)

    def test_palette_has_ten_colours_that_differ(self):
        assert COAT_PALETTE.shape == (10, 3)
        distance = np.linalg.norm(COAT_PALETTE[:, None] - COAT_PALETTE, axis=2)
        assert distance[~np.eye(10, dtype=bool)].min() > 20


class TestLight:
    def test_it_comes_from_above_and_in_front_on_either_side(self):
        lights = np.array([draw_light(rng_of(seed)) for seed in range(100)])
        assert lights.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(lights, axis=1), 1, rtol=1e-6)
        assert (lights[:, 1] < -0.5).all()
        assert (lights[:, 2] > 0.2).all()
        assert 0.3 < (lights[:, 0] > 0).mean() < 0.7


class TestShading:
    def test_full_light_brightens_by_a_tenth(self):
        # 0.42 + 0.68
        np.testing.assert_allclose(painted(flat(3, 4)), np.full((3, 4), 110), rtol=1e-6)

    def test_light_from_behind_leaves_42_percent(self):
        values = painted(flat(3, 4), light=-FRONT)
        np.testing.assert_allclose(values, np.full((3, 4), 42), rtol=1e-6)

    def test_opacity_blends_with_what_is_below(self):
        alpha = np.array([[0, 0.5, 1]], np.float32)
        # 50 + (110 - 50) alpha
        values = painted(flat(1, 3, alpha=alpha), under=50)
        np.testing.assert_allclose(values, [[50, 80, 110]], rtol=1e-6)

    def test_hairs_are_shorter_on_the_head_and_hardly_there_on_the_nose(self):
        region = np.array([[BODY, MUZZLE, NOSE]], np.uint8)
        # 110 (1 + 0.1 length): lengths 1, 0.5 and 0.1
        values = painted(flat(1, 3, region=region, hair=np.ones((1, 3), np.float32)))
        np.testing.assert_allclose(values, [[121, 115.5, 111.1]], rtol=1e-6)

    def test_what_is_far_behind_its_surroundings_is_darker(self):
        depth = np.zeros((21, 21), np.float32)
        depth[10, 10] = -50
        values = painted(flat(21, 21, depth=depth), scale=10.0)
        # The mean of 3 x 3 pixels is 50 * 8 / 9 = 44 nearer, more than 0.2 of the scale.
        assert values[10, 10] == pytest.approx(110 * 0.6)
        assert values[0, 0] == pytest.approx(110)

    def test_the_rim_shines_against_the_light(self):
        side = np.zeros((1, 2, 3), np.float32)
        side[..., 0] = 1
        # The normal has no part towards the viewer: full light, and 26 for the rim.
        values = painted(flat(1, 2, normal=side), light=np.array((1, 0, 0), np.float32))
        np.testing.assert_allclose(values, [[136, 136]], rtol=1e-6)

    def test_only_the_window_is_painted(self):
        image = np.zeros((5, 6, 3), np.float32)
        surface = flat(2, 2, window=(slice(1, 3), slice(2, 4)))
        paint_surface(image, surface, np.full((2, 2, 3), 100, np.float32), FRONT, 10.0)
        assert np.argwhere(image[:, :, 0]).tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]
