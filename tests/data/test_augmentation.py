"""Image and mask move alike, whatever is drawn; nothing is changed that is switched off."""

import re
from dataclasses import fields

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.data.augmentation import (
    MICROSCOPE_AUGMENTATION,
    NO_AUGMENTATION,
    PHOTO_AUGMENTATION,
    Augmentation,
    jitter_colour,
    random_window,
    warp,
)
from unetkit.errors import ConfigError

STEADY = settings(derandomize=True, max_examples=80)
SEEDS = st.integers(0, 9999)
AUGMENTATIONS = st.sampled_from([NO_AUGMENTATION, PHOTO_AUGMENTATION, MICROSCOPE_AUGMENTATION])


def picture(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, channels), dtype=np.uint8)


def middle(size: tuple[int, int]) -> tuple[float, float]:
    return (size[0] - 1) / 2, (size[1] - 1) / 2


def window_of(
    augmentation: Augmentation, size: tuple[int, int], seed: int = 0, centre=None
) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return random_window(generator, augmentation, size, centre or middle(size))


def straight_window(rows: range, columns: range) -> np.ndarray:
    return np.stack(np.meshgrid(rows, columns, indexing="ij")).astype(np.float32)


def linear_part(augmentation: Augmentation, seed: int) -> np.ndarray:
    """The (2, 2) matrix from steps in the window to steps in the picture."""
    window = window_of(augmentation, (9, 9), seed)
    return np.stack([window[:, 5, 4] - window[:, 4, 4], window[:, 4, 5] - window[:, 4, 4]], axis=1)


class TestNoAugmentation:
    @pytest.mark.parametrize("size", [(1, 1), (4, 5), (7, 6), (32, 64)])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_copies_exactly(self, size, channels):
        image = picture(0, *size, channels)
        window = window_of(NO_AUGMENTATION, size)
        assert window.dtype == np.float32
        assert np.array_equal(window, straight_window(range(size[0]), range(size[1])))
        assert np.array_equal(warp(image, window, is_mask=False), image)
        assert np.array_equal(warp(image[..., 0], window, is_mask=True), image[..., 0])

    def test_window_is_cut_out_at_its_centre(self):
        image = picture(0, 20, 30)
        # 4 x 6 pixels from (5, 11): the middle is at 5 + 1.5 and 11 + 2.5
        window = window_of(NO_AUGMENTATION, (4, 6), centre=(6.5, 13.5))
        assert np.array_equal(warp(image, window, is_mask=False), image[5:9, 11:17])

    def test_far_corner_of_a_huge_picture_stays_on_the_pixel_grid(self):
        window = window_of(NO_AUGMENTATION, (5, 6), centre=(60_002.0, 65_002.5))
        expected = straight_window(range(60_000, 60_005), range(65_000, 65_006))
        assert np.array_equal(window, expected)


class TestFlips:
    @pytest.mark.parametrize("size", [(4, 5), (5, 4), (6, 6)])
    def test_flips_are_exact_and_all_of_them_occur(self, size):
        image, mask = picture(0, *size), picture(1, *size, 1)[..., 0]
        both = Augmentation(flip_horizontal=True, flip_vertical=True)
        seen = set()
        for seed in range(40):
            window = window_of(both, size, seed)
            rows, columns = np.sign(window[0, 1, 0] - window[0, 0, 0]), window[1, 0, 1]
            columns = np.sign(columns - window[1, 0, 0])
            seen.add((rows, columns))
            mirrored = (slice(None, None, int(rows)), slice(None, None, int(columns)))
            assert np.array_equal(warp(image, window, is_mask=False), image[mirrored])
            assert np.array_equal(warp(mask, window, is_mask=True), mask[mirrored])
        assert seen == {(1, 1), (1, -1), (-1, 1), (-1, -1)}

    @pytest.mark.parametrize(
        ("augmentation", "mirrored"),
        [
            (Augmentation(flip_horizontal=True), np.s_[:, ::-1]),
            (Augmentation(flip_vertical=True), np.s_[::-1, :]),
        ],
    )
    def test_each_flip_mirrors_its_own_axis_half_of_the_time(self, augmentation, mirrored):
        image = picture(0, 5, 6)
        flipped = 0
        for seed in range(200):
            warped = warp(image, window_of(augmentation, (5, 6), seed), is_mask=False)
            same = np.array_equal(warped, image)
            assert same or np.array_equal(warped, image[mirrored])
            flipped += not same
        assert 70 <= flipped <= 130  # 100 expected, deviation 7


class TestStrengths:
    """Each change alone, measured on the window's coordinates, stays within what was asked for."""

    SEEDS = range(100)

    def test_rotation_turns_by_up_to_its_angle(self):
        angles = []
        for seed in self.SEEDS:
            matrix = linear_part(Augmentation(rotation=30.0), seed)
            assert np.allclose(matrix @ matrix.T, np.eye(2), atol=1e-5)
            assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-5)
            angles.append(np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0])))
        assert -30.01 <= min(angles) < -25
        assert 25 < max(angles) <= 30.01

    def test_zoom_scales_both_axes_by_up_to_its_factor_either_way(self):
        factors = []
        for seed in self.SEEDS:
            matrix = linear_part(Augmentation(zoom=0.25), seed)
            assert np.allclose(matrix, matrix[0, 0] * np.eye(2), atol=1e-5)
            factors.append(matrix[0, 0])
        assert 1 / 1.25 - 1e-5 <= min(factors) < 0.82
        assert 1.22 < max(factors) <= 1.25 + 1e-5

    def test_stretch_changes_the_aspect_ratio_and_keeps_the_area(self):
        ratios = []
        for seed in self.SEEDS:
            matrix = linear_part(Augmentation(stretch=0.5), seed)
            assert np.allclose(matrix, np.diag(np.diag(matrix)), atol=1e-5)
            assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-4)
            ratios.append(matrix[0, 0] / matrix[1, 1])
        assert 1 / 1.5 - 1e-4 <= min(ratios) < 0.7
        assert 1.4 < max(ratios) <= 1.5 + 1e-4

    def test_shear_slants_by_up_to_its_angle_and_keeps_the_area(self):
        angles = []
        for seed in self.SEEDS:
            matrix = linear_part(Augmentation(shear=20.0), seed)
            assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-4)
            cosine = matrix[:, 0] @ matrix[:, 1]
            cosine /= np.linalg.norm(matrix[:, 0]) * np.linalg.norm(matrix[:, 1])
            angles.append(90 - np.rad2deg(np.arccos(cosine)))
        assert -20.01 <= min(angles) < -16
        assert 16 < max(angles) <= 20.01

    def test_shift_moves_by_up_to_its_share_of_each_side(self):
        moves = []
        for seed in self.SEEDS:
            window = window_of(Augmentation(shift=0.1), (20, 50), seed)
            move = window - window_of(NO_AUGMENTATION, (20, 50))
            assert np.allclose(move, move[:, :1, :1], atol=1e-4)
            moves.append(move[:, 0, 0])
        rows, columns = np.array(moves).T
        assert -2.001 <= rows.min() < -1.7
        assert 1.7 < rows.max() <= 2.001
        assert -5.001 <= columns.min() < -4.5
        assert 4.5 < columns.max() <= 5.001

    def test_elastic_displacements_are_smooth_and_have_the_given_deviation(self):
        still = window_of(NO_AUGMENTATION, (90, 120))
        moves = np.stack(
            [window_of(Augmentation(elastic=4.0), (90, 120), seed) - still for seed in self.SEEDS]
        )
        # The grid's middle point lies in the window's middle: bicubic in between, exact there.
        assert moves[:, :, 44:46, 59:61].std() == pytest.approx(4, rel=0.15)
        assert np.abs(np.diff(moves, axis=2)).max() < 1.5
        assert np.abs(np.diff(moves, axis=3)).max() < 1.5

    def test_zero_switches_every_change_off(self):
        still = window_of(NO_AUGMENTATION, (8, 8))
        for seed in self.SEEDS:
            assert np.array_equal(window_of(Augmentation(), (8, 8), seed), still)


class TestWarp:
    @pytest.mark.parametrize("before", [3, 10, 23])
    @pytest.mark.parametrize("size", [(5, 7), (1, 4), (6, 1), (2, 2)])
    def test_beyond_the_edge_the_picture_is_mirrored(self, size, before):
        image = picture(0, *size)
        after = before + 4
        rows, columns = range(-before, size[0] + after), range(-before, size[1] + after)
        expected = np.pad(image, ((before, after), (before, after), (0, 0)), mode="reflect")
        window = straight_window(rows, columns)
        assert np.array_equal(warp(image, window, is_mask=False), expected)
        assert np.array_equal(warp(image[..., 0], window, is_mask=True), expected[..., 0])

    @given(
        seed=SEEDS,
        augmentation=AUGMENTATIONS,
        size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
        window_size=st.tuples(st.integers(1, 16), st.integers(1, 16)),
        centre=st.tuples(st.floats(-130, 170), st.floats(-130, 170)),
        channels=st.sampled_from([1, 3]),
    )
    @settings(STEADY, max_examples=150)
    def test_reading_a_part_gives_the_same_as_the_whole(
        self, seed, augmentation, size, window_size, centre, channels
    ):
        image = picture(seed, *size, channels)
        window = window_of(augmentation, window_size, seed, centre)
        # Halfway between two pixels OpenCV's nearest is the even one of the array it looks into.
        tie = (window % 1 == 0.5).any(0)
        for is_mask, method in ((False, cv2.INTER_LINEAR), (True, cv2.INTER_NEAREST)):
            whole = cv2.remap(
                image, window[1], window[0], method, borderMode=cv2.BORDER_REFLECT_101
            )
            part = warp(image, window, is_mask=is_mask)
            assert part.shape == (*window_size, channels)
            compared = ~tie if is_mask else np.ones_like(tie)
            assert np.array_equal(part[compared], whole.reshape(part.shape)[compared])

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
    @pytest.mark.parametrize("channels", [2, 5, 129, 256])
    def test_any_number_of_channels_is_moved_as_each_alone(self, dtype, channels):
        generator = np.random.default_rng(channels)
        image = (generator.random((12, 15, channels)) * 250).astype(dtype)
        window = window_of(MICROSCOPE_AUGMENTATION, (8, 9), 3, middle((12, 15)))
        warped = warp(image, window, is_mask=False)
        assert warped.shape == (8, 9, channels)
        assert warped.dtype == dtype
        for k in (0, channels // 2, channels - 1):
            alone = warp(image[..., k : k + 1], window, is_mask=False)
            # OpenCV interpolates two channels at steps of 1/32 pixel, others at finer ones.
            np.testing.assert_allclose(warped[..., k : k + 1], alone, atol=250 / 32)

    @pytest.mark.parametrize("dtype", [np.uint16, np.float32])
    def test_numbers_beyond_8_bits_are_kept(self, dtype):
        image = np.array([[[1000], [3000]]], dtype)
        window = np.array([[[0.0, 0.0]], [[0.0, 0.5]]], np.float32)
        assert warp(image, window, is_mask=False).tolist() == [[[1000], [2000]]]

    def test_only_the_part_that_is_needed_is_read(self):
        class Watched(np.ndarray):
            def __getitem__(self, key):
                rows, columns = key
                asked.append((rows.stop - rows.start, columns.stop - columns.start))
                return np.asarray(self)[key]

        asked: list[tuple[int, int]] = []
        image = picture(0, 300, 400)
        window = window_of(NO_AUGMENTATION, (10, 20), centre=(150.5, 200.5))
        warped = warp(image.view(Watched), window, is_mask=False)
        assert np.array_equal(warped, image[146:156, 191:211])
        assert len(asked) == 1
        assert asked[0][0] <= 10 + 4
        assert asked[0][1] <= 20 + 4

    @given(seed=SEEDS, augmentation=AUGMENTATIONS)
    @STEADY
    def test_image_and_mask_are_moved_alike(self, seed, augmentation):
        # Where the image shows its own mask, 0 or 200: the nearest of four pixels weighs at least
        # a quarter, so that the image is on the mask's side or not far beyond the middle.
        mask = np.random.default_rng(seed).integers(0, 2, (24, 31), dtype=np.uint8)
        window = window_of(augmentation, (20, 28), seed, middle(mask.shape))
        labels = warp(mask, window, is_mask=True)
        shown = warp(200 * mask[..., None], window, is_mask=False)[..., 0] / 200
        rounding = 0.06  # OpenCV's coordinates are in steps of 1/32
        assert shown[labels == 1].min(initial=1) >= 0.25 - rounding
        assert shown[labels == 0].max(initial=0) <= 0.75 + rounding

    @given(seed=SEEDS, augmentation=AUGMENTATIONS)
    @STEADY
    def test_image_of_flat_regions_shows_their_labels_exactly(self, seed, augmentation):
        blocks = np.random.default_rng(seed).permutation(12).astype(np.uint8).reshape(3, 4)
        mask = np.kron(blocks, np.ones((9, 9), np.uint8))
        window = window_of(augmentation, (25, 30), seed, middle(mask.shape))
        labels = warp(mask, window, is_mask=True)
        shown = warp(20 * mask[..., None], window, is_mask=False)[..., 0]
        rows, columns = window.round()
        inside = np.logical_and.reduce([(x % 9 >= 2) & (x % 9 <= 6) for x in (rows, columns)])
        inside &= (rows >= 0) & (rows < 27) & (columns >= 0) & (columns < 36)
        assert inside.any()
        assert np.array_equal(shown[inside], 20 * labels[inside])

    @given(seed=SEEDS, augmentation=AUGMENTATIONS, labels=st.sets(st.integers(0, 255), min_size=1))
    @STEADY
    def test_labels_out_are_a_subset_of_labels_in(self, seed, augmentation, labels):
        mask = np.random.default_rng(seed).choice(np.array(sorted(labels), np.uint8), (17, 23))
        warped = warp(mask, window_of(augmentation, (32, 32), seed, (8.0, 11.0)), is_mask=True)
        assert warped.shape == (32, 32)
        assert warped.dtype == np.uint8
        assert set(np.unique(warped)) <= set(np.unique(mask))

    def test_half_a_pixel_between_two_is_their_mean(self):
        image = np.array([[[10], [30]]], np.uint8)
        window = np.array([[[0.0]], [[0.5]]], np.float32)
        assert warp(image, window, is_mask=False).tolist() == [[[20]]]


class TestSeeds:
    @pytest.mark.parametrize("augmentation", [PHOTO_AUGMENTATION, MICROSCOPE_AUGMENTATION])
    def test_same_seed_gives_the_same_sample(self, augmentation):
        image = picture(0, 30, 30)
        samples = []
        for seed in (5, 5, 6):
            generator = np.random.default_rng(seed)
            window = random_window(generator, augmentation, (20, 20), (15.0, 15.0))
            samples.append(
                jitter_colour(generator, augmentation, warp(image, window, is_mask=False))
            )
        assert np.array_equal(samples[0], samples[1])
        assert not np.array_equal(samples[0], samples[2])


class TestJitterColour:
    STRONG = Augmentation(brightness=0.9, contrast=3.0, saturation=3.0)

    @given(seed=SEEDS, channels=st.sampled_from([1, 3]))
    @STEADY
    def test_stays_in_the_value_range(self, seed, channels):
        image = picture(seed, 6, 7, channels)
        jittered = jitter_colour(np.random.default_rng(seed), self.STRONG, image)
        assert jittered.shape == image.shape
        assert jittered.dtype == np.float32
        assert jittered.min() >= 0
        assert jittered.max() <= 255

    @pytest.mark.parametrize("channels", [1, 3])
    def test_without_strengths_nothing_changes(self, channels):
        image = picture(0, 6, 7, channels)
        jittered = jitter_colour(np.random.default_rng(0), NO_AUGMENTATION, image)
        assert jittered.dtype == np.float32
        assert np.array_equal(jittered, image)

    def test_image_that_is_handed_in_is_left_alone(self):
        image = picture(0, 6, 7)
        before = image.copy()
        jitter_colour(np.random.default_rng(0), self.STRONG, image)
        assert np.array_equal(image, before)

    def test_brightness_shifts_every_pixel_by_up_to_its_share_of_the_range(self):
        grey = np.full((3, 4, 3), 128, np.uint8)
        shifts = []
        for seed in range(100):
            generator = np.random.default_rng(seed)
            jittered = jitter_colour(generator, Augmentation(brightness=0.2), grey)
            assert np.ptp(jittered) == 0
            shifts.append(jittered[0, 0, 0] - 128)
        # 0.2 * 255 = 51
        assert -51.001 <= min(shifts) < -45
        assert 45 < max(shifts) <= 51.001

    def test_contrast_keeps_the_mean_and_scales_the_rest(self):
        image = np.array([[[100], [140]]], np.uint8)
        factors = []
        for seed in range(100):
            generator = np.random.default_rng(seed)
            jittered = jitter_colour(generator, Augmentation(contrast=0.5), image)
            assert jittered.mean() == pytest.approx(120, abs=1e-3)
            factors.append((jittered[0, 1, 0] - jittered[0, 0, 0]) / 40)
        assert 1 / 1.5 - 1e-4 <= min(factors) < 0.7
        assert 1.4 < max(factors) <= 1.5 + 1e-4

    def test_saturation_keeps_grey_and_luma(self):
        colour = np.array([[[120, 100, 110], [90, 90, 90]]], np.uint8)
        luma = 0.299 * 120 + 0.587 * 100 + 0.114 * 110  # 107.12
        changed = 0
        for seed in range(20):
            generator = np.random.default_rng(seed)
            jittered = jitter_colour(generator, Augmentation(saturation=0.5), colour)
            assert np.allclose(jittered[0, 1], 90, atol=1e-3)
            assert jittered[0, 0] @ [0.299, 0.587, 0.114] == pytest.approx(luma, abs=1e-3)
            factor = (jittered[0, 0] - luma) / (colour[0, 0] - luma)
            assert np.allclose(factor, factor[0], atol=1e-3)
            assert 1 / 1.5 - 1e-3 <= factor[0] <= 1.5 + 1e-3
            changed += abs(factor[0] - 1) > 0.05
        assert changed > 10

    @pytest.mark.parametrize("channels", [1, 2, 4, 5])
    def test_only_colour_pictures_have_saturation(self, channels):
        image = picture(0, 4, 4, channels)
        jittered = jitter_colour(np.random.default_rng(0), Augmentation(saturation=0.5), image)
        assert np.array_equal(jittered, image)


class TestRefusals:
    @pytest.mark.parametrize("name", [entry.name for entry in fields(Augmentation)])
    def test_negative_strength_is_refused(self, name):
        message = (
            f"augmentation {name} is -0.5; accepted are values from 0 up; use 0 to switch it off"
        )
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            Augmentation(**{name: -0.5})

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_strength_that_is_no_number_is_refused(self, value):
        # TOML knows both; every coordinate of every window would be one.
        with pytest.raises(ConfigError, match=f"^augmentation rotation is {value}; accepted are "):
            Augmentation(rotation=value)
