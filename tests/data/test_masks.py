"""Masks of every kind as class indices, and what stands for no class."""

import json
import os

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests import hostile
from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.data.masks import MaskSource, find_annotation, read_mask, read_raw_mask
from unetkit.data.scale import IGNORE
from unetkit.errors import DataError, DataNotFoundError

CELLS = Classes(names=("background", "cell"), values=(0, 1), background=0, kind="instances")
STREET = Classes(
    names=("void", "road", "tree"), values=(0x000000, 0x804080, 0x6B8E23), kind="colours"
)
HALVES = Classes(names=("dark", "bright"), values=(0, 255), threshold=127)


def save(folder, array, name="x.png", **options):
    Image.fromarray(np.asarray(array)).save(folder / name, **options)
    return folder / name


def save_tiff(folder, array):
    tifffile.imwrite(folder / "x.tif", np.asarray(array))
    return folder / "x.tif"


def read(path, classes, size=(2, 2), **options):
    return read_mask(MaskSource(path, **options), classes, size)


class TestRaw:
    @pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "f4", "f8"])
    def test_whole_numbers_of_any_type_are_read(self, dtype, tmp_path):
        raw = read_raw_mask(save_tiff(tmp_path, np.array([[0, 1], [7, 127]], dtype)))
        assert raw.values.tolist() == [[0, 1], [7, 127]]
        kept = dtype if dtype in ("u1", "u2") else "i4"
        assert raw.values.dtype == kept
        assert (raw.is_colour, raw.is_lossy, raw.palette) == (False, False, None)

    def test_bits_are_0_and_1(self, tmp_path):
        raw = read_raw_mask(save(tmp_path, np.array([[False, True]])))
        assert raw.values.tolist() == [[0, 1]]

    def test_16_bits_are_kept(self, tmp_path):
        raw = read_raw_mask(save(tmp_path, np.array([[0, 300, 65535]], np.uint16)))
        assert raw.values.tolist() == [[0, 300, 65535]]

    def test_colours_become_one_number_each(self, tmp_path):
        raw = read_raw_mask(save(tmp_path, np.array([[[1, 2, 3], [255, 0, 255]]], np.uint8)))
        assert raw.values.tolist() == [[0x010203, 0xFF00FF]]
        assert raw.is_colour

    def test_three_equal_channels_are_grey(self, tmp_path):
        raw = read_raw_mask(save(tmp_path, np.array([[[4, 4, 4], [0, 0, 0]]], np.uint8)))
        assert raw.values.tolist() == [[4, 0]]
        assert not raw.is_colour

    def test_a_palette_keeps_its_indices(self, tmp_path):
        hostile.palette_image().save(tmp_path / "x.png")
        raw = read_raw_mask(tmp_path / "x.png")
        assert np.array_equal(raw.values, hostile.INDICES[..., 0])
        assert np.array_equal(raw.palette, hostile.COLOURS)

    @pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
    def test_opacity_that_is_full_says_nothing(self, dtype, tmp_path):
        full = 1 if dtype == "f4" else np.iinfo(dtype).max
        array = np.array([[[5, full], [6, full]]], dtype)
        options = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": [2]}
        tifffile.imwrite(tmp_path / "x.tif", array, **options)
        assert read_raw_mask(tmp_path / "x.tif").values.tolist() == [[5, 6]]
        array[0, 1, 1] = 0
        tifffile.imwrite(tmp_path / "x.tif", array, **options)
        message = (
            r"mask .*x\.tif has transparent pixels, whose class is unknown; accepted are opaque "
            "masks; use --alpha-masks if the opacity is the mask, or save it without transparency"
        )
        with pytest.raises(DataError, match=message):
            read_raw_mask(tmp_path / "x.tif")

    def test_a_page_is_chosen_by_its_number(self, tmp_path):
        pages = np.stack([np.zeros((24, 32), np.uint8), np.ones((24, 32), np.uint8)])
        tifffile.imwrite(tmp_path / "x.tif", pages, photometric="minisblack")
        assert (read_raw_mask(tmp_path / "x.tif", 1).values == 1).all()

    @pytest.mark.parametrize(
        "array", [np.arange(243, dtype="u2").reshape(9, 9, 3), np.zeros((9, 9, 5), "u1")]
    )
    def test_channels_that_are_no_colours(self, array, tmp_path):
        photometric = "rgb" if array.shape[2] == 3 else "minisblack"
        tifffile.imwrite(tmp_path / "x.tif", array, photometric=photometric, planarconfig="contig")
        message = (
            rf"mask .*x\.tif has {array.shape[2]} channels of {array.dtype}, of which \d are set "
            "at row 0, column 0; accepted is one integer per pixel, 8-bit colours, or one channel"
        )
        with pytest.raises(DataError, match=message):
            read_raw_mask(tmp_path / "x.tif")

    @pytest.mark.parametrize("value", [0.5, np.nan, np.inf, -np.inf])
    def test_fractions_are_no_classes(self, value, tmp_path):
        message = (
            r"mask .*x\.tif has fractions or numbers that are not finite; accepted are whole "
            "numbers; save the mask with one class index per pixel"
        )
        with pytest.raises(DataError, match=message):
            read_raw_mask(save_tiff(tmp_path, np.array([[0, value]], np.float32)))

    @pytest.mark.parametrize(
        ("array", "low", "high"),
        [
            (np.array([[0, 2**31]], np.uint32), "0", "2147483648"),
            (np.array([[0, 2**63]], np.uint64), "0", "9223372036854775808"),
            (np.array([[0, 1e20]], np.float64), "0.0", "1e\\+20"),
        ],
    )
    def test_numbers_out_of_range(self, array, low, high, tmp_path):
        message = (
            rf"mask .*x\.tif has values from {low} to {high}; accepted are 0 to 2147483647; number "
            "classes or objects from 0 up"
        )
        with pytest.raises(DataError, match=message):
            read_raw_mask(save_tiff(tmp_path, array))

    def test_numbers_below_zero_are_kept(self, tmp_path):
        raw = read_raw_mask(save_tiff(tmp_path, np.array([[-1, 4]], np.int16)))
        assert raw.values.tolist() == [[-1, 4]]

    @pytest.mark.parametrize("array", [np.array([[0, 255]], np.uint8), np.array([[True, False]])])
    def test_numbers_are_as_stored_where_zero_is_white(self, tmp_path, array):
        for photometric in ("miniswhite", "minisblack"):
            tifffile.imwrite(tmp_path / "x.tif", array, photometric=photometric)
            assert (read_raw_mask(tmp_path / "x.tif").values == array).all()

    def test_grey_in_three_channels_of_16_bits(self, tmp_path):
        array = np.dstack([np.array([[0, 65535]], np.uint16)] * 3)
        tifffile.imwrite(tmp_path / "x.tif", array, photometric="rgb")
        assert read_raw_mask(tmp_path / "x.tif").values.tolist() == [[0, 65535]]

    @pytest.mark.parametrize(
        ("array", "nodata", "missing"),
        [
            (np.array([[0, 1, 255]], np.uint8), "255", [[False, False, True]]),
            (np.array([[0, 1, np.nan]], np.float32), "nan", [[False, False, True]]),
            (np.array([[0, 1, -9999]], np.int16), "-9999", [[False, False, True]]),
        ],
    )
    def test_a_declared_value_is_no_data(self, tmp_path, array, nodata, missing):
        tag = (42113, "s", 0, nodata, True)
        tifffile.imwrite(tmp_path / "x.tif", array, extratags=[tag])
        raw = read_raw_mask(tmp_path / "x.tif")
        assert raw.missing.tolist() == missing
        classes = Classes(("ground", "cell"), (0, 1))
        mask = read_mask(MaskSource(tmp_path / "x.tif"), classes, (1, 3))
        assert mask.tolist() == [[0, 1, IGNORE]]

    def test_zero_as_no_data_depends_on_the_classes(self, tmp_path):
        tag = (42113, "s", 0, "0", True)
        tifffile.imwrite(tmp_path / "x.tif", np.array([[0, 1]], np.uint8), extratags=[tag])
        raw = read_raw_mask(tmp_path / "x.tif")
        assert (raw.missing, raw.is_zero_nodata) == (None, True)

    def test_complex_numbers(self, tmp_path):
        message = "has complex64 pixels; accepted are whole numbers; convert it"
        with pytest.raises(DataError, match=message):
            read_raw_mask(save_tiff(tmp_path, np.zeros((2, 2), np.complex64)))

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(DataNotFoundError, match=r"x\.png does not exist"):
            read_raw_mask(tmp_path / "x.png")


class TestStackSavedAsColours:
    @pytest.mark.parametrize("pages", [3, 4])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_is_refused_by_name(self, tmp_path, pages, dtype, compression):
        labels = np.zeros((pages, 16, 16), dtype)
        for page in range(pages):
            labels[page, page : page + 8, 3:9] = page + 1
        path = tmp_path / "a.tif"
        options = {"photometric": "rgb", "planarconfig": "separate", "compression": compression}
        tifffile.imwrite(path, labels, **options)
        with pytest.raises(DataError, match=rf"a.tif has {pages} .* up to {pages}: probably a st"):
            read_raw_mask(path)

    def test_colours_one_channel_after_another_are_read(self, tmp_path):
        colours = np.zeros((3, 16, 16), np.uint8)
        colours[0, 2:9], colours[2, 9:] = 128, 64
        tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb", planarconfig="separate")
        raw = read_raw_mask(tmp_path / "a.tif")
        assert raw.is_colour
        assert set(np.unique(raw.values)) == {0, 0x800000, 0x000040}

    def test_numbers_in_the_red_of_each_pixel_are_read(self, tmp_path):
        colours = np.zeros((16, 16, 3), np.uint8)
        colours[2:9, :, 0] = 7
        tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
        assert set(np.unique(read_raw_mask(tmp_path / "a.tif").values)) == {0, 0x070000}


class TestClasses:
    def test_values_become_indices(self, tmp_path):
        mask = read(save(tmp_path, np.array([[1, 2], [3, 1]], np.uint8)), TRIMAP_CLASSES)
        assert mask.dtype == np.uint8
        assert mask.tolist() == [[0, 1], [2, 0]]

    def test_large_values_too(self, tmp_path):
        classes = Classes(names=("a", "b"), values=(1000, 65535))
        mask = read(save(tmp_path, np.array([[1000, 65535]], np.uint16)), classes)
        assert mask.tolist() == [[0, 1]]

    def test_255_classes(self, tmp_path):
        classes = Classes(names=tuple(map(str, range(255))), values=tuple(range(255)))
        values = np.arange(255, dtype=np.uint8)[None]
        assert np.array_equal(read(save(tmp_path, values), classes), values)

    def test_a_strange_value_is_refused_with_its_place(self, tmp_path):
        message = (
            r"mask .*x\.png has the value 9 \(at row 1, column 0\); accepted are 1 pet, 2 "
            "background, 3 border; correct the mask or the classes, or leave the value out with "
            "--ignore"
        )
        with pytest.raises(DataError, match=message):
            read(save(tmp_path, np.array([[1, 2], [9, 9]], np.uint8)), TRIMAP_CLASSES)

    def test_the_value_to_ignore(self, tmp_path):
        classes = Classes(names=("a", "b"), values=(0, 1), ignore=255)
        path = save(tmp_path, np.array([[0, 255], [1, 255]], np.uint8))
        assert read(path, classes).tolist() == [[0, IGNORE], [1, IGNORE]]
        with pytest.raises(DataError, match=r"value 254 .*accepted are 0 a, 1 b; 255 ignored; cor"):
            read(save(tmp_path, np.array([[0, 254]], np.uint8)), classes)

    def test_a_palette_counts_by_its_indices(self, tmp_path):
        hostile.palette_image().save(tmp_path / "x.png")
        classes = Classes(names=tuple("abcd"), values=(0, 1, 2, 3))
        assert np.array_equal(read(tmp_path / "x.png", classes), hostile.INDICES[..., 0])

    def test_colours_are_refused_with_the_way_out(self, tmp_path):
        message = (
            r"mask .*x\.png has colours, #0a0b0c at row 0, column 1; accepted are 1 pet, .*; "
            "convert it, or use --kind colours"
        )
        with pytest.raises(DataError, match=message):
            read(save(tmp_path, np.array([[[1, 1, 1], [10, 11, 12]]], np.uint8)), TRIMAP_CLASSES)


class TestColours:
    def test_they_become_indices(self, tmp_path):
        array = np.array([[[0, 0, 0], [0x80, 0x40, 0x80]], [[0x6B, 0x8E, 0x23]] * 2], np.uint8)
        assert read(save(tmp_path, array), STREET).tolist() == [[0, 1], [2, 2]]

    def test_grey_is_a_colour(self, tmp_path):
        classes = Classes(names=("a", "b"), values=(0, 0x070707), kind="colours")
        assert read(save(tmp_path, np.array([[0, 7]], np.uint8)), classes).tolist() == [[0, 1]]

    def test_a_palette_counts_by_its_colours(self, tmp_path):
        hostile.palette_image().save(tmp_path / "x.png")
        values = (0xFA0A14, 0x000000, 0x1EF032, 0x0950FF)  # those of the palette, two swapped
        classes = Classes(names=tuple("abcd"), values=values, kind="colours")
        swapped = np.array([1, 0, 2, 3], np.uint8)[hostile.INDICES[..., 0]]
        assert np.array_equal(read(tmp_path / "x.png", classes), swapped)

    def test_a_strange_colour_is_refused_with_its_place(self, tmp_path):
        array = np.array([[[0, 0, 0], [1, 2, 3]]], np.uint8)
        message = (
            r"has the value #010203 \(at row 0, column 1\); accepted are #000000 void, #804080 "
            "road, #6b8e23 tree; correct the mask"
        )
        with pytest.raises(DataError, match=message):
            read(save(tmp_path, array), STREET)

    def test_the_colour_to_ignore(self, tmp_path):
        classes = Classes(names=("a", "b"), values=(0, 0x010203), kind="colours", ignore=0xFFFFFF)
        array = np.array([[[255] * 3, [1, 2, 3]]], np.uint8)
        assert read(save(tmp_path, array), classes).tolist() == [[IGNORE, 1]]

    def test_16_bits_are_no_colours(self, tmp_path):
        message = (
            r"mask .*x\.png has values up to 300; accepted as colours are 8-bit ones; convert it, "
            "or use --kind classes"
        )
        with pytest.raises(DataError, match=message):
            read(save(tmp_path, np.array([[0, 300]], np.uint16)), STREET)


class TestInstances:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
    def test_every_object_is_one_class(self, dtype, tmp_path):
        assert read(save_tiff(tmp_path, np.array([[0, 1], [2, 120]], dtype)), CELLS).tolist() == [
            [0, 1],
            [1, 1],
        ]

    def test_what_to_ignore_is_no_object(self, tmp_path):
        classes = Classes(("background", "cell"), (0, 1), 0, kind="instances", ignore=65535)
        path = save(tmp_path, np.array([[0, 3, 65535]], np.uint16))
        assert read(path, classes).tolist() == [[0, 1, IGNORE]]

    def test_each_colour_may_be_an_object(self, tmp_path):
        path = save(tmp_path, np.array([[(0, 0, 0), (9, 0, 0), (0, 0, 1)]], np.uint8))
        assert read(path, CELLS).tolist() == [[0, 1, 1]]


class TestThreshold:
    def test_it_parts_two_classes(self, tmp_path):
        path = save(tmp_path, np.array([[0, 127], [128, 255]], np.uint8))
        assert read(path, HALVES).tolist() == [[0, 0], [1, 1]]

    def test_it_makes_a_jpeg_readable(self, tmp_path):
        array = np.kron([[0, 255], [255, 0]], np.ones((8, 8))).astype(np.uint8)
        path = save(tmp_path, array, "x.jpg", quality=60)
        assert np.array_equal(read(path, HALVES), array > 127)

    @pytest.mark.parametrize(
        ("format", "options"),
        [("JPEG", {}), ("WEBP", {"quality": 50}), ("TIFF", {"compression": "jpeg"})],
    )
    @pytest.mark.parametrize("classes", [TRIMAP_CLASSES, CELLS, STREET])
    def test_without_it_lossy_masks_are_refused_with_the_reason(
        self, format, options, classes, tmp_path
    ):
        path = tmp_path / "x.png"
        path.write_bytes(hostile.encode(np.zeros((16, 16, 3), np.uint8), format, **options))
        message = (
            r"mask .*x\.png is a JPEG, or compressed like one, which changes class values; "
            "accepted are PNG, TIFF, BMP and GIF; save the mask in one of these from its source, "
            "list the colours of its classes, or, if it has two classes, set the --threshold "
            "between them"
        )
        with pytest.raises(DataError, match=message):
            read(path, classes)

    @pytest.mark.parametrize("quality", [95, 75, 50])
    def test_with_listed_colours_the_nearest_is_the_class(self, quality, tmp_path):
        colours = np.array([[0, 0, 0], [200, 30, 40], [30, 60, 220]], np.uint8)
        truth = np.kron([[0, 1, 0], [2, 0, 1]], np.ones((32, 32), int))
        path = save(tmp_path, colours[truth], "x.jpg", quality=quality)
        values = (0x000000, 0xC81E28, 0x1E3CDC)
        classes = Classes(("ground", "red", "blue"), values, kind="colours", blended=True)
        found = read(path, classes)
        inside = np.kron(np.ones((2, 3), bool), np.pad(np.ones((24, 24), bool), 4))
        assert np.array_equal(found[inside], truth[inside])  # all but 4 pixels beside each edge
        assert (found == truth).mean() > 0.97

    def test_the_value_to_ignore_comes_first(self, tmp_path):
        classes = Classes(("dark", "bright"), (0, 255), threshold=127, ignore=200)
        path = save(tmp_path, np.array([[0, 200, 255]], np.uint8))
        assert read(path, classes).tolist() == [[0, IGNORE, 1]]


def labelme(folder, *shapes, name="x.json", image="x.png", size=(4, 4)):
    """A polygon file of boxes, (label, left, top, right, bottom)."""
    record = {
        "imagePath": image,
        "imageHeight": size[0],
        "imageWidth": size[1],
        "shapes": [
            {"label": s[0], "shape_type": "rectangle", "points": [[s[1], s[2]], [s[3], s[4]]]}
            for s in shapes
        ],
    }
    (folder / name).write_text(json.dumps(record))
    return MaskSource(folder / name, None, "x.png")


class TestPolygonFiles:
    def test_labels_become_indices(self, tmp_path):
        classes = Classes(names=("ground", "dog", "cat"), values=(0, 1, 2), background=0)
        source = labelme(tmp_path, ("dog", 0, 0, 2, 2), ("cat", 1, 1, 4, 2))
        assert source.has_shapes
        assert read_mask(source, classes, (4, 4)).tolist() == [
            [1, 1, 0, 0],
            [1, 2, 2, 2],  # what is drawn last lies on top
            [0, 0, 0, 0],
            [0, 0, 0, 0],
        ]

    @pytest.mark.parametrize(("background", "inside", "outside"), [(0, 1, 0), (1, 0, 1)])
    def test_of_two_classes_a_further_label_is_the_object(
        self, background, inside, outside, tmp_path
    ):
        classes = Classes(("a", "b"), (0, 1), background=background, labels=("whatever",))
        mask = read_mask(labelme(tmp_path, ("whatever", 0, 0, 2, 4)), classes, (4, 4))
        assert mask.tolist() == [[inside, inside, outside, outside]] * 4

    def test_objects_of_instances(self, tmp_path):
        mask = read_mask(labelme(tmp_path, ("c", 0, 0, 1, 4), ("c", 3, 0, 4, 4)), CELLS, (4, 4))
        assert mask.tolist() == [[1, 0, 0, 1]] * 4

    def test_two_classes_have_no_room_for_other_labels(self, tmp_path):
        classes = Classes(names=("a", "b"), values=(0, 1), background=0)
        with pytest.raises(DataError, match="label 'tree' is no class; accepted are 'a', 'b'"):
            read_mask(labelme(tmp_path, ("b", 0, 0, 2, 4), ("tree", 2, 0, 4, 4)), classes, (4, 4))

    def test_a_label_that_is_no_class(self, tmp_path):
        with pytest.raises(DataError, match="'horse'"):
            read_mask(labelme(tmp_path, ("horse", 0, 0, 2, 2)), TRIMAP_CLASSES, (4, 4))

    def test_a_file_that_has_changed_is_read_again(self, tmp_path):
        assert len(find_annotation(labelme(tmp_path, ("a", 0, 0, 1, 1))).shapes) == 1
        source = labelme(tmp_path, ("a", 0, 0, 1, 1), ("b", 0, 0, 1, 1))
        os.utime(source.path, ns=(1, 1))
        assert len(find_annotation(source).shapes) == 2

    def test_the_name_in_a_file_of_one_image_may_be_old(self, tmp_path):
        source = labelme(tmp_path, ("a", 0, 0, 1, 1), image="C:\\photos\\old.png")
        assert len(find_annotation(source).shapes) == 1

    def test_a_file_that_is_not_there(self, tmp_path):
        message = (
            r"polygon file .*x\.json cannot be read \(No such file or directory\); accepted is a "
            "readable file; restore it"
        )
        with pytest.raises(DataError, match=message):
            find_annotation(MaskSource(tmp_path / "x.json", None, "x.png"))

    def test_several_entries_for_one_image(self, tmp_path):
        images = [{"id": i, "file_name": f"{i}/x.png", "height": 4, "width": 4} for i in (1, 2)]
        record = {"images": images, "annotations": [], "categories": []}
        (tmp_path / "x.json").write_text(json.dumps(record))
        message = r"x\.json has 2 entries for x\.png; accepted is one$"
        with pytest.raises(DataError, match=message):
            find_annotation(MaskSource(tmp_path / "x.json", None, "x.png"))

    def test_a_damaged_entry_costs_its_image_only(self, tmp_path):
        images = [{"id": i, "file_name": f"{i}.png", "height": 4, "width": 4} for i in (1, 2)]
        entry = {"id": 7, "image_id": 1, "category_id": 9, "segmentation": [[0, 0, 2, 0, 2, 2]]}
        record = {"images": images, "annotations": [entry], "categories": []}
        (tmp_path / "x.json").write_text(json.dumps(record))
        assert find_annotation(MaskSource(tmp_path / "x.json", None, "2.png")).shapes == ()
        with pytest.raises(DataError, match=r"x\.json: annotation 7: category_id is 9; accepted"):
            find_annotation(MaskSource(tmp_path / "x.json", None, "1.png"))


class TestOneHot:
    """A channel for each class, of which exactly one is set in each pixel."""

    HOT = np.eye(3, dtype=np.uint8)[np.array([[0, 1, 2], [2, 2, 0]])]

    @pytest.mark.parametrize("factor", [1, 255])
    def test_arrays(self, tmp_path, factor):
        np.save(tmp_path / "a.npy", np.tile(self.HOT * np.uint8(factor), (3, 2, 1)))
        raw = read_raw_mask(tmp_path / "a.npy")
        assert raw.values[:2, :3].tolist() == [[0, 1, 2], [2, 2, 0]]
        assert not raw.is_colour

    @pytest.mark.parametrize("classes", [2, 3, 5])
    def test_planes_of_a_tiff(self, tmp_path, classes):
        indices = np.arange(400).reshape(20, 20) % classes
        planes = np.moveaxis(np.eye(classes, dtype=np.uint8)[indices], 2, 0) * np.uint8(255)
        tifffile.imwrite(tmp_path / "a.tif", planes, photometric="minisblack")
        assert (read_raw_mask(tmp_path / "a.tif").values == indices).all()

    def test_red_green_and_blue_are_colours(self, tmp_path):
        Image.fromarray(self.HOT * np.uint8(255)).save(tmp_path / "a.png")
        assert read_raw_mask(tmp_path / "a.png").is_colour

    def test_overlapping_classes_are_refused_by_place(self, tmp_path):
        hot = np.tile(np.eye(4, dtype=np.uint8)[0], (20, 20, 1))
        hot[3, 5, 2] = 1
        np.save(tmp_path / "a.npy", hot)
        message = r"a\.npy has 4 channels of uint8, of which 2 are set at row 3, column 5; accepted"
        with pytest.raises(DataError, match=message):
            read_raw_mask(tmp_path / "a.npy")


class TestOpacityAsMask:
    ALPHA = np.array([[0, 255, 255], [0, 0, 255]], np.uint8)

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_opacity_is_the_mask(self, tmp_path, mode):
        image = Image.new(mode[:-1], (3, 2), "white")
        image.putalpha(Image.fromarray(self.ALPHA))
        image.save(tmp_path / "a.png")
        assert (
            read_raw_mask(tmp_path / "a.png", is_alpha=True).values.tolist() == self.ALPHA.tolist()
        )
        with pytest.raises(DataError, match=r"transparent pixels, .*; use --alpha-masks if the"):
            read_raw_mask(tmp_path / "a.png")

    def test_a_file_without_opacity_is_refused(self, tmp_path):
        Image.fromarray(self.ALPHA).save(tmp_path / "a.png")
        with pytest.raises(DataError, match=r"a\.png has no opacity, .*; leave out --alpha-masks"):
            read_raw_mask(tmp_path / "a.png", is_alpha=True)
