"""Objects do not depend on the bands in which an image is read."""

from functools import partial

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import watershed

from unetkit.errors import SizeError
from unetkit.objects.components import find_components, find_objects, separate
from unetkit.objects.separation import ObjectRule, SeparationMaps

RULE = ObjectRule("border")


def maps_of(foreground, seeds=None, landscape=None) -> SeparationMaps:
    foreground = np.asarray(foreground, bool)
    seeds = foreground if seeds is None else np.asarray(seeds, bool)
    if landscape is None:
        landscape = np.zeros(foreground.shape, np.float32)
    return SeparationMaps(foreground, seeds, landscape)


def label_image(maps: SeparationMaps, rule=RULE, band_rows=7, **options):
    """All objects of an image as one label image."""
    size = maps.foreground.shape
    image, count = np.zeros(size, int), 0
    found = find_objects(maps.window, size, rule, band_rows=band_rows, **options)
    for part in found:
        inside = part.objects > 0
        assert not image[part.box][inside].any()
        image[part.box][inside] = part.objects[inside] + count
        count += part.count
    assert count == image.max(initial=0)
    return image


def snake(turns: int = 12, width: int = 40) -> np.ndarray:
    """One line that goes from side to side, over the whole image."""
    image = np.zeros((2 * turns + 1, width), bool)
    image[::2] = True
    image[1::4, -1] = image[3::4, 0] = True
    return image


def ring(size: int = 41) -> np.ndarray:
    rows, columns = np.indices((size, size)) - size // 2
    distances = np.hypot(rows, columns)
    return (distances > size / 2 - 4) & (distances < size / 2 - 1)


def nested() -> np.ndarray:
    """Rings around one another, and a dot in their middle."""
    rows, columns = np.indices((33, 33)) - 16
    return np.maximum(abs(rows), abs(columns)) % 3 == 0


def random_blobs(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(50, 61))
    return ndimage.gaussian_filter(noise, 1.2) > 0


IMAGES = {"snake": snake(), "ring": ring(), "nested": nested(), "empty": np.zeros((9, 5), bool)}
IMAGES |= {"full": np.ones((9, 5), bool), "one row": np.array([[1, 0, 1, 1]], bool)}
IMAGES |= {f"blobs {seed}": random_blobs(seed) for seed in range(4)}
EACH_IMAGE = pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES.keys())


@EACH_IMAGE
@pytest.mark.parametrize("band_rows", [1, 2, 7, 100])
def test_components_are_those_of_scikit_image(image, band_rows):
    found = list(find_components(maps_of(image).window, image.shape, band_rows))
    expected = label(image, connectivity=2)
    assert len(found) == expected.max()
    boxes = {component.first: component.box for component, _ in found}
    for number, box in enumerate(ndimage.find_objects(expected), start=1):
        first = tuple(np.argwhere(expected == number)[0].tolist())
        assert boxes[first] == box
    assert [c.bottom for c, _ in found] == sorted(c.bottom for c, _ in found)
    for component, maps in found:
        if maps is not None:
            assert np.array_equal(maps.foreground, image[component.box])


@EACH_IMAGE
def test_every_band_height_gives_the_same_numbers(image):
    rng = np.random.default_rng(1)
    maps = maps_of(image, image & (rng.random(image.shape) < 0.3), rng.random(image.shape))
    whole = label_image(maps, band_rows=1000)
    assert np.array_equal(whole > 0, image)
    for band_rows in (1, 2, 3, 8):
        assert np.array_equal(label_image(maps, band_rows=band_rows), whole)


@pytest.mark.parametrize("image", [random_blobs(8), snake(), nested()])
def test_objects_are_those_of_a_watershed_of_the_whole_image(image):
    rng = np.random.default_rng(2)
    landscape = ndimage.gaussian_filter(rng.random(image.shape), 1).astype(np.float32)
    seeds = image & (landscape < np.quantile(landscape, 0.3))
    expected = watershed(landscape, label(seeds, connectivity=1), mask=image, connectivity=2)
    found = label_image(maps_of(image, seeds, landscape))
    lonely = (expected == 0) & image  # components without a seed are an object each
    pairs = np.unique(np.stack([found[~lonely], expected[~lonely]]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    assert len(np.unique(found[lonely])) == label(lonely, connectivity=2).max()


def test_objects_that_touch_where_bands_meet():
    foreground = np.zeros((20, 12), bool)
    foreground[4:16, 3:9] = True
    seeds = foreground.copy()
    seeds[9:11] = False  # between rows 9 and 10
    landscape = np.where(seeds, 0, 1).astype(np.float32)
    for band_rows in (1, 5, 9, 10, 11, 20):
        found = label_image(maps_of(foreground, seeds, landscape), band_rows=band_rows)
        assert found.max() == 2
        assert (found[4:10, 3:9] == 1).all()
        assert (found[10:16, 3:9] == 2).all()


class TestSizes:
    def test_small_objects_are_left_out_and_numbers_have_no_gap(self):
        foreground = np.zeros((9, 30), bool)
        foreground[1:4, 1:4] = foreground[1, 8] = foreground[1:4, 12:15] = True
        found = label_image(maps_of(foreground), ObjectRule("border", smallest=9))
        assert set(np.unique(found)) == {0, 1, 2}
        assert found[1, 8] == 0
        assert label_image(maps_of(foreground)).max() == 3

    def test_areas_are_pixels_of_the_network(self):
        foreground = np.zeros((9, 9), bool)
        foreground[1:4, 1:4] = True
        rule = ObjectRule("border", smallest=3)
        assert label_image(maps_of(foreground), rule, pixel_area=3.0).max() == 1
        assert label_image(maps_of(foreground), rule, pixel_area=3.1).max() == 0

    def test_crumbs_beside_a_seed_are_no_seeds(self):
        foreground = np.ones((8, 20), bool)
        seeds = np.zeros(foreground.shape, bool)
        seeds[2:6, 2:8] = seeds[3, 15] = True
        maps = maps_of(foreground, seeds)
        assert label_image(maps, ObjectRule("border", smallest=40)).max() == 1
        assert label_image(maps, ObjectRule("border", smallest=10)).max() == 2

    @pytest.mark.parametrize(("largest", "filled"), [(0, 0), (15, 0), (16, 16)])
    def test_holes_up_to_a_size_are_filled(self, largest, filled):
        foreground = np.ones((12, 14), bool)
        foreground[3:7, 5:9] = False
        rule = ObjectRule("border", largest_hole=largest)
        assert label_image(maps_of(foreground), rule).sum() == 12 * 14 - 16 + filled

    def test_a_hole_that_holds_another_object_is_none(self):
        found = label_image(maps_of(nested()), ObjectRule("border", largest_hole=10**6))
        assert found.max() == 6
        assert found[16, 17] == 0

    def test_a_hole_between_two_objects_is_none(self):
        foreground = np.ones((9, 9), bool)
        foreground[4, 3:6] = False
        seeds = foreground.copy()
        seeds[:, 4] = False
        maps = maps_of(foreground, seeds)
        found = label_image(maps, ObjectRule("border", largest_hole=10**6))
        assert found.max() == 2
        assert (found[4, 3:6] == 0).all()

    def test_an_open_bay_is_no_hole(self):
        foreground = np.ones((9, 9), bool)
        foreground[4, 4:] = False
        found = label_image(maps_of(foreground), ObjectRule("border", largest_hole=10**6))
        assert np.array_equal(found > 0, foreground)


class TestMemory:
    def test_each_component_is_asked_for_before_its_maps_are_read(self):
        maps, asked = maps_of(ring()), []

        def refuse(component):
            asked.append(component)
            raise SizeError("too large")

        found = find_objects(maps.window, (41, 41), RULE, band_rows=7, require_fits=refuse)
        with pytest.raises(SizeError, match="too large"):
            next(found)
        assert [(c.size, c.box) for c in asked] == [((39, 39), (slice(1, 40), slice(1, 40)))]

    def test_only_bands_and_boxes_are_read(self):
        image = random_blobs(5)
        maps, read = maps_of(image), []

        def read_window(rows, columns):
            read.append((rows, columns))
            return maps.window(rows, columns)

        found = find_objects(partial(read_window), image.shape, RULE, band_rows=10)
        assert len(list(found)) > 3
        bands = [(rows, columns) for rows, columns in read if columns == slice(0, 61)]
        assert [rows.start for rows, _ in bands[:5]] == [0, 10, 20, 30, 40]
        boxes = [box for box in read if box not in bands]
        assert boxes
        assert all(
            rows.start // 10 != (rows.stop - 1) // 10 or rows.stop % 10 == 0 for rows, _ in boxes
        )


def test_seeds_are_numbered_by_their_first_pixel():
    foreground = np.ones((4, 9), bool)
    seeds = np.zeros(foreground.shape, bool)
    seeds[0, 6:8] = seeds[1:3, 1:3] = True
    found = separate(maps_of(foreground, seeds), (0, 0))
    assert (found[0, 7], found[2, 1]) == (1, 2)
