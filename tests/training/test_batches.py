"""Batches that depend on seed and step alone, and windows that show what they should."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import tifffile
from PIL import Image

from unetkit.data.augmentation import MICROSCOPE_AUGMENTATION, PHOTO_AUGMENTATION, Augmentation
from unetkit.data.classes import Classes
from unetkit.data.pairs import Pair
from unetkit.data.scale import IGNORE, Scale, image_to_network, mask_to_network
from unetkit.data.sources import SHOWN
from unetkit.errors import DataError
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.geometry import unet_geometry
from unetkit.models.spec import Normalization
from unetkit.objects.border_weights import BorderWeight, border_weights
from unetkit.objects.separation import ObjectRule, make_target
from unetkit.training.batches import (
    LOADER_THREADS,
    PairCache,
    Sampler,
    build_cache,
    places_of_classes,
)

PLAIN = Normalization(multiply=1.0, add=0.0)
GREY, COLOUR = PixelFormat(1), PixelFormat(3)
DEEP = PixelFormat(1, "uint16", (100.0,), (300.0,))
PADDED = unet_geometry(depth=2)
UNPADDED = unet_geometry(depth=1, padding="valid")
CLASSES = Classes(("background", "cell", "rim"), (0, 7, 200), background=0)
SIZES = [(40, 56), (33, 47), (16, 21), (51, 30), (29, 29)]


def coordinates(size: tuple[int, int], number: int = 0) -> np.ndarray:
    """A picture whose pixels say where they are: row, column and the picture's number."""
    rows, columns = np.indices(size)
    return np.stack([rows, columns, np.full(size, number)], axis=-1).astype(np.uint8)


def labels_at(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return ((7 * rows.astype(int) + 3 * columns.astype(int)) % 5).astype(np.uint8)


def cache_of(sizes: list[tuple[int, int]]) -> PairCache:
    images = [coordinates(size, number) for number, size in enumerate(sizes)]
    return PairCache(images, [labels_at(image[..., 0], image[..., 1]) for image in images])


def native_sampler(geometry=PADDED, **changes) -> Sampler:
    return Sampler(cache_of(SIZES), Scale("native", 12, 16), geometry, COLOUR, PLAIN, **changes)


def whole_sampler(count: int = 7, **changes) -> Sampler:
    cache = cache_of([(16, 20)] * count)
    return Sampler(cache, Scale("resize", 16, 20), PADDED, COLOUR, PLAIN, **changes)


def assert_equal_batches(one, other) -> None:
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


class TestReproducibility:
    SAMPLERS = pytest.mark.parametrize(
        "make",
        [
            lambda: native_sampler(augmentation=MICROSCOPE_AUGMENTATION, seed=3),
            lambda: native_sampler(geometry=UNPADDED, seed=4),
            lambda: whole_sampler(augmentation=PHOTO_AUGMENTATION, seed=5),
        ],
        ids=["native", "unpadded", "whole"],
    )

    @SAMPLERS
    def test_batches_are_those_of_their_steps(self, make):
        sampler = make()
        count = 2 * LOADER_THREADS + 3
        for step, batch in enumerate(islice(sampler.batches(3), count)):
            assert_equal_batches(batch, sampler.batch(step, 3))

    @SAMPLERS
    def test_batches_begin_at_any_step(self, make):
        sampler = make()
        whole = list(islice(sampler.batches(3), 12))
        for batch, expected in zip(sampler.batches(3, first_step=5), whole[5:], strict=False):
            assert_equal_batches(batch, expected)

    @SAMPLERS
    def test_fresh_sampler_and_any_order_of_threads_give_the_same(self, make):
        expected = [make().batch(step, 4) for step in range(8)]
        sampler = make()
        with ThreadPoolExecutor(3) as pool:
            backwards = [pool.submit(sampler.batch, step, 4) for step in reversed(range(8))]
            for batch, future in zip(expected, reversed(backwards), strict=True):
                assert_equal_batches(future.result(), batch)

    @SAMPLERS
    def test_other_seed_gives_other_batches(self, make):
        sampler = make()
        image, _ = sampler.batch(0, 4)
        other, _ = replace(sampler, seed=99).batch(0, 4)
        assert not np.array_equal(image, other)

    def test_batches_end_when_the_generator_is_closed(self):
        batches = whole_sampler().batches(2)
        next(batches)
        batches.close()
        with pytest.raises(StopIteration):
            next(batches)


class TestEpochs:
    @pytest.mark.parametrize("batch_size", [1, 3, 7, 16])
    def test_each_epoch_has_each_image_once(self, batch_size):
        # Seven pictures: batches of 3 straddle the epochs, one of 16 holds two and a bit.
        sampler = whole_sampler(count=7)
        shown: list[int] = []
        step = 0
        while len(shown) < 4 * 7:
            images, _ = sampler.batch(step, batch_size)
            assert len(images) == batch_size
            shown += images[:, 0, 0, 2].astype(int).tolist()
            step += 1
        epochs = [shown[start : start + 7] for start in range(0, 28, 7)]
        assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 4
        assert len({tuple(epoch) for epoch in epochs}) > 1

    def test_order_does_not_depend_on_the_batch_size(self):
        sampler = whole_sampler(count=7, augmentation=PHOTO_AUGMENTATION)
        small = [sampler.batch(step, 2) for step in range(6)]
        large = [sampler.batch(step, 4) for step in range(3)]
        for which in (0, 1):
            stacked = np.concatenate([batch[which] for batch in small])
            assert np.array_equal(stacked, np.concatenate([batch[which] for batch in large]))

    def test_an_image_is_augmented_differently_in_each_epoch(self):
        sampler = whole_sampler(count=1, augmentation=PHOTO_AUGMENTATION)
        images = [sampler.batch(epoch, 1)[0] for epoch in range(4)]
        assert all(not np.array_equal(images[0], image) for image in images[1:])

    def test_crops_differ_between_epochs(self):
        sampler = Sampler(cache_of([(60, 70)]), Scale("native", 12, 16), PADDED, COLOUR, PLAIN)
        corners = {tuple(sampler.batch(step, 1)[0][0, 0, 0, :2]) for step in range(12)}
        assert len(corners) > 6


class TestBatch:
    def test_normalisation_is_applied_to_images_and_not_to_masks(self):
        sampler = whole_sampler()
        images, masks = sampler.batch(0, 4)
        changed = replace(sampler, normalization=Normalization(multiply=0.5, add=-3.0))
        normalised, same_masks = changed.batch(0, 4)
        assert normalised.dtype == np.float32
        assert np.array_equal(normalised, 0.5 * images - 3)
        assert np.array_equal(masks, same_masks)

    def test_shapes_and_types(self):
        images, masks = native_sampler(augmentation=MICROSCOPE_AUGMENTATION).batch(0, 4)
        assert images.shape == (4, 12, 16, 3)
        assert images.dtype == np.float32
        assert masks.shape == (4, 12, 16)
        assert masks.dtype == np.uint8

    def test_size_is_rounded_up_to_one_that_the_network_takes(self):
        # A stride of 4: 13 needs 16, 16 is valid as it is
        sampler = Sampler(cache_of(SIZES), Scale("native", 13, 16), PADDED, COLOUR, PLAIN)
        assert sampler.input_size == sampler.output_size == (16, 16)

    def test_unpadded_network_gets_an_image_that_is_larger_by_its_margin(self):
        # 18 rows, 14 after the first block, 7, 3, 6, 2 after the last: (18 - 2) / 2 a side
        assert UNPADDED.margin == 8
        images, masks = native_sampler(geometry=UNPADDED).batch(0, 4)
        # 12 and 16 are both 2 + 2 k and come out of 12 + 2 * 8 and 16 + 2 * 8
        assert images.shape == (4, 28, 32, 3)
        assert masks.shape == (4, 12, 16)

    def test_native_crop_lies_on_the_pixel_grid_with_its_mask(self):
        sampler = native_sampler()
        for step in range(8):
            for image, mask in zip(*sampler.batch(step, 5), strict=True):
                assert np.array_equal(image, image.round())
                rows, columns, numbers = np.moveaxis(image.astype(int), -1, 0)
                size = SIZES[numbers[0, 0]]
                assert (numbers == numbers[0, 0]).all()
                # No mirroring: the crop is a straight piece of the picture.
                assert np.array_equal(rows - rows[0, 0], np.indices(rows.shape)[0])
                assert np.array_equal(columns - columns[0, 0], np.indices(rows.shape)[1])
                assert rows.max() < size[0]
                assert columns.max() < size[1]
                assert np.array_equal(mask, labels_at(rows, columns))

    def test_native_crops_reach_every_corner(self):
        sampler = Sampler(cache_of([(14, 17)]), Scale("native", 12, 16), PADDED, COLOUR, PLAIN)
        corners = {tuple(sampler.batch(step, 1)[0][0, 0, 0, :2]) for step in range(80)}
        assert corners == {(row, column) for row in range(3) for column in range(2)}

    @pytest.mark.parametrize("policy", ["native", "resize"])
    def test_mask_of_an_unpadded_network_is_the_middle_of_its_image(self, policy):
        cache = cache_of([(40, 56)] * 3 if policy == "native" else [(12, 16)] * 3)
        sampler = Sampler(cache, Scale(policy, 12, 16), UNPADDED, COLOUR, PLAIN)
        for step in range(6):
            for image, mask in zip(*sampler.batch(step, 2), strict=True):
                inner = image[8:-8, 8:-8].astype(int)
                assert np.array_equal(mask, labels_at(inner[..., 0], inner[..., 1]))

    def test_the_image_is_mirrored_around_its_centre(self):
        picture = coordinates((12, 16))
        sampler = Sampler(cache_of([(12, 16)]), Scale("resize", 12, 16), UNPADDED, COLOUR, PLAIN)
        image = sampler.batch(0, 1)[0][0]
        assert np.array_equal(image, np.pad(picture, ((8, 8), (8, 8), (0, 0)), mode="reflect"))

    @pytest.mark.parametrize("geometry", [PADDED, UNPADDED])
    def test_image_and_mask_are_changed_alike(self, geometry):
        # Flat regions, so that linear and nearest agree but for the contours.
        mask = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4), np.ones((20, 20), np.uint8))
        cache = PairCache([20 * mask[..., None]], [mask])
        spatial = replace(
            MICROSCOPE_AUGMENTATION, brightness=0.0, contrast=0.0, elastic=2.0, shift=0.1
        )
        sampler = Sampler(cache, Scale("native", 32, 32), geometry, GREY, PLAIN, spatial)
        margin = geometry.margin
        for step in range(5):
            images, masks = sampler.batch(step, 1)
            inner = images[:, margin : 32 + margin, margin : 32 + margin, 0]
            flat = np.isin(inner, 20 * np.arange(12)) & (np.abs(inner - 20.0 * masks) < 200)
            assert flat.mean() > 0.5
            assert (inner[flat] == 20 * masks[flat]).mean() > 0.98

    @pytest.mark.parametrize("fraction", [0.0, 1.0])
    def test_crops_of_rare_classes(self, fraction):
        mask = np.zeros((200, 300), np.uint8)
        mask[150, 20], mask[0, 299], mask[90:, 200:] = 2, 3, IGNORE
        cache = PairCache([coordinates(mask.shape)], [mask])
        scale = Scale("native", 12, 16)
        sampler = Sampler(cache, scale, PADDED, COLOUR, PLAIN, class_crops=fraction)
        _, masks = sampler.batch(0, 64)
        found = {k: np.isin(masks, k).any(axis=(1, 2)).mean() for k in (2, 3)}
        if fraction:
            assert found[2] + found[3] == 1
            assert found[2] > 0.3
            assert found[3] > 0.3
        else:
            assert found[2] + found[3] < 0.1

    def test_rare_pixels_lie_anywhere_in_their_crops(self):
        mask = np.zeros((60, 60), np.uint8)
        mask[30, 30] = 1
        cache = PairCache([coordinates(mask.shape)], [mask])
        scale = Scale("native", 12, 16)
        sampler = Sampler(cache, scale, PADDED, COLOUR, PLAIN, class_crops=1.0)
        _, rows, columns = np.nonzero(sampler.batch(0, 400)[1])
        assert set(rows) == set(range(12))
        assert set(columns) == set(range(16))

    def test_a_crop_of_an_image_of_one_class_lies_anywhere(self):
        sampler = native_sampler(class_crops=1.0)
        flat = replace(
            sampler, cache=PairCache(sampler.cache.images, [0 * m for m in sampler.cache.masks])
        )
        assert flat.batch(0, 8)[1].max() == 0

    def test_colour_changes_leave_the_mask_alone(self):
        plain = whole_sampler()
        coloured = replace(
            plain, augmentation=Augmentation(brightness=0.3, contrast=0.5, saturation=0.5)
        )
        images, masks = plain.batch(0, 7)
        changed, same_masks = coloured.batch(0, 7)
        assert not np.array_equal(images, changed)
        assert np.array_equal(masks, same_masks)

    def test_an_image_smaller_than_the_crop_is_mirrored(self):
        sampler = Sampler(cache_of([(9, 11)]), Scale("native", 12, 16), PADDED, COLOUR, PLAIN)
        images, masks = sampler.batch(0, 1)
        expected = np.pad(coordinates((9, 11)), ((0, 3), (0, 5), (0, 0)), mode="reflect")
        assert np.array_equal(images[0], expected)
        assert np.array_equal(masks[0], labels_at(expected[..., 0], expected[..., 1]))


class TestLevels:
    """Pixels that are not on the common scale yet come there by the format's levels."""

    ROW = np.array([[[50], [100], [200], [300], [400]]])
    # low 100 and high 300: 50 is cut off to 0, 100 is 0, 200 the middle, 300 is 255, 400 cut off
    EXPECTED = ((0.0, 0.0, 127.5, 255.0, 255.0),)

    def sampler(self, dtype: str, **changes) -> Sampler:
        cache = PairCache([self.ROW.astype(dtype)], [np.zeros((1, 5), np.uint8)])
        pixels = PixelFormat(1, dtype, (100.0,), (300.0,))
        geometry = unet_geometry(depth=0)  # takes any size
        return Sampler(cache, Scale("resize", 1, 5), geometry, pixels, PLAIN, **changes)

    @pytest.mark.parametrize("dtype", ["uint16", "float32"])
    def test_batches_are_on_the_common_scale(self, dtype):
        sampler = self.sampler(dtype)
        for images, _ in (sampler.batch(0, 1), next(iter(sampler.fixed_batches(1)))):
            assert images.dtype == np.float32
            np.testing.assert_allclose(images[0, ..., 0], self.EXPECTED, atol=1e-4)

    def test_normalisation_follows_the_levels(self):
        sampler = self.sampler("uint16")
        changed = replace(sampler, normalization=Normalization(multiply=1 / 127.5, add=-1.0))
        expected = np.array(self.EXPECTED) / 127.5 - 1
        np.testing.assert_allclose(changed.batch(0, 1)[0][0, ..., 0], expected, atol=1e-5)
        (images, _), *_ = changed.fixed_batches(1)
        np.testing.assert_allclose(images[0, ..., 0], expected, atol=1e-5)

    def test_each_channel_has_its_own_levels(self):
        image = np.array([[[100, 7, 0.5]], [[300, 9, 0.75]]], np.float32)
        pixels = PixelFormat(3, "float32", (100.0, 5.0, 0.0), (300.0, 9.0, 1.0))
        cache = PairCache([image], [np.zeros((2, 1), np.uint8)])
        geometry = unet_geometry(depth=0)
        images, _ = Sampler(cache, Scale("resize", 2, 1), geometry, pixels, PLAIN).batch(0, 1)
        # (7 - 5) / (9 - 5) is the middle, and 0.5 of 1, and 0.75 of 1 is 191.25
        expected = [[[0, 127.5, 127.5]], [[255, 255, 191.25]]]
        np.testing.assert_allclose(images[0], expected, atol=1e-3)

    @pytest.mark.parametrize("dtype", ["uint16", "float32"])
    def test_changes_of_brightness_are_relative_to_the_levels(self, dtype):
        sampler = self.sampler(dtype, augmentation=Augmentation(brightness=0.2))
        middles = np.array([sampler.batch(step, 1)[0][0, 0, 2, 0] for step in range(60)])
        # 127.5 and up to 0.2 * 255 = 51 either way
        assert 76.4 <= middles.min() < 85
        assert 170 < middles.max() <= 178.6
        everything = np.concatenate([sampler.batch(step, 1)[0] for step in range(60)])
        assert everything.min() >= 0
        assert everything.max() <= 255

    @pytest.mark.parametrize("dtype", ["uint16", "float32"])
    def test_a_warp_keeps_the_precision_of_the_file(self, dtype):
        # A ramp of 0.2555 a pixel on the common scale, enlarged: 8 bits would show steps of 1.
        ramp = np.linspace(100, 300, 1000, dtype=np.float64)[None, :, None]
        numbers = (ramp * 100).astype(dtype)
        pixels = PixelFormat(1, dtype, (10_000.0,), (30_000.0,))
        cache = PairCache([numbers], [np.zeros((1, 1000), np.uint8)])
        sampler = Sampler(
            cache,
            Scale("native", 1, 100),
            unet_geometry(depth=0),
            pixels,
            PLAIN,
            Augmentation(zoom=0.3),
            seed=1,
        )
        images, _ = sampler.batch(0, 4)
        steps = np.diff(images[:, 0, :, 0], axis=1)
        assert 0.255 / 1.31 < steps.mean() < 0.256 * 1.31
        assert np.ptp(steps, axis=1).max() < 0.1

    def test_five_channels_are_moved_together(self):
        rng = np.random.default_rng(0)
        base = rng.integers(100, 300, (24, 24, 1), dtype=np.uint16)
        image = np.concatenate([base + np.uint16(k) for k in range(5)], axis=2)
        pixels = PixelFormat(5, "uint16", (0.0,), (65535.0,))
        cache = PairCache([image], [np.zeros((24, 24), np.uint8)])
        still = replace(MICROSCOPE_AUGMENTATION, brightness=0.0, contrast=0.0)
        sampler = Sampler(cache, Scale("native", 16, 16), PADDED, pixels, PLAIN, still)
        images, _ = sampler.batch(0, 3)
        numbers = images * (65535 / 255)
        assert images.shape == (3, 16, 16, 5)
        np.testing.assert_allclose(numbers - numbers[..., :1], np.arange(5) + 0 * numbers, atol=1.1)


class TestBorderWeights:
    """Two objects with a gap of two pixels, in an image that is warped."""

    WEIGHT = BorderWeight(w0=10.0, sigma=3.0)

    def sampler(self, geometry=PADDED, **changes) -> Sampler:
        cache = cache_of([(40, 40)])
        objects = np.zeros((40, 40), np.float32)
        objects[5:35, 4:19] = 1
        objects[5:35, 21:36] = 2
        masks = [(objects > 0).astype(np.uint8)]
        cache = PairCache(cache.images, masks, [objects])
        options = {"augmentation": MICROSCOPE_AUGMENTATION, "border_weight": self.WEIGHT}
        scale = Scale("native", 24, 24)
        return Sampler(cache, scale, geometry, COLOUR, PLAIN, **{**options, **changes})

    @pytest.mark.parametrize("geometry", [PADDED, UNPADDED])
    def test_they_are_those_of_the_warped_objects(self, geometry):
        sampler = self.sampler(geometry)
        with_numbers = replace(
            sampler,
            cache=PairCache(sampler.cache.images, [sampler.cache.objects[0].astype(np.uint8)]),
        )
        largest = 0.0
        for step in range(6):
            _, target = sampler.batch(step, 2)
            _, numbers = with_numbers.batch(step, 2)
            assert (target.shape, target.dtype) == ((*numbers.shape, 2), np.float32)
            for plane, objects in zip(target, numbers, strict=True):
                expected = border_weights(objects.astype(int), self.WEIGHT)
                assert np.array_equal(plane[..., 0], objects > 0)
                assert np.array_equal(plane[..., 1], expected)
                largest = max(largest, expected.max())
        assert 3 < largest <= 10

    @pytest.mark.parametrize("method", ["ridge", "border", "distance"])
    def test_what_tells_objects_apart_follows_from_the_warped_objects(self, method):
        rule = ObjectRule(method)
        sampler = self.sampler(objects=rule)
        numbers = replace(
            sampler,
            cache=PairCache(sampler.cache.images, [sampler.cache.objects[0].astype(np.uint8)]),
        )
        (_, target), (_, cut) = sampler.batch(3, 2), numbers.batch(3, 2)
        for plane, objects in zip(target, cut, strict=True):
            mask, scores = make_target((objects > 0).astype(np.uint8), objects, 0, rule)
            assert np.array_equal(plane[..., 0], mask)
            apart = np.where(mask == 0, 0, objects).astype(int)
            assert np.array_equal(plane[..., 1], border_weights(apart, self.WEIGHT))
            assert plane.shape[-1] == 2 + (scores is not None)
            assert scores is None or np.array_equal(plane[..., 2], scores)

    def test_batches_are_those_of_their_steps(self):
        one, other = self.sampler(seed=3), self.sampler(seed=3)
        assert_equal_batches(one.batch(4, 2), other.batch(4, 2))
        assert not np.array_equal(one.batch(4, 2)[1], self.sampler(seed=4).batch(4, 2)[1])

    def test_validation_windows_have_masks_alone(self):
        (_, masks), *_ = self.sampler().fixed_batches(1)
        assert (masks.ndim, masks.dtype) == (3, np.uint8)


class TestFixedWindows:
    @pytest.mark.parametrize("geometry", [PADDED, UNPADDED])
    def test_native_windows_cover_every_pixel_of_each_image(self, geometry):
        sampler = native_sampler(geometry)
        covered = [np.zeros(size, bool) for size in SIZES]
        height, width = sampler.output_size
        for index, (row, column) in sampler.fixed_windows(limit=10_000):
            top, left = row - (height - 1) / 2, column - (width - 1) / 2
            assert top == int(top) >= 0
            assert left == int(left) >= 0
            part = covered[index][int(top) : int(top) + height, int(left) : int(left) + width]
            assert part.shape == (height, width)  # within the picture
            part[:] = True
        assert all(seen.all() for seen in covered)

    def test_resized_images_are_one_window_each(self):
        sampler = whole_sampler(count=5)
        assert [index for index, _ in sampler.fixed_windows(limit=10_000)] == list(range(5))
        images, masks = zip(*sampler.fixed_batches(2), strict=True)
        assert [len(batch) for batch in images] == [2, 2, 1]
        for number, image in enumerate(np.concatenate(images)):
            assert np.array_equal(image, coordinates((16, 20), number))
        assert np.array_equal(np.concatenate(masks), np.stack(sampler.cache.masks))

    def test_windows_are_thinned_evenly_to_the_limit(self):
        sampler = native_sampler()
        everything = sampler.fixed_windows(limit=10_000)
        thinned = sampler.fixed_windows(limit=10)
        places = [everything.index(window) for window in thinned]
        assert len(places) == 10
        assert (places[0], places[-1]) == (0, len(everything) - 1)
        assert np.ptp(np.diff(places)) <= 1

    def test_thinning_does_not_keep_one_corner_of_every_image(self):
        sampler = native_sampler()
        everything = sampler.fixed_windows(limit=10_000)
        thinned = sampler.fixed_windows(limit=len(everything) // 4)
        assert len({centre for _, centre in thinned}) > 3

    @pytest.mark.parametrize("geometry", [PADDED, UNPADDED])
    def test_fixed_batches_are_the_windows_without_any_change(self, geometry):
        sampler = native_sampler(geometry, augmentation=MICROSCOPE_AUGMENTATION, seed=8)
        windows = sampler.fixed_windows(limit=512)
        images, masks = (np.concatenate(x) for x in zip(*sampler.fixed_batches(4), strict=True))
        assert len(images) == len(masks) == len(windows)
        margin = geometry.margin
        for (index, (row, column)), image, mask in zip(windows, images, masks, strict=True):
            inner = image[margin : margin + 12, margin : margin + 16].astype(int)
            assert (inner[..., 2] == index).all()
            assert inner[0, 0, 0] == row - 5.5
            assert inner[0, 0, 1] == column - 7.5
            assert np.array_equal(mask, labels_at(inner[..., 0], inner[..., 1]))

    def test_fixed_batches_are_the_same_each_time_and_for_each_seed(self):
        one = list(native_sampler(seed=1).fixed_batches(3, limit=12))
        other = list(native_sampler(seed=2).fixed_batches(3, limit=12))
        for batch, same in zip(one, other, strict=True):
            assert_equal_batches(batch, same)

    def test_fixed_batches_are_normalised(self):
        sampler = replace(whole_sampler(), normalization=Normalization(multiply=2.0, add=1.0))
        images, _ = next(iter(sampler.fixed_batches(1)))
        assert images.dtype == np.float32
        assert np.array_equal(images[0], 2.0 * coordinates((16, 20)) + 1)


def write_pair(folder, name: str, size: tuple[int, int], channels: int, seed: int = 0):
    """A random PNG with its mask; returns the pair, the image and the class indices."""
    generator = np.random.default_rng((seed, *size, channels))
    image = generator.integers(0, 256, (*size, channels), dtype=np.uint8)
    indices = generator.integers(0, len(CLASSES), size, dtype=np.uint8)
    pair = Pair(name, folder / f"{name}.png", folder / f"{name}_mask.png")
    Image.fromarray(image[..., 0] if channels == 1 else image).save(pair.image)
    Image.fromarray(np.array(CLASSES.values, np.uint8)[indices]).save(pair.mask)
    return pair, image, indices


class TestBuildCache:
    NATIVE = Scale("native", 8, 8)

    def write(self, folder, name: str, image: np.ndarray, mask: np.ndarray, **options) -> Pair:
        pair = Pair(name, folder / f"{name}.tif", folder / f"{name}_mask.tif")
        tifffile.imwrite(pair.image, image, photometric="minisblack", **options)
        tifffile.imwrite(pair.mask, mask, photometric="minisblack")
        return pair

    @pytest.mark.parametrize("dtype", ["uint16", "float32"])
    @pytest.mark.parametrize("channels", [1, 5])
    def test_holds_numbers_of_the_files_own_type(self, tmp_path, dtype, channels):
        rng = np.random.default_rng(0)
        bands = (rng.random((channels, 9, 7)) * 60_000).astype(dtype)
        mask = np.zeros((9, 7), np.uint8)
        pair = self.write(tmp_path, "deep", bands if channels > 1 else bands[0], mask)
        pixels = PixelFormat(channels, dtype, (0.0,), (1.0,))
        cache = build_cache(tmp_path / "cache", [pair, pair], CLASSES, pixels, self.NATIVE)
        for cached in cache.images:
            assert isinstance(cached, np.memmap)
            assert cached.dtype == dtype
            assert np.array_equal(cached, np.moveaxis(bands, 0, -1))

    def test_an_8_bit_image_among_deeper_ones_keeps_black_and_white(self, tmp_path):
        image = np.array([[0, 1, 128, 255]], np.uint8)
        pair = self.write(tmp_path, "flat", image, np.zeros((1, 4), np.uint8))
        cache = build_cache(tmp_path / "cache", [pair], CLASSES, DEEP, self.NATIVE)
        # 65535 / 255 = 257
        assert cache.images[0][..., 0].tolist() == [[0, 257, 128 * 257, 65535]]

    def test_each_page_of_a_stack_is_an_image(self, tmp_path):
        pages = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
        masks = np.stack([np.full((4, 5), value, np.uint8) for value in CLASSES.values])
        whole = self.write(tmp_path, "film", pages, masks)
        pairs = [replace(whole, name=f"film_p{page:03d}", page=page) for page in range(3)]
        cache = build_cache(tmp_path / "cache", pairs, CLASSES, DEEP, self.NATIVE)
        for page in range(3):
            assert np.array_equal(cache.images[page][..., 0], pages[page])
            assert (cache.masks[page] == page).all()

    @pytest.mark.parametrize("scale", [NATIVE, Scale("resize", 12, 10)])
    def test_the_value_to_ignore_belongs_to_no_class(self, tmp_path, scale):
        mask = np.full((10, 12), 7, np.uint8)
        mask[2:9, 3:9] = 255
        pair = self.write(tmp_path, "one", np.zeros((10, 12), np.uint8), mask)
        classes = replace(CLASSES, ignore=255)
        cache = build_cache(tmp_path / "cache", [pair], classes, GREY, scale)
        expected = np.where(mask == 255, IGNORE, 1).astype(np.uint8)
        assert np.array_equal(cache.masks[0], mask_to_network(expected, scale))
        sampler = Sampler(cache, scale, unet_geometry(depth=1), GREY, PLAIN, PHOTO_AUGMENTATION)
        seen = [sampler.batch(step, 1)[1] for step in range(5)]
        seen += [masks for _, masks in sampler.fixed_batches(1)]
        assert set(np.unique(np.concatenate([masks.ravel() for masks in seen]))) == {1, IGNORE}

    def test_any_value_can_be_the_one_to_ignore(self, tmp_path):
        mask = np.array([[0, 7, 200, 90]], np.uint8)
        pair = self.write(tmp_path, "one", np.zeros((1, 4), np.uint8), mask)
        classes = replace(CLASSES, ignore=90)
        cache = build_cache(tmp_path / "cache", [pair], classes, GREY, self.NATIVE)
        assert cache.masks[0].tolist() == [[0, 1, 2, IGNORE]]

    @pytest.mark.parametrize("channels", [1, 3])
    def test_holds_the_images_as_they_were_written(self, tmp_path, channels):
        sizes = [(5, 7), (1, 1), (8, 3), (13, 11)]
        written = [write_pair(tmp_path, f"p{i}", size, channels) for i, size in enumerate(sizes)]
        cache = build_cache(
            tmp_path / "new/cache",
            [pair for pair, _, _ in written],
            CLASSES,
            PixelFormat(channels),
            self.NATIVE,
        )
        assert len(cache) == 4
        for (_, image, indices), cached, mask in zip(
            written, cache.images, cache.masks, strict=True
        ):
            assert cached.dtype == mask.dtype == np.uint8
            assert np.array_equal(cached, image)
            assert np.array_equal(mask, indices)

    def test_a_grey_image_is_repeated_for_a_network_of_three_channels(self, tmp_path):
        pair, image, _ = write_pair(tmp_path, "grey", (4, 6), channels=1)
        cache = build_cache(tmp_path / "cache", [pair], CLASSES, COLOUR, self.NATIVE)
        assert np.array_equal(cache.images[0], np.repeat(image, 3, axis=-1))

    def test_images_are_in_files_and_cannot_be_changed(self, tmp_path):
        pair, _, _ = write_pair(tmp_path, "one", (4, 6), channels=3)
        cache = build_cache(tmp_path / "cache", [pair], CLASSES, COLOUR, self.NATIVE)
        assert isinstance(cache.images[0], np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            cache.images[0][0, 0] = 0

    @pytest.mark.parametrize("fit", ["squash", "letterbox"])
    def test_images_are_resized_to_the_scale_of_the_network(self, tmp_path, fit):
        scale = Scale("resize", 12, 10, fit=fit)
        written = [
            write_pair(tmp_path, f"p{i}", size, 3) for i, size in enumerate([(5, 7), (31, 9)])
        ]
        cache = build_cache(
            tmp_path / "cache", [pair for pair, _, _ in written], CLASSES, COLOUR, scale
        )
        for (_, image, indices), cached, mask in zip(
            written, cache.images, cache.masks, strict=True
        ):
            assert np.array_equal(cached, image_to_network(image, scale))
            assert np.array_equal(mask, mask_to_network(indices, scale))
            assert (mask == IGNORE).any() == (fit == "letterbox")

    def test_order_is_kept_and_each_pair_is_reported(self, tmp_path):
        sizes = [(1 + i % 3, 1 + i % 5) for i in range(70)]
        written = [write_pair(tmp_path, f"p{i}", size, 1, seed=i) for i, size in enumerate(sizes)]
        done = []
        cache = build_cache(
            tmp_path / "cache",
            [pair for pair, _, _ in written],
            CLASSES,
            GREY,
            self.NATIVE,
            on_done=lambda: done.append(1),
        )
        assert len(done) == len(cache) == 70
        for (_, image, indices), cached, mask in zip(
            written, cache.images, cache.masks, strict=True
        ):
            assert np.array_equal(cached, image)
            assert np.array_equal(mask, indices)

    def test_cache_serves_a_sampler(self, tmp_path):
        pair, image, indices = write_pair(tmp_path, "one", (8, 8), channels=3)
        cache = build_cache(tmp_path / "cache", [pair], CLASSES, COLOUR, self.NATIVE)
        images, masks = Sampler(cache, self.NATIVE, PADDED, COLOUR, PLAIN).batch(0, 1)
        assert np.array_equal(images[0], image)
        assert np.array_equal(masks[0], indices)

    @pytest.mark.parametrize("kind", ["instances", "classes"])
    def test_objects_are_numbered(self, tmp_path, kind):
        mask = np.array([[0, 70000, 70000, 9, 0, 5, 255]], np.uint32)
        if kind == "classes":
            mask = np.array([[0, 7, 7, 200, 0, 7, 255]], np.uint8)
        pair = self.write(tmp_path, "one", np.zeros((1, 7), np.uint8), mask)
        classes = (
            Classes(("background", "cell"), (0, 1), background=0, kind="instances", ignore=255)
            if kind == "instances"
            else replace(CLASSES, ignore=255)
        )
        args = [pair], classes, GREY, self.NATIVE
        cache = build_cache(tmp_path / "cache", *args, with_objects=True)
        expected = {"instances": [[0, 3, 3, 2, 0, 1, 0]], "classes": [[0, 1, 1, 3, 0, 2, 0]]}
        assert cache.objects[0].tolist() == expected[kind]
        assert build_cache(tmp_path / "other", *args).objects == []

    def test_unreadable_pairs_are_named_together(self, tmp_path):
        good, _, _ = write_pair(tmp_path, "good", (6, 6), 3)
        cut, _, _ = write_pair(tmp_path, "cut", (60, 60), 3)
        cut.image.write_bytes(cut.image.read_bytes()[:2000])
        other, _, _ = write_pair(tmp_path, "other", (6, 6), 3)
        Image.new("RGB", (5, 6)).save(other.image)
        strange, _, _ = write_pair(tmp_path, "strange", (6, 6), 3)
        Image.fromarray(np.full((6, 6), 9, np.uint8)).save(strange.mask)
        missing = Pair("missing", tmp_path / "missing.png", good.mask)
        with pytest.raises(DataError) as caught:
            build_cache(
                tmp_path / "cache",
                [good, cut, other, strange, missing],
                CLASSES,
                COLOUR,
                self.NATIVE,
            )
        first, second, third, fourth = str(caught.value).split("\n")
        assert re.match(
            rf"{re.escape(str(cut.image))} cannot be read whole \(.*\); accepted", first
        )
        assert second.startswith(
            f"image {other.image} is 6x5 and mask {other.mask} is 6x6 (height x width); accepted"
        )
        assert third.startswith(
            f"mask {strange.mask} has the value 9 (at row 0, column 0); accepted are 0 background, "
            "7 cell, 200 rim;"
        )
        assert fourth.startswith(f"image {missing.image} does not exist; accepted")

    def test_many_unreadable_pairs_are_counted(self, tmp_path):
        pairs = [
            Pair(f"p{i}", tmp_path / f"p{i}.png", tmp_path / "no.png") for i in range(SHOWN + 3)
        ]
        with pytest.raises(DataError, match=r"\n\.\.\. and 3 more$") as caught:
            build_cache(tmp_path / "cache", pairs, CLASSES, COLOUR, self.NATIVE)
        assert str(caught.value).count("does not exist") == SHOWN


def test_where_most_pixels_are_ignored_the_commonest_class_has_places_as_well():
    mask = np.full((10, 10), IGNORE, np.uint8)
    mask[0] = 0
    mask[1, :3] = 1
    assert [len(places) for places in places_of_classes(mask)] == [10, 3]
    mask[2:8] = 0
    assert [len(places) for places in places_of_classes(mask)] == [3]
