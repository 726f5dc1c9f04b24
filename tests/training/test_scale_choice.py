"""The scale of images follows from their sizes and from the sizes of the objects in them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from unetkit.checks.statistics import PairStatistics
from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.data.scale import Scale
from unetkit.models.unet import PRESETS
from unetkit.training.config import RECIPES
from unetkit.training.scale_choice import (
    ImageSizes,
    choose_scale,
    image_sizes,
    samples_per_epoch,
    thinnest,
    valid_scale,
)

TWO = Classes(("background", "cell"), (0, 255), background=0)
OBJECTS = Classes(("background", "cell"), (0, 1), background=0, kind="instances")


def choose(*images, tells_apart=False):
    found = [ImageSizes(size, np.array(objects, float)) for size, objects in images]
    return choose_scale(
        found, PRESETS["pretrained"], RECIPES["pretrained"], tells_apart=tells_apart
    )


class TestChoice:
    def test_photos_whose_subjects_fill_them_are_resized(self):
        scale, why = choose(((300, 400), [150]), ((500, 300), [200, 180]))
        assert scale == Scale("resize", 192, 192)
        # 150 * 192 / sqrt(300 * 400) = 83, 200 * 192 / sqrt(500 * 300) = 99 and 180 ... = 89: the
        # smallest tenth is at 83 + 0.2 * (89 - 83) = 84.
        assert why == "the images have several sizes, where small objects have 84 pixels"

    def test_objects_of_a_few_pixels_are_never_squashed(self):
        scale, why = choose(((520, 696), [14] * 50), ((256, 256), [12] * 20))
        assert scale == Scale("native", 192, 192)
        # 14 * 192 / sqrt(520 * 696) = 4.5 pixels, at their own scale 12.
        assert why == (
            "resized to 192x192, the smallest tenth of the objects would have 4.5 pixels a side; "
            "at their own scale it has 12"
        )

    def test_large_images_are_reduced_as_far_as_their_objects_allow(self):
        scale, _ = choose(((4000, 5000), [64] * 20), ((3000, 5000), [64] * 20))
        assert scale == Scale("native", 192, 192, factor=0.25)  # 16 of 64 pixels

    def test_without_objects_the_sizes_decide(self):
        scale, why = choose(((300, 400), []), ((500, 300), []))
        assert (scale.policy, why) == ("resize", "the images have several sizes")

    def test_images_of_one_size_are_as_before(self):
        assert choose(((100, 130), [3]))[0] == Scale("resize", 128, 160)
        assert choose(((512, 300), [3]))[0] == Scale("native", 192, 192)

    def test_large_objects_are_told_apart_at_a_coarser_scale(self):
        for sizes in [(512, 512)], [(512, 512), (600, 512)]:
            scale, why = choose(*((size, [80.0] * 9) for size in sizes), tells_apart=True)
            assert scale == Scale("native", 192, 192, factor=0.5)  # 40 of 80 pixels
            assert why == (
                "the smallest tenth of the objects has 80 pixels a side, of which 40 are enough to "
                "tell them apart"
            )
        scale, _ = choose(((400, 300), [160.0] * 9), tells_apart=True)
        assert scale == Scale("native", 100, 75, factor=0.25)

    def test_objects_to_be_told_apart_are_never_squashed(self):
        for size in (9, 30):
            images = ((520, 696), [size] * 50), ((300, 256), [size] * 20)
            assert choose(*images, tells_apart=True)[0] == Scale("native", 192, 192)
        assert choose(((512, 512), [30] * 50), tells_apart=True)[0] == Scale("native", 192, 192)
        small = ((200, 256), [100] * 3)
        assert choose(small, tells_apart=True)[0] == Scale("resize", 224, 256)

    def test_without_objects_to_tell_apart_the_sizes_decide(self):
        images = ((300, 400), []), ((500, 300), [])
        assert choose(*images, tells_apart=True)[0].policy == "resize"
        assert choose(((500, 300), []), tells_apart=True)[0] == Scale("native", 192, 192)

    def test_what_is_thin_is_never_squashed_away(self):
        images = [
            ImageSizes((600, 800), np.array([300.0]), {1: (6.0, 1000)}),
            ImageSizes((500, 800), np.array([300.0]), {1: (5.0, 3000)}),
        ]
        scale, why = choose_scale(images, PRESETS["pretrained"], RECIPES["pretrained"])
        assert scale == Scale("native", 192, 192)
        # 6 * 192 / sqrt(600 * 800) = 1.66 of 1000 pixels, 5 * 192 / sqrt(500 * 800) = 1.52 of 3000.
        assert why == (
            "resized to 192x192, what is thin would be 1.6 pixels wide; at its own scale it is 5.2"
        )
        wide = [replace(image, widths={1: (40.0, 1000)}) for image in images]
        scale, _ = choose_scale(wide, PRESETS["pretrained"], RECIPES["pretrained"])
        assert scale.policy == "resize"


class TestObjects:
    @staticmethod
    def statistics(regions, *, widths=(), **source):
        pair = SimpleNamespace(source=SimpleNamespace(**{"has_shapes": False, **source}))
        return PairStatistics(
            pair,
            size=(100, 100),
            regions=np.array(regions, np.int64),
            values=dict.fromkeys(dict(widths), 50),
            widths=dict(widths),
        )

    def test_widths_are_those_of_the_foreground(self):
        widths = {1: 30.0, 2: 60.0, 3: 5.0}
        found = image_sizes(self.statistics([[1, 400]], widths=widths), TRIMAP_CLASSES)
        assert found.widths == {1: (30.0, 50)}
        found = image_sizes(self.statistics([[7, 16]], widths={7: 4.0}), OBJECTS)
        assert found.widths == {}

    def test_the_thinnest_class_counts_by_its_pixels(self):
        images = [
            ImageSizes((9, 9), np.zeros(0), {1: (2.0, 10), 2: (9.0, 10)}),
            ImageSizes((9, 9), np.zeros(0), {1: (8.0, 30)}),
        ]
        assert thinnest(images, [1.0, 1.0]) == (2 * 10 + 8 * 30) / 40
        assert thinnest(images, [1.0, 2.0]) == 9
        assert thinnest([ImageSizes((9, 9), np.zeros(0))], [1.0]) == np.inf

    def test_each_region_of_a_foreground_value_is_one(self):
        found = image_sizes(self.statistics([[255, 100], [255, 49]]), TWO)
        assert found.size == (100, 100)
        assert found.objects.tolist() == [10, 7]

    def test_background_and_border_of_a_trimap_are_none(self):
        found = image_sizes(self.statistics([[1, 400], [2, 9000], [3, 600]]), TRIMAP_CLASSES)
        assert found.objects.tolist() == [20]

    def test_every_number_of_an_instance_mask_is_one(self):
        found = image_sizes(self.statistics([[7, 16], [300, 25]]), OBJECTS)
        assert found.objects.tolist() == [4, 5]

    def test_every_polygon_is_one(self):
        found = image_sizes(self.statistics([[1, 16], [1, 25]], has_shapes=True), OBJECTS)
        assert found.objects.tolist() == [4, 5]

    def test_crumbs_are_no_objects(self):
        # Of 10,000 pixels, 2 % are 200.
        found = image_sizes(self.statistics([[255, 10_000], [255, 199], [255, 225]]), TWO)
        assert found.objects.tolist() == [100, 15]

    def test_strokes_on_a_mask_that_is_mostly_ignored_are_no_objects(self):
        regions = [[1, 60], [1, 45], [255, 5000]]
        classes = replace(TWO, values=(0, 1), ignore=255)

        def found(ignored, of):
            statistics = replace(self.statistics(regions), values={1: 105, 255: ignored})
            return len(image_sizes(statistics, of).objects)

        assert (found(4900, classes), found(5100, classes)) == (2, 0)
        assert found(5100, replace(OBJECTS, ignore=255)) == 2  # each has its own number

    def test_thresholded_masks_tell_nothing(self):
        grey = Classes(("background", "cell"), (0, 255), background=0, threshold=127)
        assert image_sizes(self.statistics([[3, 100]]), grey).objects.size == 0

    def test_an_empty_mask_has_none(self):
        assert image_sizes(self.statistics(np.zeros((0, 2))), TWO).objects.size == 0


class TestValidSizes:
    def test_the_nearest_multiple_of_the_stride(self):
        network = PRESETS["fast"]  # 32
        for given, taken in ((12, 32), (47, 32), (48, 64), (200, 192), (208, 224), (256, 256)):
            assert valid_scale(Scale("resize", given, 64), network).height == taken

    def test_unpadded_networks_take_any_size(self):
        scale = Scale("native", 391, 388)
        assert valid_scale(scale, PRESETS["paper"]) == scale


class TestSamples:
    def test_whole_images_count_once(self):
        assert samples_per_epoch([(300, 400), (20, 30)], Scale("resize", 128, 128)) == 2

    def test_crops_cover_as_many_pixels(self):
        # 512 x 512 are four crops, at half the scale one; smaller images are one each.
        scale = Scale("native", 256, 256)
        assert samples_per_epoch([(512, 512), (100, 100)], scale) == 5
        assert samples_per_epoch([(512, 512)], Scale("native", 256, 256, factor=0.5)) == 1
