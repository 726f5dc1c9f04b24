"""Statistics of a pair, counted by hand, and the reason why it cannot be used."""

import hashlib
import json
import os
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from unetkit.checks import statistics
from unetkit.checks.statistics import (
    MAX_COLOURS,
    MAX_VALUES,
    collect_statistics,
    compute_pair_statistics,
)
from unetkit.data.pairs import Pair

RGB = np.array([[[250, 0, 0], [0, 250, 0], [0, 0, 250]], [[0, 0, 0], [9, 9, 9], [1, 2, 3]]])
MASK = [[0, 1, 1], [2, 0, 1]]


def pair_of(folder, image=RGB, mask=MASK, image_name="a.png", mask_name="m.png", **save) -> Pair:
    pair = Pair("a", folder / image_name, folder / mask_name)
    Image.fromarray(np.array(image, np.uint8)).save(pair.image, **save)
    Image.fromarray(np.array(mask, np.uint8)).save(pair.mask)
    return pair


def stats(folder, *arguments, **options):
    found = compute_pair_statistics(pair_of(folder, *arguments, **options))
    assert not found.problem
    return found


def drawn_pair(folder, *shapes, size=None) -> Pair:
    document = {"shapes": shapes, "imagePath": "a.png"}
    document |= {"imageHeight": size[0], "imageWidth": size[1]} if size else {}
    pair = Pair("a", folder / "a.png", folder / "a.json")
    Image.fromarray(RGB.astype(np.uint8)).save(pair.image)
    pair.mask.write_text(json.dumps(document))
    return pair


def box(label, left, top, right, bottom, **more):
    points = [[left, top], [right, bottom]]
    return {"label": label, "points": points, "shape_type": "rectangle", **more}


# Images


def test_an_image_is_described(tmp_path):
    found = stats(tmp_path)
    assert (found.size, found.channels, found.dtype) == ((2, 3), 3, "uint8")
    assert (found.format, found.orientation, found.largest) == ("PNG", 1, 250.0)
    assert not any((found.has_odd_suffix, found.is_transparent, found.is_flat, found.is_drawn))
    assert found.sample.tolist() == RGB.reshape(-1, 3).tolist()


def test_hashes_are_those_of_the_files(tmp_path):
    found = stats(tmp_path)
    for path, digest in (
        (found.pair.image, found.image_sha256),
        (found.pair.mask, found.mask_sha256),
    ):
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_of_many_pages_is_hashed_once(tmp_path, monkeypatch):
    stack = np.arange(5 * 6, dtype=np.uint8).reshape(5, 2, 3)
    for name in ("a.tif", "m.tif"):
        tifffile.imwrite(tmp_path / name, stack, photometric="minisblack")
    hashed, real = [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *of: (hashed.append(1), real(*of))[1])
    pairs = [Pair(f"{i}", tmp_path / "a.tif", tmp_path / "m.tif", i) for i in range(5)]
    found = [compute_pair_statistics(pair) for pair in pairs]
    assert [one.problem for one in found] == [""] * 5
    assert len(hashed) == 2
    assert found[3].values == dict.fromkeys(range(18, 24), 1)  # the fourth page's six


def test_a_file_that_changes_is_hashed_again(tmp_path):
    pair = pair_of(tmp_path)
    before = compute_pair_statistics(pair).image_sha256
    pair_of(tmp_path, image=RGB + 1)
    os.utime(pair.image, ns=(1, 1))
    assert compute_pair_statistics(pair).image_sha256 != before


def test_a_suffix_of_another_format_is_detected(tmp_path):
    found = stats(tmp_path, image_name="a.jpg", format="PNG")
    assert found.has_odd_suffix
    assert found.format == "PNG"
    assert not stats(tmp_path, image_name="a.JPEG", format="JPEG").has_odd_suffix


def test_an_exif_rotation_is_detected_and_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    found = stats(tmp_path, mask=np.zeros((3, 2)), image_name="a.jpg", exif=exif)
    assert (found.orientation, found.size) == (6, (3, 2))


def test_alpha_is_detected_and_left_out(tmp_path):
    found = stats(tmp_path, image=np.dstack([RGB, np.full((2, 3), 99)]))
    assert found.is_transparent
    assert (found.channels, found.largest) == (3, 250.0)


def test_alpha_that_is_opaque_everywhere_is_no_transparency(tmp_path):
    found = stats(tmp_path, image=np.dstack([RGB, np.full((2, 3), 255)]))
    assert not found.is_transparent
    assert (found.channels, found.largest) == (3, 250.0)


def test_a_flat_image_is_detected(tmp_path):
    assert stats(tmp_path, image=np.full((2, 3), 80)).is_flat


def test_pixels_of_16_bit_images_are_sampled(tmp_path):
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 3
    pair = Pair("a", tmp_path / "a.tif", tmp_path / "m.png")
    tifffile.imwrite(pair.image, pixels)
    Image.new("L", (64, 64)).save(pair.mask)
    found = compute_pair_statistics(pair)
    assert (found.dtype, found.channels, found.largest) == ("uint16", 1, 3.0 * 4095)
    # 4096 pixels, of which every ninth is taken: 4096 / 512 = 8, made odd.
    assert found.sample[:, 0].tolist() == list(range(0, 3 * 4096, 27))
    assert found.sample.base is None


def test_a_thumbnail_is_small_grey_and_stretched(tmp_path):
    ramp = np.tile(np.arange(50, 178, dtype=np.uint8), (96, 1))
    thumbnail = stats(tmp_path, image=ramp, mask=ramp * 0).thumbnail
    assert (thumbnail.shape, thumbnail.dtype) == ((32, 32), np.uint8)
    assert (thumbnail[:, 0] == 0).all()
    assert (thumbnail[:, -1] == 255).all()
    assert (np.diff(thumbnail[0].astype(int)) > 0).all()


# Masks


def test_values_are_counted(tmp_path):
    found = stats(tmp_path)
    assert found.values == {0: 2, 1: 3, 2: 1}
    assert found.num_values == 3
    assert not any((found.is_colour, found.is_lossy))
    assert found.palette is None


def test_regions_have_their_value_and_area(tmp_path):
    """Corners connect: the 1s are one piece of 3 pixels, the 2s are two pieces."""
    found = stats(tmp_path, image=np.zeros((3, 4)), mask=[[1, 0, 2, 0], [0, 1, 0, 0], [1, 0, 0, 2]])
    assert sorted(map(tuple, found.regions.tolist())) == [(1, 3), (2, 1), (2, 1)]


def test_colours_are_counted(tmp_path):
    found = stats(tmp_path, mask=RGB)
    assert found.is_colour
    assert found.values == {0xFA0000: 1, 0x00FA00: 1, 0x0000FA: 1, 0: 1, 0x090909: 1, 0x010203: 1}


def test_a_palette_is_kept(tmp_path):
    pair = pair_of(tmp_path)
    picture = Image.fromarray(np.array(MASK, np.uint8))
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(pair.mask)
    found = compute_pair_statistics(pair)
    assert found.values == {0: 2, 1: 3, 2: 1}
    assert found.palette[:3].tolist() == [[0, 0, 0], [255, 0, 0], [0, 255, 0]]


def test_statistics_of_a_photo_as_mask_are_small(tmp_path):
    """40 x 40 = 1600 colours, each once."""
    mask = np.zeros((40, 40, 3), np.uint8)
    mask[..., 0], mask[..., 1] = np.mgrid[:40, :40]
    found = stats(tmp_path, image=np.zeros((40, 40)), mask=mask)
    assert (found.num_values, len(found.values)) == (1600, MAX_COLOURS)
    assert len(found.regions) == 0


def test_the_most_frequent_of_very_many_values_are_kept(tmp_path):
    pair = Pair("a", tmp_path / "a.png", tmp_path / "m.tif")
    mask = np.arange(72 * 72, dtype=np.uint16).reshape(72, 72)
    mask[-1] = 0  # 71 * 72 = 5112 values, of which 0 has 73 pixels
    Image.new("L", (72, 72)).save(pair.image)
    tifffile.imwrite(pair.mask, mask)
    found = compute_pair_statistics(pair)
    assert (found.num_values, len(found.values)) == (5112, MAX_VALUES)
    assert found.values[0] == 73


def test_a_jpeg_mask_is_lossy(tmp_path):
    mask = np.repeat([[0] * 16 + [128] * 16 + [255] * 32], 32, axis=0)
    found = stats(tmp_path, image=np.zeros((32, 64)), mask=mask, mask_name="m.jpg")
    assert found.is_lossy
    assert len(found.regions) == 0


def test_statistics_are_plain_numbers(tmp_path):
    found = stats(tmp_path)
    assert {type(number) for item in found.values.items() for number in item} == {int}
    assert {type(n) for n in (*found.size, found.channels, found.num_values)} == {int}
    assert type(found.largest) is float


def test_widths_of_mask_values(tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    mask[:, 10:14], mask[:, 40] = 3, 7
    found = stats(tmp_path, image=0 * mask, mask=mask).widths
    assert found[3] == pytest.approx(4, abs=0.05)
    assert found[7] == pytest.approx(2, abs=0.05)  # one pixel; half of it is to each edge
    assert 10 < found[0] < 30


def test_the_width_of_what_fills_the_image_is_its_shorter_side(tmp_path):
    mask = np.full((12, 30), 5)
    assert stats(tmp_path, image=0 * mask, mask=mask).widths == {5: 12.0}


def test_objects_with_a_number_each_have_no_widths(tmp_path):
    mask = np.arange(200).reshape(10, 20)
    assert stats(tmp_path, image=0 * mask, mask=mask).widths == {}


def test_widths_of_polygons_are_by_label(tmp_path):
    shapes = (box("cell", 0, 0, 2, 1), box("wall", 2, 0, 3, 2))
    found = compute_pair_statistics(drawn_pair(tmp_path, *shapes)).widths
    assert set(found) == {"cell", "wall"}
    assert 1 < found["wall"] < 3


# Polygons


def test_polygons_are_counted_by_label(tmp_path):
    shapes = (box("cell", 0, 0, 2, 1), box("wall", 2, 0, 3, 2))
    found = compute_pair_statistics(drawn_pair(tmp_path, *shapes))
    # Of 6 pixels: cell covers 2, wall 2.
    assert found.values == {0: 2, "cell": 2, "wall": 2}
    assert sorted(found.regions[:, 1].tolist()) == [2, 2]
    assert found.is_drawn


def test_touching_polygons_are_separate_objects(tmp_path):
    shapes = (box("cell", 0, 0, 1, 2), box("cell", 1, 0, 3, 2))
    found = compute_pair_statistics(drawn_pair(tmp_path, *shapes))
    assert found.values == {0: 0, "cell": 6}
    assert sorted(found.regions[:, 1].tolist()) == [2, 4]


def test_an_object_hidden_by_another_is_not_counted(tmp_path):
    shapes = (box("cell", 0, 0, 1, 1), box("cell", 0, 0, 3, 2))
    assert compute_pair_statistics(drawn_pair(tmp_path, *shapes)).regions[:, 1].tolist() == [6]


def test_crowds_are_counted_separately(tmp_path):
    pair = Pair("a", tmp_path / "a.png", tmp_path / "a.json")
    Image.fromarray(RGB.astype(np.uint8)).save(pair.image)
    shape = {"image_id": 1, "category_id": 1}
    annotations = [
        {"id": 1, **shape, "segmentation": {"size": [2, 3], "counts": [0, 4, 2]}, "iscrowd": 1},
        {"id": 2, **shape, "segmentation": [[2, 0, 3, 0, 3, 1, 2, 1]], "iscrowd": 0},
    ]
    images = [{"id": 1, "file_name": "a.png", "height": 2, "width": 3}]
    categories = [{"id": 1, "name": "cell"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    pair.mask.write_text(json.dumps(document))
    found = compute_pair_statistics(pair)
    # Run lengths go down the columns: the crowd has columns 0 and 1, the other one pixel.
    assert (found.crowd, found.regions[:, 1].tolist()) == (4, [1])
    assert found.values == {0: 1, "cell": 5}


def test_polygons_of_another_size_are_mismatched(tmp_path):
    found = compute_pair_statistics(drawn_pair(tmp_path, box("cell", 0, 0, 1, 1), size=(9, 9)))
    assert found.is_mismatched
    assert "annotated at 9 x 9" in found.problem


# Problems


def test_a_mask_of_another_size_is_mismatched(tmp_path):
    found = compute_pair_statistics(pair_of(tmp_path, mask=np.zeros((3, 3))))
    assert found.is_mismatched
    assert "is 2x3 and mask" in found.problem


@pytest.mark.parametrize("which", ["image", "mask"])
def test_a_file_that_is_not_an_image_is_a_problem(tmp_path, which):
    pair = pair_of(tmp_path)
    getattr(pair, which).write_text("not a picture")
    found = compute_pair_statistics(pair)
    assert "is not an image that can be read" in found.problem
    assert not found.is_mismatched
    assert found.image_sha256


@pytest.mark.parametrize("which", ["image", "mask"])
def test_a_missing_file_is_a_problem(tmp_path, which):
    pair = pair_of(tmp_path)
    getattr(pair, which).unlink()
    found = compute_pair_statistics(pair)
    assert "does not exist" in found.problem
    assert getattr(pair, which).name in found.problem


def test_an_image_that_does_not_fit_into_memory_is_a_problem(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise MemoryError

    monkeypatch.setattr(statistics.ImageFile, "read", refuse)
    assert "does not fit into memory" in compute_pair_statistics(pair_of(tmp_path)).problem


# Many


def test_statistics_are_in_the_order_of_the_pairs_and_include_bad_ones(tmp_path):
    pairs = []
    for number in range(20):
        (tmp_path / f"{number}").mkdir()
        pairs.append(pair_of(tmp_path / f"{number}", mask=np.full((2, 3), number)))
    pairs[7].image.write_bytes(b"")
    done = []
    found = collect_statistics(pairs, on_done=lambda: done.append(1))
    assert [one.pair for one in found] == pairs
    assert [bool(one.problem) for one in found] == [number == 7 for number in range(20)]
    assert [list(one.values) for one in found[8:]] == [[number] for number in range(8, 20)]
    assert len(done) == 20


def test_statistics_do_not_keep_the_pixels(tmp_path):
    """A view of an image, however small, would keep all its pixels in memory: 3 MB each."""
    pairs = []
    for number in range(6):
        (tmp_path / f"{number}").mkdir()
        size = (1000, 1000)
        pairs.append(pair_of(tmp_path / f"{number}", np.zeros((*size, 3)), np.zeros(size)))
    collect_statistics(pairs[:1])
    tracemalloc.start()
    kept = collect_statistics(pairs)
    locked, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == 6
    assert locked < 500_000


# Pixels without data


def geotiff(path, array, nodata):
    photometric = "rgb" if array.ndim == 3 else "minisblack"
    tags = [(42113, "s", 0, nodata, True)]
    tifffile.imwrite(path, array, photometric=photometric, extratags=tags)


@pytest.mark.parametrize(("gap", "nodata"), [(np.nan, "nan"), (-9999, "-9999")])
def test_pixels_without_data_belong_to_no_statistics(tmp_path, gap, nodata):
    image = np.full((2, 3, 3), 0.5, np.float32)
    image[0, 0], image[0, 1], image[1, 1, 0] = gap, 0.75, gap
    mask = np.array([[1, 0, 0], [0, 0, 255]], np.uint8)
    pair = Pair("a", tmp_path / "a.tif", tmp_path / "m.tif")
    geotiff(pair.image, image, nodata)
    geotiff(pair.mask, mask, "255")
    found = compute_pair_statistics(pair)
    assert found.problem == ""
    # Of six pixels, one lacks all channels, and one is not in the mask.
    assert (found.missing, found.values) == (2, {0: 4})
    # A pixel that lacks a channel is in the mask, but says nothing of levels.
    assert found.sample.tolist() == [[0.75] * 3, [0.5] * 3, [0.5] * 3, [0.5] * 3]
    assert (found.largest, found.is_flat) == (0.75, False)


def test_shapes_do_not_count_where_the_image_has_no_data(tmp_path):
    pair = drawn_pair(tmp_path, box("cell", 0, 0, 2, 1))
    image = np.ones((2, 3, 3), np.uint8)
    image[:, 0] = 0
    geotiff(tmp_path / "a.tif", image, "0")
    found = compute_pair_statistics(replace(pair, image=tmp_path / "a.tif"))
    assert found.problem == ""
    assert found.missing == 2
    assert sum(found.values.values()) == 4
