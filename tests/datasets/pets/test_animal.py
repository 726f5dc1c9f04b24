"""Skeletons and cameras of animals: what every animal has, and where it is in the image."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from unetkit.datasets.pets import animal as regions
from unetkit.datasets.pets.animal import (
    _POSES,
    COATS,
    Animal,
    _eye,
    _leg,
    _rotation,
    aim_camera,
    build_skeleton,
    draw_animal,
)

STEADY = settings(derandomize=True, max_examples=40)
DEGREES = st.floats(-180, 180)
SPECIES = st.sampled_from(["cat", "dog"])
ANIMALS = st.builds(Animal, SPECIES, st.just("plain"), st.sampled_from(_POSES))
SEEDS = st.integers(0, 10**6)
BODY_REGIONS = {regions.BODY, regions.LEG, regions.PAW, regions.TAIL, regions.CHEST}


def skeleton(animal, seed=0):
    return build_skeleton(animal, np.random.default_rng(seed))


def extent(cones, camera):
    """First and last (column, row) of cones in the image, and the difference."""
    centres = camera.project(np.array([p for cone in cones for p in cone[:2]], float))[:, :2]
    radii = camera.scale * np.array([r for cone in cones for r in cone[2:4]])[:, None]
    first, last = (centres - radii).min(0), (centres + radii).max(0)
    return first, last, last - first


class TestDrawnAnimals:
    def test_every_species_coat_and_pose_occurs(self):
        animals = [draw_animal(np.random.default_rng(seed)) for seed in range(600)]
        coats = {(species, coat) for species in COATS for coat in COATS[species]}
        assert {(animal.species, animal.coat) for animal in animals} == coats
        poses = Counter(animal.pose for animal in animals)
        assert set(poses) == set(_POSES)
        # 0.14 to 0.24 of 600, less and more 4 deviations of 10
        assert 44 < min(poses.values()) <= max(poses.values()) < 184

    def test_the_generator_decides(self):
        assert draw_animal(np.random.default_rng(5)) == draw_animal(np.random.default_rng(5))


class TestRotations:
    def test_a_quarter_turn_sideways_turns_forward_to_the_left_of_the_animal(self):
        np.testing.assert_allclose(_rotation(90, 0, 0) @ (1, 0, 0), (0, 0, 1), atol=1e-12)

    def test_a_quarter_nod_turns_forward_up(self):
        np.testing.assert_allclose(_rotation(0, 90, 0) @ (1, 0, 0), (0, 1, 0), atol=1e-12)

    def test_a_quarter_tilt_turns_up_to_the_left_of_the_animal(self):
        np.testing.assert_allclose(_rotation(0, 0, 90) @ (0, 1, 0), (0, 0, 1), atol=1e-12)

    @given(DEGREES, DEGREES, DEGREES)
    @STEADY
    def test_scipy_agrees(self, yaw, nod, tilt):
        expected = Rotation.from_euler("YZX", (-yaw, nod, tilt), degrees=True).as_matrix()
        np.testing.assert_allclose(_rotation(yaw, nod, tilt), expected, atol=1e-12)


class TestSkeletons:
    @given(ANIMALS, SEEDS)
    @STEADY
    def test_every_animal_has_four_paws_two_eyes_and_a_tail(self, animal, seed):
        cones, _ = skeleton(animal, seed)
        counts = Counter(cone.region for cone in cones)
        assert counts[regions.PAW] == 4
        assert counts[regions.TAIL] == 3
        assert counts[regions.NOSE] == counts[regions.MOUTH] == 1
        for part in (regions.EYE_RIM, regions.IRIS, regions.PUPIL, regions.GLINT):
            assert counts[part] == 2
        assert counts[regions.EAR] >= 2
        assert counts[regions.TONGUE] <= (animal.species == "dog")

    @given(ANIMALS, SEEDS)
    @STEADY
    def test_the_head_comes_last_and_ends_the_neck(self, animal, seed):
        cones, start = skeleton(animal, seed)
        assert {cone.region for cone in cones[:start]} == BODY_REGIONS
        assert not {cone.region for cone in cones[start:]} & BODY_REGIONS
        assert cones[start - 1].region == regions.CHEST
        # The skull is a cone across the end of the neck.
        skull, end = cones[start], cones[start - 1].end
        middle = (np.asarray(skull.start) + skull.end) / 2
        assert math.dist(middle, end) < 0.01

    @given(ANIMALS, SEEDS)
    @STEADY
    def test_it_rests_on_the_ground(self, animal, seed):
        cones, start = skeleton(animal, seed)
        assert all(cone.start_radius > 0 and cone.end_radius > 0 for cone in cones)
        lowest = min(
            min(cone.start[1] - cone.start_radius, cone.end[1] - cone.end_radius)
            for cone in cones[:start]
        )
        # Radii vary by 18 percent of about a quarter of a body length.
        assert -0.06 < lowest < 0.02
        assert min(point[1] for cone in cones[start:] for point in cone[:2]) > 0.2

    @given(ANIMALS, SEEDS)
    @STEADY
    def test_it_looks_forward(self, animal, seed):
        cones, start = skeleton(animal, seed)
        (nose,) = (cone for cone in cones if cone.region == regions.NOSE)
        assert nose.start[0] > cones[start - 1].end[0]

    @pytest.mark.parametrize("species", ["cat", "dog"])
    def test_legs_of_a_sitting_animal_are_mirror_images(self, species):
        cones, _ = skeleton(Animal(species, "plain", "sitting"))
        legs = [cone for cone in cones if cone.region in (regions.LEG, regions.PAW)]

        def described(side):
            return sorted(
                (*cone.start[:2], side * cone.start[2], *cone.end[:2], *cone[2:])
                for cone in legs
                if side * cone.start[2] > 0
            )

        assert described(1) == described(-1)

    def test_cats_have_rounder_heads_than_dogs(self):
        reach = {}
        for species in COATS:
            cones, start = skeleton(Animal(species, "plain", "facing"), 1)
            (nose,) = (cone for cone in cones if cone.region == regions.NOSE)
            reach[species] = math.dist(nose.start, cones[start - 1].end) / cones[start].start_radius
        # In radii of the skull: 1 / 0.92 for a cat, at least 1.39 / 0.9 for a dog.
        assert reach["cat"] < 1.2 < 1.4 < reach["dog"]


class TestParts:
    def test_a_paw_continues_forward_from_the_end_of_its_leg(self):
        *leg, paw = _leg([(0.3, 0.5, 0.1), (0.35, 0.3, 0.1), (0.4, 0.09, 0.1)], [0.12, 0.08, 0.07])
        assert [cone.region for cone in leg] == [regions.LEG] * 2
        assert paw.region == regions.PAW
        assert paw.start == (0.4, 0.065, 0.1)
        assert paw.end == pytest.approx((0.475, 0.053, 0.1))

    def test_parts_of_an_eye_shrink_outwards(self):
        balls = _eye(np.array((0.7, 0.1, 0.4)), 0.2, 1)
        order = [regions.EYE_RIM, regions.IRIS, regions.PUPIL, regions.GLINT]
        assert [part.region for part in balls] == order
        np.testing.assert_allclose([part.start_radius for part in balls], [0.2, 0.17, 0.112, 0.052])
        # The iris is 0.2 radii along (0.86, 0, 0.5).
        np.testing.assert_allclose(balls[1].start, (0.7 + 0.0344, 0.1, 0.4 + 0.02))
        assert all((part.start == part.end).all() for part in balls)

    def test_eyes_are_mirror_images(self):
        left, right = (_eye(np.array((0.7, 0.1, 0.4 * side)), 0.2, side) for side in (1, -1))
        for one, other in zip(left, right, strict=True):
            np.testing.assert_allclose(one.start, other.start * (1, 1, -1))


class TestCameras:
    @given(ANIMALS, SEEDS, st.tuples(st.integers(32, 400), st.integers(32, 400)))
    @STEADY
    def test_at_most_a_twelfth_of_the_animal_is_outside_of_each_edge(self, animal, seed, shape):
        rng = np.random.default_rng(seed)
        cones, start = build_skeleton(animal, rng)
        visible = cones[start:] if animal.pose == "portrait" else cones
        camera = aim_camera(animal, visible, shape, rng)
        first, last, size = extent(visible, camera)
        canvas = np.array(shape[::-1])
        assert (first >= -size / 12 - 1e-6).all()
        assert (last <= canvas + size / 12 + 1e-6).all()
        # The largest fraction of the area, 0.52, over the filled part of a box, 0.55.
        assert size.prod() <= canvas.prod() * 0.52 / 0.55 + 1e-6

    @given(ANIMALS, SEEDS)
    @STEADY
    def test_rotation_keeps_lengths_and_the_ground_below(self, animal, seed):
        cones, _ = skeleton(animal, seed)
        camera = aim_camera(animal, cones, (96, 128), np.random.default_rng(seed))
        np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
        feet, back = camera.project(np.array([(0.0, 0, 0), (0, 1, 0)]))
        assert back[1] < feet[1]

    @given(ANIMALS, SEEDS)
    @STEADY
    def test_a_canvas_of_twice_the_size_shows_the_same(self, animal, seed):
        cones, _ = skeleton(animal, seed)
        small, large = (
            aim_camera(animal, cones, shape, np.random.default_rng(seed))
            for shape in ((60, 80), (120, 160))
        )
        np.testing.assert_array_equal(large.rotation, small.rotation)
        np.testing.assert_allclose(large[1:], np.multiply(small[1:], 2))

    @pytest.mark.parametrize(
        ("pose", "low", "high"),
        # Sine of the range of directions, less and more what pitch and roll change.
        [("facing", 0.6, 1), ("portrait", 0.6, 1), ("standing", -0.5, 0.75), ("sitting", -0.1, 1)],
    )
    def test_pose_decides_how_far_the_animal_faces_the_viewer(self, pose, low, high):
        animal = Animal("dog", "plain", pose)
        cones, _ = skeleton(animal)
        towards, right = [], []
        for seed in range(60):
            camera = aim_camera(animal, cones, (64, 64), np.random.default_rng(seed))
            right.append(camera.rotation[0, 0] > 0)
            towards.append(camera.rotation[2, 0])
        assert low < min(towards) <= max(towards) <= high
        assert 0.25 < np.mean(right) < 0.75
